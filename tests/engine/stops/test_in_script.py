"""Stops in scripts as they are: their own loops, and nothing changes in them."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
from scripted import Followed, Recorder, follow

from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.script.session import ScriptSession
from gradscope.engine.script.stations import Passage
from gradscope.engine.stops.stops import Stops
from gradscope.protocol.phases import Moment, Phase, SubStep
from gradscope.protocol.stops.point import StopHit, StopPoint

TRAIN = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x):
            return self.last(torch.relu(self.first(x)))

    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
    data = torch.utils.data.TensorDataset(torch.randn(16, 6), torch.randint(0, 3, (16,)))
    losses = []
    for epoch in range(3):
        for x, y in torch.utils.data.DataLoader(data, batch_size=8, shuffle=True):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            losses.append(loss.item())
            optimizer.step()
            scheduler.step()
    parameters = [p.detach().clone() for p in model.parameters()]
"""


@dataclass
class Stopping(Recorder):
    stops: Stops = field(default_factory=Stops)
    hits: list[tuple[StopHit, Phase | None]] = field(default_factory=list)
    gradients: list[list[bool]] = field(default_factory=list)
    """At each hit: which parameters had one."""

    def stop(self, moment: Moment) -> None:
        self.take(self.stops.at(moment, sys._getframe(1)), None)

    def take(self, hits: list[StopHit], phase: Phase | None) -> None:
        for hit in hits:
            self.hits.append((hit, phase))
            self.gradients.append([p.grad is not None for p in self.sessions[0].found.model.parameters()])

    def session_found(self, session: ScriptSession) -> None:
        super().session_found(session)
        self.stops.follow(session.book)
        self.is_armed = self.stops.is_armed

    def phase_ended(self, session: ScriptSession, report: PhaseReport, passage: Passage) -> None:
        super().phase_ended(session, report, passage)
        self.take(self.stops.after(report), report.phase)

    def of(self, number: int) -> list[StopHit]:
        return [hit for hit, _ in self.hits if hit.id == number]


def stopping(folder: Path, text: str, *texts: str) -> tuple[Stopping, Followed]:
    recorder = Stopping()
    recorder.stops.set(StopPoint(id=n, text=stop) for n, stop in enumerate(texts))
    return recorder, follow(folder, text, recorder=recorder)


def test_places_and_conditions(tmp_path: Path) -> None:
    texts = (
        *("enter model.last", "every 2 steps", "every epoch", "loss > previous", "update_ratio > 0 in model.last"),
        *("gradient model.last.weight", "before step", "lr < 0.1", "grad_norm > 0", "step"),
    )
    recorder, followed = stopping(tmp_path, TRAIN, *texts)
    losses = followed.space["losses"]
    entered = [hit.moment for hit in recorder.of(0)]
    assert [(m.event, m.layer, m.step) for m in entered if m is not None] == [
        ("enter", "model.last", n) for n in range(6)
    ]
    assert [hit.step for hit in recorder.of(1)] == [2, 4, 6]
    assert [hit.sentence for hit in recorder.of(2)] == ["epoch 1", "epoch 2"]
    assert [hit.step for hit in recorder.of(2)] == [2, 4]
    assert [hit.step for hit in recorder.of(3)] == [n for n in range(1, 6) if losses[n] > losses[n - 1]]
    assert [hit.step for hit in recorder.of(4)] == list(range(6))
    assert all(hit.moment is not None and hit.moment.substep is SubStep.STEP for hit in recorder.of(4))
    first_gradient = next(n for n, (hit, _) in enumerate(recorder.hits) if hit.id == 5)
    assert recorder.gradients[first_gradient] == [False, False, True, True]
    assert [phase for hit, phase in recorder.hits if hit.id == 6] == [Phase.BACKWARD] * 6
    # Its scheduler runs when the step is over: known in the next forward.
    assert [hit.step for hit in recorder.of(7)] == [2, 3, 4, 5, 6]
    assert recorder.of(7)[0].moment is not None
    assert [hit.step for hit in recorder.of(8)] == list(range(6))
    assert [hit.step for hit in recorder.of(9)] == list(range(6))


def test_the_script_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    recorder, followed = stopping(tmp_path, TRAIN, "enter *", "gradient *", "any nan", "update.l2 > 0", "loss > 0")
    assert len(recorder.hits) > 60
    plain = follow(tmp_path, TRAIN)
    assert followed.space["losses"] == plain.space["losses"]
    for ours, theirs in zip(followed.space["parameters"], plain.space["parameters"], strict=True):
        assert torch.equal(ours, theirs)


def test_a_line_of_the_script(tmp_path: Path) -> None:
    # The class begins at the first line of the script's own, its forward's only line is the sixth behind it.
    recorder, _ = stopping(tmp_path, TRAIN, "line script.py:11")
    assert [hit.moment.layer for hit in recorder.of(0) if hit.moment is not None][:2] == ["model.first", "model.last"]
