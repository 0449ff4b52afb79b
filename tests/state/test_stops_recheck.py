"""A stop looked at in the history finds what has stopped, or would have stopped, the training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gradscope import Recipe, Session
from gradscope.engine.stops.stops import Stops
from gradscope.protocol.failure import BadInput
from gradscope.protocol.phases import Moment
from gradscope.protocol.stops.parsing import parse
from gradscope.protocol.stops.point import StopHit, StopPoint
from gradscope.state.history import History
from gradscope.state.records.stops_recheck import recheck_history

CONDITIONS = [
    "grad.l2 > 0.3",
    "grad.l2 > 0.2 in 2.weight",
    "activation.zero_share > 0.4",
    "activation.max_abs > 1 and loss > 1",
    "update_ratio > 0.05",
    "delta.l2 > 0.05 in 2",
    "loss > previous",
    "grad.l2 of 2.weight > 1.05 * previous",
    "grad_norm > 0.6",
    "lr < 0.1",
    "step >= 3",
    "any nan",
    "optimizer_state.l2 > 0.5",
    "not activation.l2 > 2",
    "at step 4",
    "every 3 steps",
]


def recipe() -> Recipe:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    data = torch.utils.data.TensorDataset(torch.randn(24, 6), torch.randint(0, 3, (24,)))
    return Recipe(
        model=model,
        dataset=data,
        loss=nn.CrossEntropyLoss(),
        optimizer=optimizer,
        batch_size=8,
        scheduler=torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5),
    )


class _Gate:
    is_armed = True

    def __init__(self, stops: Stops) -> None:
        self.stops, self.hits = stops, list[StopHit]()

    def stop(self, moment: Moment) -> None:
        self.hits += self.stops.at(moment)


@pytest.fixture(scope="module")
def trained() -> tuple[History, list[StopHit]]:
    """Eight steps: what was recorded, and where the stops have held."""
    stops, history = Stops(), History()
    stops.set(StopPoint(id=n, text=text) for n, text in enumerate(CONDITIONS))
    gate = _Gate(stops)
    with Session(recipe(), gate=gate) as session:
        stops.follow(session.book)
        while session.position.step < 8:
            report = session.advance()
            gate.hits += stops.after(report)
            rows = session.observer.tables.subjects.rows
            history.rows[len(history.rows) :] = rows[len(history.rows) :]
            history.add_report(report.raw)
    return history, gate.hits


@pytest.mark.parametrize("number", range(len(CONDITIONS)), ids=CONDITIONS)
def test_what_is_found_is_where_it_has_stopped(trained: tuple[History, list[StopHit]], number: int) -> None:
    history, hits = trained
    found = recheck_history(parse(CONDITIONS[number]), history)
    # A training stops between two steps, and so before none that comes first, nor behind the last.
    between = "step" in CONDITIONS[number]
    stopped = {hit.step for hit in hits if hit.id == number and hit.step < 8}
    assert {step for step, _, _ in found.found if step > 0 or not between} == stopped
    assert not found.is_thinned
    assert found.steps == 8


def test_the_sentence_says_threshold_and_value(trained: tuple[History, list[StopHit]]) -> None:
    history, hits = trained
    found = recheck_history(parse(CONDITIONS[1]), history).found
    told = [(hit.step, hit.subject, hit.sentence) for hit in hits if hit.id == 1]
    assert list(found) == told


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("enter 0", "'enter 0' is a place; expected a condition"),
        ("epoch > 1", "is about the epoch of a step, which is not recorded"),
        ("finding", "is about findings, of which the list tells"),
    ],
)
def test_what_is_not_recorded(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        recheck_history(parse(text), History())


def test_an_empty_history_has_nothing() -> None:
    assert recheck_history(parse("grad.l2 > 0"), History()).steps == 0


@given(st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=30), st.floats(0, 1e6, width=32))
def test_a_loss_that_is_too_large(losses: list[float], limit: float) -> None:
    history = History()
    for step, loss in enumerate(losses):
        history.every_loss.add(step, (loss,))
    found = recheck_history(parse(f"loss > {float(limit)!r}"), history).found
    assert [step for step, _, _ in found] == np.flatnonzero(np.array(losses) > limit).tolist()
