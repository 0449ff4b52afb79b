"""Stops in scripts as they are: their own loops, and nothing changes in them."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from scripted import Followed, Recorder, follow

from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.script.session import ScriptSession
from gradscope.engine.script.stations import Passage
from gradscope.engine.stops.refusals import OF_A_SCRIPT
from gradscope.engine.stops.stops import Stops
from gradscope.protocol.phases import Moment, Phase, Rest, SubStep
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
    assert [hit.moment for hit in recorder.of(6)] == [
        Moment(step=n, substep=SubStep.STEP, event="before") for n in range(6)
    ]
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


EVERYTHING = """
    net = nn.Linear(6, 3)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=1000)
    seen = []
    for step in range(3):
        x, y = torch.randn(8, 6), torch.randint(0, 3, (8,))
        for part in range(2):
            loss = nn.functional.cross_entropy(net(x), y)
            if step == 1:
                loss = loss * float("inf")
            scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(net.parameters(), 0.01)
        scaler.step(optimizer)
        scaler.update()
        scheduler.step()
        with torch.no_grad():
            seen.append(net(x).sum().item())
        optimizer.zero_grad()
    parameters = [p.detach().clone() for p in net.parameters()]
"""
_BESIDE = ("update", "schedule", "evaluate", "zero grad")


@dataclass
class Standing(Stopping):
    """Also what the script was like at each hit."""

    stood: list[tuple[float, float, float]] = field(default_factory=list)
    """(rate, norm of a gradient or -1, loss scale)"""
    rests: list[Rest] = field(default_factory=list)

    def take(self, hits: list[StopHit], phase: Phase | None) -> None:
        super().take(hits, phase)
        session = self.sessions[0]
        optimizer, gradient = session.optimizers[0], next(iter(session.found.model.parameters())).grad
        norm = -1.0 if gradient is None else float(gradient.norm())
        scaler = session.facts.scaler
        scale = 0.0 if scaler is None else float(scaler.get_scale())
        self.stood += [(optimizer.param_groups[0]["lr"], norm, scale)] * len(hits)
        self.rests += [session.position.rest] * len(hits)


def standing(folder: Path, text: str, *texts: str) -> tuple[Standing, Followed]:
    recorder = Standing()
    recorder.stops.set(StopPoint(id=n, text=stop) for n, stop in enumerate(texts))
    return recorder, follow(folder, text, recorder=recorder)


def test_what_a_script_does_between_two_steps_is_stopped_at_before_and_after_it(tmp_path: Path) -> None:
    texts = [f"{before}{kind}" for kind in _BESIDE for before in ("before ", "")]
    recorder, followed = standing(tmp_path, EVERYTHING, *texts)
    plain = follow(tmp_path, EVERYTHING)
    assert followed.space["seen"] == plain.space["seen"]
    assert [texts[hit.id] for hit, _ in recorder.hits] == texts * 3, "in the order of the script"
    assert set(recorder.rests) == {Rest.READY}
    # The step that is next, as everywhere between two steps.
    assert [hit.step for hit, _ in recorder.hits] == [1] * 8 + [2] * 8 + [3] * 8
    first = dict(zip(texts, recorder.stood, strict=False))
    assert (first["before schedule"][0], first["schedule"][0]) == (0.1, 0.05)
    assert first["before zero grad"][1] > 0 and first["zero grad"][1] == -1.0
    second = dict(zip(texts, recorder.stood[8:], strict=False))
    assert (second["before update"][2], second["update"][2]) == (1024.0, 512.0)


def test_before_what_is_inside_of_the_step_of_a_script(tmp_path: Path) -> None:
    texts = ("before step", "before unscale", "unscale", "before clip", "clip", "before forward")
    recorder, _ = standing(tmp_path, EVERYTHING, *texts)
    of_first = [(texts[hit.id], rest) for (hit, _), rest in zip(recorder.hits, recorder.rests, strict=True)][:7]
    # The forward of the second micro-batch; a backward that no step follows is not before a step.
    assert of_first == [
        ("before forward", Rest.BACKWARD),
        ("before step", Rest.BACKWARD),
        *((text, Rest.IN_STEP) for text in texts[1:5]),
        ("before forward", Rest.READY),
    ]
    norms = {texts[hit.id]: stood[1] for (hit, _), stood in zip(recorder.hits[:6], recorder.stood, strict=False)}
    assert norms["before unscale"] == norms["before step"] > 500 * norms["unscale"]
    assert norms["before clip"] == norms["unscale"] > norms["clip"]


def test_a_condition_between_two_steps_is_about_the_one_that_is_over(tmp_path: Path) -> None:
    texts = ("schedule if skipped step", "before zero grad if loss > previous", "update if scale drop", "scale drop")
    recorder, _ = standing(tmp_path, EVERYTHING, *texts)
    assert [(texts[hit.id], hit.step) for hit, _ in recorder.hits] == [
        ("update if scale drop", 2),
        ("scale drop", 2),
        ("schedule if skipped step", 2),
        ("before zero grad if loss > previous", 2),
    ]
    assert recorder.of(3)[0].sentence == "the scale has dropped from 1024 to 512"


def test_a_script_validates_by_evaluating(tmp_path: Path) -> None:
    recorder, _ = standing(tmp_path, EVERYTHING, "evaluate")
    recorder.stops.follow(recorder.sessions[0].book, None, lambda: OF_A_SCRIPT)
    (told,) = recorder.stops.set([StopPoint(id=0, text="validate"), StopPoint(id=1, text="before evaluate")])
    assert told == (
        "The stop 'validate' cannot hold: there is no 'validate' to stop at in this training: in a script it is "
        "'evaluate', each call of a model without gradients"
    )


def test_what_is_clipped_in_a_closure_is_told_once(tmp_path: Path) -> None:
    text = """
    net = nn.Linear(6, 3)
    optimizer = torch.optim.LBFGS(net.parameters(), lr=0.1, max_iter=3)
    x, y, calls = torch.randn(8, 6), torch.randint(0, 3, (8,)), 0
    def closure():
        global calls
        calls += 1
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        return loss
    for step in range(2):
        optimizer.step(closure)
    """
    recorder, followed = stopping(tmp_path, text, "clip", "before clip")
    assert [hit.id for hit, _ in recorder.hits] == [1, 0] * followed.space["calls"]


BY_HAND = """
    net = nn.Linear(6, 3)
    x, y = torch.randn(8, 6), torch.randint(0, 3, (8,))
    for step in range(3):
        nn.functional.cross_entropy(net(x), y).backward()
        with torch.no_grad():
            for p in net.parameters():
                p -= 0.1 * p.grad
                p.grad = None
    parameters = [p.detach().clone() for p in net.parameters()]
"""
INSIDE_THE_BACKWARD = """
    net = nn.Linear(6, 3)
    x, y = torch.randn(8, 6), torch.randint(0, 3, (8,))
    optimizers = {p: torch.optim.SGD([p], lr=0.1) for p in net.parameters()}
    def move(p):
        optimizers[p].step()
        optimizers[p].zero_grad()
    for p in net.parameters():
        p.register_post_accumulate_grad_hook(move)
    for step in range(3):
        nn.functional.cross_entropy(net(x), y).backward()
    parameters = [p.detach().clone() for p in net.parameters()]
"""


@pytest.mark.parametrize("text", [BY_HAND, INSIDE_THE_BACKWARD])
def test_what_has_moved_already_is_not_stopped_at_before_it_moves(tmp_path: Path, text: str) -> None:
    recorder, _ = stopping(tmp_path, text, "before step", "step")
    assert [(hit.id, hit.step) for hit, _ in recorder.hits] == [(1, 0), (1, 1), (1, 2)]
