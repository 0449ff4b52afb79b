"""Whatever is tried, in any order and at any moment between two phases: training is that of a session that was left alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import plain
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tried import KINDS

from gradscope import Session
from gradscope.engine.what_if.bench import TrialCancelled
from gradscope.protocol.failure import BadInput

PHASES = 14


def cancelled_after(forwards: int) -> Callable[[Any], bool]:
    return lambda progress: progress.done < forwards


DEEDS: dict[str, Callable[[Session], object]] = {
    "try": lambda s: s.what_if([{}, {"rate": 50.0}, {"optimizer": "Adam"}, {"batch_size": 5}]),
    "try, cancelled": lambda s: s.what_if(progress=cancelled_after(3)),
    "along": lambda s: s.loss_along_update({"clip": True}, points=3),
    "slice": lambda s: s.loss_surface(side=2),
    "slice, cancelled": lambda s: s.loss_surface("random", side=3, progress=cancelled_after(2)),
    "pin": lambda s: s.set_probe("newest", mode="train"),
    "pin, every other": lambda s: s.set_probe("newest", every=2),
    "run": lambda s: s.run_probe(),
    "unpin": lambda s: s.set_probe(None),
}


@cache
def alone(kind: str) -> dict[str, Any]:
    session = Session(plain.seeded(KINDS[kind]), seed=0)
    for _ in range(PHASES):
        session.advance()
    return {"losses": [record.loss for record in session.history], **plain.state_of(session.recipe)}


@pytest.mark.parametrize("kind", ["accumulated and clipped", "half precision", "one cycle"])
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(deeds=st.lists(st.tuples(st.integers(0, PHASES - 1), st.sampled_from(sorted(DEEDS))), max_size=8))
def test_any_order_leaves_the_training_alone(kind: str, deeds: list[tuple[int, str]]) -> None:
    session = Session(plain.seeded(KINDS[kind]), seed=0)
    for phase in range(PHASES):
        for at, deed in deeds:
            if at == phase:
                try:
                    DEEDS[deed](session)
                except (BadInput, TrialCancelled):
                    continue
        session.advance()
    found = {"losses": [record.loss for record in session.history], **plain.state_of(session.recipe)}
    plain.assert_same(found, alone(kind))
