"""Recipes beyond the usual size: what the app can show is opened and trained; what it cannot is refused."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from peer import Peer

from gradscope import Session, load_recipe
from gradscope.engine.serving import teller as teller_module
from gradscope.engine.serving.teller import Teller
from gradscope.protocol import messages
from gradscope.protocol.failure import FailureKind
from gradscope.protocol.phases import Verb
from gradscope.state.app_state import AppState

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

RECIPE = """
import functools, torch
from torch import nn
from gradscope import Recipe

class Chain(nn.Module):
    def __init__(self, depth):
        super().__init__()
        self.inner = Chain(depth - 1) if depth else nn.Linear(2, 2)

    def forward(self, x):
        return self.inner(x)

class Holder(nn.Linear):
    def __init__(self, names):
        super().__init__(2, 2)
        for name in names:
            self.add_module(name, nn.Identity())

def recipe():
    model = {model}
    data = torch.utils.data.TensorDataset(torch.ones(8, 2), torch.zeros(8, dtype=torch.long))
    groups = [dict(params=[parameter]) for parameter in model.parameters()]
    return Recipe(model=model, dataset=data, validation=data, loss=nn.CrossEntropyLoss(), batch_size=8,
                  metrics={{str(i): lambda output, target: 0.5 for i in range({metrics})}},
                  optimizer=torch.optim.SGD(groups, lr=0.01))
"""
LINEAR = "nn.Linear(2, 2)"

Write = Callable[..., Path]


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


@pytest.mark.parametrize(
    ("model", "metrics"),
    [("Chain(230)", 0), ("nn.Sequential(*[nn.Linear(2, 2) for _ in range(2100)])", 0), (LINEAR, 1500)],
    ids=["230 modules in each other", "4,200 groups", "1,500 metrics"],
)
def test_what_trains_in_torch_trains_in_the_app(
    peer: Peer, write_recipe: Write, monkeypatch: pytest.MonkeyPatch, model: str, metrics: int
) -> None:
    monkeypatch.setattr("peer.ANSWER_SECS", 60.0)
    peer.frames.clear()
    assert isinstance(peer.open(write_recipe(RECIPE.format(model=model, metrics=metrics))), messages.Opened)
    assert isinstance(peer.go(Verb.NEXT_BATCH), messages.Done)
    assert isinstance(peer.go(Verb.VALIDATE), messages.Done)
    state = AppState()
    for frame in peer.frames:
        state.apply(frame.message)
    assert len(state.reports) == 3 and state.validation is not None and len(state.validation.metrics) == metrics
    assert not [message for message in peer.drain() if isinstance(message, messages.Note)]


REFUSED = {
    "metrics": (LINEAR, 10_001, "Opened.session.metrics has 10001 items"),
    "levels": (
        "functools.reduce(lambda inner, _: nn.Sequential(inner), range(1001), nn.Linear(2, 2))",
        0,
        "more than 1000 levels deep",
    ),
    "bytes": ("Holder(str(i) + 9000 * 'a' for i in range(2000))", 0, "bytes long"),
}


@pytest.mark.parametrize(("model", "metrics", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_the_app_cannot_show_is_refused_and_the_session_before_stays(
    peer: Peer, write_recipe: Write, model: str, metrics: int, reason: str
) -> None:
    assert isinstance(peer.open(write_recipe(RECIPE.format(model=LINEAR, metrics=1))), messages.Opened)
    peer.go(Verb.NEXT_BATCH)
    refused = peer.open(write_recipe(RECIPE.format(model=model, metrics=metrics), "large.py"))
    assert isinstance(refused, messages.Failed) and refused.failure.kind is FailureKind.BAD_INPUT
    assert refused.failure.sentence.startswith("The app cannot show this recipe: ")
    assert reason in refused.failure.sentence
    assert refused.position.step == 1
    done = peer.go(Verb.NEXT_BATCH)
    assert isinstance(done, messages.Done) and done.position.step == 2


class Kept:
    """An outbox that keeps what it is given."""

    def __init__(self) -> None:
        self.messages: list[object] = []

    def put(self, message: object) -> None:
        self.messages.append(message)


def test_tables_are_told_in_parts(write_recipe: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teller_module, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr(teller_module, "MOST_RATES_AHEAD", 20)
    session = Session(
        load_recipe(write_recipe(RECIPE.format(model="nn.Sequential(*[nn.Linear(2, 2)] * 3)", metrics=0)))
    )
    kept = Kept()
    teller = Teller(kept)  # type: ignore[arg-type]
    teller.introduce(session, is_new=True)
    for _ in range(3):
        teller.tell_report(session, session.advance())
    tables = session.observer.tables
    for kind, rows in ((messages.Subjects, tables.subjects.rows), (messages.Places, tables.places.rows)):
        parts = [message for message in kept.messages if isinstance(message, kind)]
        assert [row for part in parts for row in part.rows] == list(rows)
        assert [part.first for part in parts] == [sum(len(p.rows) for p in parts[:i]) for i in range(len(parts))]
        assert max(len(part.rows) for part in parts) == 2
    (schedule,) = [message for message in kept.messages if isinstance(message, messages.Schedule)][:1]
    assert schedule.rates.shape == (2, 10)
    session.close()
