"""A model and an optimizer that the script has let go are gone after a collection, as without gradscope."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from scripted import HEAD, Recorder, follow

from gradscope.engine.script.session import ScriptSession
from gradscope.protocol.phases import Phase, SubStep
from gradscope.protocol.subjects import SubjectKind

FOLDS = """\
import gc, weakref
def fold():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    for _ in range(2):
        optimizer.zero_grad()
        loss = model(torch.randn(8, 3)).pow(2).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        scheduler.step()
    return model, optimizer, loss
gone, sums = [], []
for i in range(2):
    model, optimizer, loss = fold()
    own = [model, optimizer, loss, *model.parameters(), *(p.grad for p in model.parameters()), *model.buffers()]
    references = [weakref.ref(one) for one in own]
    sums.append(sum(p.sum().item() for p in model.parameters()))
    gc.collect()
    assert all(reference() is not None for reference in references)
    del own, model, optimizer, loss
    gc.collect()
    gone.append([reference() is None for reference in references])
"""


class Finding(Recorder):
    """Findings are looked for."""

    def session_found(self, session: ScriptSession) -> None:
        super().session_found(session)
        session.look_for_findings()


@pytest.mark.parametrize("finds", [False, True], ids=["plain", "finding"])
@pytest.mark.parametrize("capture", ["full", "off"])
def test_a_fold_is_gone_before_the_next_one(tmp_path: Path, capture: str, *, finds: bool) -> None:
    followed = follow(tmp_path, FOLDS, capture=capture, recorder=Finding() if finds else Recorder())
    space = followed.space
    assert [len(fold) for fold in space["gone"]] == [18] * 2
    assert all(all(fold) for fold in space["gone"])
    plain: dict[str, object] = {}
    exec(compile(HEAD + FOLDS, "plain", "exec"), plain)
    assert space["sums"] == plain["sums"]
    assert followed.order == "FBS" * 4
    if capture == "full":
        steps = followed.reports(Phase.STEP)
        for kind in (SubjectKind.PARAMETER, SubjectKind.UPDATE, SubjectKind.BUFFER):
            names = [{s.name for s in report.subjects if s.kind == kind.value} for report in steps]
            assert names == names[:1] * 4
        assert {station.detail for station in followed.stations(steps[0].phase.STEP) if station.detail} <= {"optimizer"}


def test_what_the_script_has_stays_known_in_a_collection(tmp_path: Path) -> None:
    text = """\
    import gc
    net = nn.Linear(3, 1)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    for _ in range(3):
        optimizer.zero_grad()
        net(torch.randn(4, 3)).pow(2).mean().backward()
        optimizer.step()
        scheduler.step()
        gc.collect()
    """
    followed = follow(tmp_path, text)
    assert followed.order == "FBS" * 3
    (turn,) = followed.session.turns
    assert turn.optimizer is followed.space["optimizer"]
    assert turn.scheduler is followed.space["scheduler"]
    assert followed.names == {"net"}
    assert followed.session.explain("net.weight") is not None
    assert followed.seen(Phase.STEP, SubjectKind.UPDATE) == {"net.weight", "net.bias"}


def test_gradients_that_are_gone_with_their_model_were_not_cleared(tmp_path: Path) -> None:
    text = """\
    import gc
    def fold():
        net = nn.Linear(3, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        net(torch.randn(4, 3)).pow(2).mean().backward()
        optimizer.step()
    for _ in range(3):
        fold()
        gc.collect()
    """
    followed = follow(tmp_path, text)
    assert followed.order == "FBS" * 3
    assert followed.stations(SubStep.ZERO_GRAD) == []


def test_nothing_listens_to_collections_when_a_script_has_ended(tmp_path: Path) -> None:
    before = list(gc.callbacks)
    follow(tmp_path, FOLDS, recorder=Recorder())
    assert gc.callbacks == before


def test_what_was_found_in_a_model_that_is_gone_is_still_said(tmp_path: Path) -> None:
    text = """\
    import gc, weakref
    def fold(width, rate):
        first = nn.Linear(3, 8)
        with torch.no_grad():
            first.bias -= width
        model = nn.Sequential(first, nn.ReLU(), nn.Linear(8, 1))
        optimizer = torch.optim.SGD(model.parameters(), lr=rate)
        for _ in range(25):
            optimizer.zero_grad()
            model(torch.randn(64, 3)).pow(2).mean().backward()
            optimizer.step()
        return weakref.ref(model)
    dead = fold(100, 0.01)
    gc.collect()
    assert dead() is None
    """
    followed = follow(tmp_path, text, recorder=Finding())
    found = {(finding.id, finding.where) for finding in followed.session.findings().findings}
    assert ("dead-units", "model.1") in found
    # Another one in its place, which has its name and no such units.
    followed = follow(tmp_path, text + "fold(0, 0.01)\n", recorder=Finding())
    assert not any(finding.id == "dead-units" for finding in followed.session.findings().findings)
    # Beside one of another name both are said.
    other = """\
def other():
        net = nn.Linear(3, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        for _ in range(25):
            optimizer.zero_grad()
            net(torch.randn(64, 3)).pow(2).mean().backward()
            optimizer.step()
    other()
    """
    followed = follow(tmp_path, text + other, recorder=Finding())
    assert "net" in followed.names
    found = {(finding.id, finding.where) for finding in followed.session.findings().findings}
    assert ("dead-units", "model.1") in found
