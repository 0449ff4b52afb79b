"""Weights of earlier steps of a script: kept within a limit, and put back in place, so that what follows is the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.script.kept_weights import KeptWeights
from gradscope.engine.script.session import ScriptSession
from gradscope.engine.script.stations import Passage
from gradscope.protocol.failure import BadInput
from gradscope.protocol.phases import Phase
from tests.engine.scripted import Followed, Recorder, follow

PLENTY = 1 << 28
SCRIPT = """
model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1))
optimizer = {optimizer}
losses, counter = [], 0
for _ in range({steps}):
    counter += 1
    x = torch.randn(16, 4)
    def closure():
        optimizer.zero_grad()
        loss = model(x).pow(2).mean()
        loss.backward()
        losses.append(loss.item())
        return loss
    {step}
"""
PLAIN = "closure(); optimizer.step()"
Do = Callable[[KeptWeights], None]


@dataclass
class Keeper(Recorder):
    """Keeps weights before every step, as an engine does, and does something before one of them."""

    limit_bytes: int = PLENTY
    at: int = -1
    do: Do = lambda kept: None
    kept: list[KeptWeights] = field(default_factory=list)

    def session_found(self, session: ScriptSession) -> None:
        super().session_found(session)
        self.kept.append(KeptWeights(session, self.limit_bytes))
        self.kept[0].take()

    def phase_ended(self, session: ScriptSession, report: PhaseReport, passage: Passage) -> None:
        super().phase_ended(session, report, passage)
        if report.phase is Phase.STEP:
            self.kept[0].take()
            if session.position.step == self.at:
                self.do(self.kept[0])


def run(
    folder: Path, keeper: Recorder, optimizer: str = "SGD", *, options: str = "lr=0.1", steps: int = 12
) -> Followed:
    made = f"torch.optim.{optimizer}(model.parameters(), {options})"
    step = "optimizer.step(closure)" if optimizer == "LBFGS" else PLAIN
    return follow(folder, SCRIPT.format(optimizer=made, steps=steps, step=step), recorder=keeper)


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        ("SGD", "lr=0.1"),
        ("SGD", "lr=0.1, momentum=0.9"),
        ("Adam", "lr=0.1, amsgrad=True"),
        ("AdamW", "lr=0.1, foreach=True"),
        ("Adagrad", "lr=0.1"),
        ("Rprop", "lr=0.1"),
        ("LBFGS", "lr=0.1, max_iter=3"),
    ],
)
def test_what_follows_is_what_followed_then(tmp_path: Path, optimizer: str, options: str) -> None:
    notes: list[str] = []
    keeper = Keeper(at=6, do=lambda kept: notes.extend(kept.restore(3)))
    followed = run(tmp_path, keeper, optimizer, options=options)
    losses = followed.space["losses"]
    each, rest = divmod(len(losses), 12)
    assert notes == [] and rest == 0
    # Batches and dropout are drawn from random states that were put back, too.
    assert losses[6 * each : 9 * each] == losses[3 * each : 6 * each]
    assert losses[9 * each] not in losses[: 6 * each]
    assert followed.space["counter"] == 12, "the script's own variables go on"
    assert keeper.kept[0].steps == tuple(range(13))


def test_keeping_changes_nothing(tmp_path: Path) -> None:
    plain = run(tmp_path, Recorder(), "Adam")
    kept = run(tmp_path, Keeper(), "Adam")
    assert kept.space["losses"] == plain.space["losses"]


def test_weights_are_those_of_before_the_step_and_tensors_stay_the_same_objects(tmp_path: Path) -> None:
    seen: list[tuple[list[int], list[torch.Tensor]]] = []

    def look(kept: KeptWeights) -> None:
        model = kept._session.found.model
        tensors = [*model.parameters(), *model.buffers()]
        before = [id(tensor) for tensor in tensors]
        kept.restore(0)
        assert [id(tensor) for tensor in (*model.parameters(), *model.buffers())] == before
        seen.append((before, [tensor.detach().clone() for tensor in tensors]))
        assert all(not state for optimizer in kept._session.optimizers for state in optimizer.state.values())

    run(tmp_path, Keeper(at=5, do=look), "Adam")
    torch.manual_seed(0)
    fresh = torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1)
    )
    ((_, tensors),) = seen
    assert all(torch.equal(a, b) for a, b in zip(tensors, [*fresh.parameters(), *fresh.buffers()], strict=True))


def test_the_limit_holds_dense_near_now_and_sparse_behind(tmp_path: Path) -> None:
    used: list[int] = []
    limit = 6 * 20_000

    class Measured(Keeper):
        def phase_ended(self, session: ScriptSession, report: PhaseReport, passage: Passage) -> None:
            super().phase_ended(session, report, passage)
            used.append(self.kept[0].used_bytes)

    keeper = Measured(limit_bytes=limit)
    run(tmp_path, keeper, "Adam", steps=40)
    steps = keeper.kept[0].steps
    assert max(used) <= limit
    assert steps[0] == 0 and steps[-1] == 40 and 3 <= len(steps) < 40
    gaps = [b - a for a, b in pairwise(steps)]
    assert gaps[-1] == 1 and max(gaps) > 1


def test_a_limit_that_is_too_small_keeps_nothing_and_says_why(tmp_path: Path) -> None:
    keeper = Keeper(limit_bytes=1000)
    run(tmp_path, keeper, steps=3)
    (kept,) = keeper.kept
    assert kept.steps == () and kept.used_bytes == 0
    assert "the limit is" in kept.reason
    with pytest.raises(BadInput, match="Nothing is kept of step 1"):
        kept.restore(1)


def test_frozen_tensors_are_shared(tmp_path: Path) -> None:
    text = """
        model = nn.Sequential(nn.Linear(200, 200), nn.Linear(200, 1))
        model[0].requires_grad_(False)
        optimizer = torch.optim.SGD(model[1].parameters(), lr=0.1)
        for _ in range(5):
            optimizer.zero_grad()
            model(torch.randn(2, 200)).sum().backward()
            optimizer.step()
    """
    keeper = Keeper()
    follow(tmp_path, text, recorder=keeper)
    assert keeper.kept[0].steps == tuple(range(6))
    assert keeper.kept[0].used_bytes < 2 * 200 * 200 * 4 + 6 * 20_000
