"""A script's model is probed as the script has called it; its steps are its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted import Recorder, follow

from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.script.session import ScriptSession
from gradscope.engine.script.stations import Passage
from gradscope.protocol.failure import BadInput
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import COUNT

DROPS = """
net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 2))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
x, y = torch.randn(64, 4), torch.randint(0, 2, (64,))
for i in range(6):
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(x[8 * i:8 * i + 8]), y[8 * i:8 * i + 8]).backward()
    optimizer.step()
print("FINAL", [p.sum().item() for p in net.parameters()], [b.sum().item() for b in net.buffers()], torch.rand(1).item())
"""


class Pins(Recorder):
    """Pins the batch of the third step after it; every step is looked at from then on."""

    mode = "eval"
    refused: tuple[str, ...] = ()

    def session_found(self, session: ScriptSession) -> None:
        super().session_found(session)
        session.keeper.keeps_all = True

    def phase_ended(self, session: ScriptSession, report: PhaseReport, passage: Passage) -> None:
        super().phase_ended(session, report, passage)
        if report.phase is Phase.STEP and report.step == 2:
            setting = session.set_probe("newest", mode=self.mode)
            assert (
                setting is not None
                and setting.samples == 8
                and not setting.has_loss
                and "script itself" in setting.note
            )
            refused = []
            for ask in (
                session.what_if,
                session.loss_along_update,
                session.loss_surface,
                lambda: session.set_probe(3),
            ):
                with pytest.raises(BadInput) as caught:
                    ask()
                refused.append(str(caught.value))
            self.refused = tuple(refused)


def final_of(text: str) -> str:
    return next(line for line in text.splitlines() if line.startswith("FINAL"))


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_its_model_is_run_after_each_step_and_it_does_not_know(
    mode: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    follow(tmp_path, DROPS)
    alone = final_of(capfd.readouterr().out)
    pins = Pins()
    pins.mode = mode
    followed = follow(tmp_path, DROPS, recorder=pins)
    assert final_of(capfd.readouterr().out) == alone
    records = followed.session.probe_records
    assert [record.step for record in records] == [3, 4, 5, 6]
    assert all(record.loss is None and not record.error for record in records)
    assert records[0].names[0].endswith("0") and records[0].output[0, COUNT] == 16
    assert len({float(record.output[0, 6]) for record in records}) == 4, "the weights move"
    assert all("script" in sentence for sentence in pins.refused) and len(pins.refused) == 4


def test_where_the_call_was_not_kept_it_says_how_to_get_it(tmp_path: Path) -> None:
    class Runs(Recorder):
        def phase_ended(self, session: ScriptSession, report: PhaseReport, passage: Passage) -> None:
            super().phase_ended(session, report, passage)
            with pytest.raises(BadInput, match="Next"):
                session.set_probe("newest")

    follow(tmp_path, DROPS, recorder=Runs())
