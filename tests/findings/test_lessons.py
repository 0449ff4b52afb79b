"""The sample models: each lesson that goes wrong has its own finding and no other, and the others have none."""

from __future__ import annotations

import os

import pytest

from gradscope.assets import sample_path, sample_paths
from gradscope.engine.recipe.loading import load_recipe
from gradscope.engine.session import Session

LESSONS = {
    "dead_relu": ("dead-units", "relu2"),
    "exploding_gradients": ("exploding-gradient", "layers.0"),
    "forgotten_zero_grad": ("grad-not-zeroed", ""),
    "frozen_by_mistake": ("not-in-optimizer", "head"),
    "learning_rate_too_high": ("lr-too-high", ""),
    "vanishing_gradients": ("vanishing-gradient", "layers.0"),
}
"""Name -> (id, where)."""
_SOME = ("digits_mlp", "digits_cnn", "gan", "mixed_precision", "scalar_graph")
"""Of the healthy ones, the fast; all of them with GRADSCOPE_WHOLE_BATTERY=1."""
_IS_WHOLE = os.environ.get("GRADSCOPE_WHOLE_BATTERY", "0") != "0"
_HEALTHY = [path.stem for path in sample_paths() if path.stem not in LESSONS]
_STEPS = 100


def found_in(name: str) -> list[tuple[str, str]]:
    path = sample_path(name)
    assert path is not None
    with Session(load_recipe(path), findings=True) as session:
        while len(session.history) < _STEPS:
            session.next_batch()
        return [(finding.id, finding.where) for finding in session.check_up().counted]


@pytest.mark.slow
@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_that_goes_wrong_has_its_own_finding(name: str) -> None:
    assert found_in(name) == [LESSONS[name]]


@pytest.mark.slow
@pytest.mark.parametrize("name", _HEALTHY if _IS_WHOLE else _SOME)
def test_a_healthy_sample_has_none(name: str) -> None:
    assert found_in(name) == []


def test_the_fast_ones_are_samples() -> None:
    assert set(_SOME) <= set(_HEALTHY)
