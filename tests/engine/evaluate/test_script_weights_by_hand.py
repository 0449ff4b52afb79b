"""Weights that a person changes in a stopped script, by the console with its effects kept: training goes on from there, and
what the step has done is told without it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from scripted import HEAD, follow
from torch import Tensor

from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.script.session import ScriptSession
from gradscope.engine.script.stations import Passage
from gradscope.engine.surroundings.frames import users_frames
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import SubjectKey, SubjectKind

EDITS = {
    "element": "with torch.no_grad(): net[0].weight[1, 2] = 0.25",
    "scaled": "with torch.no_grad(): net[0].weight.mul_(0.5)",
    "zeroed": "net[0].weight.data.zero_()",
}
OPTIMIZER = """\
net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
for i in range(3):
    x = torch.randn(5, 3)
    optimizer.zero_grad()
    loss = net(x).pow(2).mean()
    #FORWARD
    loss.backward()
    #BACKWARD
    optimizer.step()
    #STEP
final = [p.detach().clone() for p in net.parameters()]
"""
STEP_BY_HAND = """\
with torch.no_grad():
        for p in net.parameters():
            p.sub_(0.1 * p.grad)
"""
BY_HAND = (
    OPTIMIZER.replace("optimizer = torch.optim.Adam(net.parameters(), lr=0.1)\n", "")
    .replace("optimizer.zero_grad()", "net.zero_grad()")
    .replace("optimizer.step()\n", STEP_BY_HAND)
)


def _plainly(text: str, phase: Phase, edit: str) -> list[Tensor]:
    space: dict[str, object] = {}
    line = f"if i == 1:\n        {edit}"
    exec(compile(HEAD + text.replace(f"#{phase.name}", line), "plain", "exec"), space)
    final = space["final"]
    assert isinstance(final, list)
    return final


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("text", [OPTIMIZER, BY_HAND], ids=["optimizer", "by hand"])
@pytest.mark.parametrize("edit", list(EDITS))
def test_training_goes_on_from_there(tmp_path: Path, text: str, phase: Phase, edit: str) -> None:
    code, moved, updates = EDITS[edit], [], []
    edited: list[Tensor] = []

    def look(session: ScriptSession, report: PhaseReport, passage: Passage) -> None:
        if report.phase is phase and report.step == 1:
            frame = next(frame for frame in users_frames() if frame.f_code.co_filename.endswith("script.py"))
            moved.append(session.evaluate(code, keep=True, frame=frame).told)
            edited.append(session.observer.tensors()["net.0.weight"].detach().clone())
        if report.phase is Phase.STEP and report.step == 1 + (phase is Phase.STEP):
            after = session.observer.tensors()["net.0.weight"].detach()
            updates.append((session.values(SubjectKey(SubjectKind.UPDATE, "net.0.weight")), after - edited[-1]))

    followed = follow(tmp_path, text, look=look)
    (told,) = moved
    assert (told.error, told.moved) == ("", ("net.0.weight",))
    expected = _plainly(text, phase, code)
    assert all(torch.equal(mine, its) for mine, its in zip(followed.space["final"], expected, strict=True))
    assert followed.order == "FBS" * 3
    if phase is not Phase.STEP or updates:
        ((update, own),) = updates
        assert torch.equal(update, own)
