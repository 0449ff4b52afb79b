"""Evaluating where a script stands: its own variables, and a training that goes on as if nobody had been there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from scripted import Recorder, follow

from gradscope.engine.evaluate import watches
from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.script.session import ScriptSession
from gradscope.engine.script.stations import Passage
from gradscope.engine.surroundings.frames import users_frames
from gradscope.protocol.phases import Moment, Phase

LOOP = """
data = torch.utils.data.TensorDataset(torch.randn(24, 4), torch.randint(0, 2, (24,)))
loader = torch.utils.data.DataLoader(data, batch_size=8, shuffle=True)
model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
seen, factor = [], 1.0
for epoch in range(2):
    for x, y in loader:
        logits = model(x)
        loss = nn.functional.cross_entropy(logits, y) * factor
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        seen.append(loss.item())
final = [p.detach().clone() for p in model.parameters()] + [torch.rand(2)]
"""

MEDDLING = (
    "model(x).sum().backward(); optimizer.step(); optimizer.zero_grad()",
    "loss.backward() if loss.grad_fn is not None else 0",
    "seen.append(3.0); loader.batch_size, next(iter(loader))",
    "[p.data.zero_() for p in model.parameters()]; torch.rand(3)",
    "optimizer.step(); scheduler.step(); optimizer.param_groups[0]['lr']",
    "model.eval(); model(x).argmax()",
    "1 / 0",
)


class Meddler(Recorder):
    """Evaluates at every end of a phase, and at every moment inside."""

    def __init__(self) -> None:
        super().__init__(look=self.look_at)
        self.count = 0
        self.told: list[Any] = []

    def stop(self, moment: Moment) -> None:
        self.meddle()

    def look_at(self, session: ScriptSession, report: PhaseReport, passage: Passage) -> None:
        self.is_armed = True
        self.meddle()

    def meddle(self) -> None:
        (session,) = self.sessions
        frame = next(frame for frame in users_frames() if frame.f_code.co_filename.endswith("script.py"))
        for _ in range(2):
            code = MEDDLING[self.count % len(MEDDLING)]
            self.count += 1
            told = session.evaluate(code, frame=frame).told
            assert not told.moved, (code, told.moved)
            # The script's own backward has used its graph up.
            refused = ("RuntimeError: Trying to backward", "RuntimeError: torch 2.6")
            is_expected = "/ 0" in code or told.error.startswith(refused)
            assert is_expected or not told.error, (code, told.error, told.traceback)


def test_the_script_goes_on_as_if_nobody_had_been_there(tmp_path: Path) -> None:
    alone = follow(tmp_path, LOOP).space
    with_meddler = follow(tmp_path, LOOP, recorder=(meddler := Meddler()))
    assert meddler.count > 50 and with_meddler.order == "FBS" * 6
    assert with_meddler.space["seen"] == alone["seen"]
    assert all(torch.equal(a, b) for a, b in zip(with_meddler.space["final"], alone["final"], strict=True))


def looked(
    tmp_path: Path, text: str, *codes: tuple[str, bool], at: Phase = Phase.FORWARD
) -> tuple[list[Any], dict[str, Any]]:
    """What is told of codes (with whether they are kept) at the end of the first such phase, and the script's variables."""
    told: list[Any] = []

    def look(session: ScriptSession, report: PhaseReport, passage: Passage) -> None:
        if report.phase is at and not told:
            frame = next(frame for frame in users_frames() if frame.f_code.co_filename.endswith("script.py"))
            told.extend(session.evaluate(code, keep=keep, frame=frame) for code, keep in codes)

    return told, follow(tmp_path, text, look=look).space


def test_the_scripts_variables_are_there(tmp_path: Path) -> None:
    told, space = looked(
        tmp_path,
        LOOP,
        ("len(seen), epoch, [factor * i for i in range(2)]", False),
        ("loss.item()", False),
        ("optimizer is optimizer, batch[0] is x", False),
        ('activation("model.0").shape', False),
    )
    assert told[0].value == (0, 0, [0.0, 1.0])
    assert told[1].value == space["seen"][0]
    assert "A run keeps only" in told[3].error


def test_an_assignment_stays_in_the_script_only_where_it_is_kept(tmp_path: Path) -> None:
    told, space = looked(tmp_path, LOOP, ("factor = 3.0", False), ("del factor", False), ("mine = 4", False))
    assert space["factor"] == 1.0 and "mine" not in space
    assert "the script's is as before" in told[0].told.notes[0]
    told, space = looked(tmp_path, LOOP, ("factor = 2.0", True), ("model[0].weight.data.zero_()", True))
    assert space["factor"] == 2.0 and not told[0].told.notes
    assert told[1].told.moved == ("model.0.weight",)


def test_local_variables_are_read_and_not_assigned(tmp_path: Path) -> None:
    lines = LOOP.strip().splitlines()
    body = "\n".join(
        ["def train():", *(f"    {line}" for line in lines), "    return factor, seen", "result = train()"]
    )
    told, space = looked(tmp_path, body, ("factor + epoch", False), ("factor = 2.0", True), at=Phase.FORWARD)
    assert told[0].value == 1.0
    if sys.version_info < (3, 13):
        assert "factor is a local variable of train(), which Python 3.1" in told[1].told.notes[0]
        assert space["result"][0] == 1.0


def test_numbers_after_each_step_of_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "FREE_SECS", 1e9)
    kept: list[Any] = []

    def look(session: ScriptSession, report: PhaseReport, passage: Passage) -> None:
        if not kept:
            kept.append(session.watch_expression("optimizer.param_groups[0]['lr']"))
            kept.append(session.watch_expression("nothing"))

    follow(tmp_path, LOOP, look=look)
    assert kept[0].steps == [0, 1, 2, 3, 4, 5]
    assert kept[0].numbers == [0.01, 0.01, 0.005, 0.005, 0.0025, 0.0025]
    assert kept[1].is_off and kept[1].steps == []
