"""Findings of a script: the monitors ride along, and a check-up runs its model as it stands between two steps."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted import Recorder, follow

from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.script.session import ScriptSession
from gradscope.engine.script.stations import Passage
from gradscope.protocol.failure import BadInput
from gradscope.protocol.findings import Findings, Verdict
from gradscope.protocol.phases import Phase, Rest

MIXES = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 2)
    def forward(self, x):
        return self.b(torch.relu(self.a(x)) * {weights})
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
x, y = torch.randn(64, 4), torch.randint(0, 2, (64,))
for i in range(6):
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(x[8 * i:8 * i + 8]), y[8 * i:8 * i + 8]).backward()
    optimizer.step()
print("FINAL", [round(p.sum().item(), 6) for p in net.parameters()], torch.rand(1).item())
"""


class Checked(Recorder):
    """Looks for findings, and makes a check-up after the third step."""

    told: Findings | None = None
    refused: str = ""

    def session_found(self, session: ScriptSession) -> None:
        super().session_found(session)
        session.keeper.keeps_all = True
        session.look_for_findings()

    def phase_ended(self, session: ScriptSession, report: PhaseReport, passage: Passage) -> None:
        super().phase_ended(session, report, passage)
        if report.phase is Phase.BACKWARD and not self.refused:
            with pytest.raises(BadInput) as caught:
                session.check_up()
            self.refused = str(caught.value)
        if report.phase is Phase.STEP and report.step == 3:
            assert session.position.rest is Rest.READY
            self.told = session.check_up()


def final_of(text: str) -> str:
    return next(line for line in text.splitlines() if line.startswith("FINAL"))


@pytest.mark.parametrize(
    ("weights", "has_leak"), [("torch.softmax(self.a(x), 0)", True), ("torch.softmax(self.a(x), 1)", False)]
)
def test_samples_that_see_each_other_are_found(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], weights: str, has_leak: bool
) -> None:
    text = MIXES.format(weights=weights)
    follow(tmp_path, text)
    plain = final_of(capfd.readouterr().out)
    recorder = Checked()
    follow(tmp_path, text, recorder=recorder)
    assert final_of(capfd.readouterr().out) == plain
    assert recorder.told is not None and "between two steps" in recorder.refused
    assert ("batch-leak" in {finding.id for finding in recorder.told.counted}) is has_leak
    checks = {check.id: check for check in recorder.told.checks}
    assert checks["lr-too-high"].verdict is Verdict.NOT_JUDGED and "owns its loop" in checks["lr-too-high"].reason
