"""Anomaly mode for one try: a backward that fails names the line of the forward."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import plain
import pytest
import zoo
from torch import Tensor, nn

from gradscope import Session, UserCodeFailed, load_recipe
from gradscope.engine.surroundings.error_parts import shortened
from tests.faulty_recipes import INPLACE_BEFORE_BACKWARD


def test_the_line_of_the_forward_is_named(write_recipe: Callable[..., Path]) -> None:
    with Session(load_recipe(write_recipe(INPLACE_BEFORE_BACKWARD))) as session:
        with pytest.raises(UserCodeFailed) as failed:
            session.next_batch()
        assert failed.value.failure.can_be_traced and " at " not in failed.value.failure.sentence.partition(":")[0]
        session.is_traced = True
        with pytest.raises(UserCodeFailed) as failed:
            session.next_batch()
        failure = failed.value.failure
        assert failure.sentence.startswith(
            "The backward of step 0 failed at SigmoidBackward0, the backward of recipe.py, line 13 "
            "(y = self.inside(x).sigmoid()): RuntimeError: one of the variables"
        )
        assert (
            failure.traceback.startswith("In the forward:\n") and "y = self.inside(x).sigmoid()\n" in failure.traceback
        )
        assert not failure.can_be_traced
        session.is_traced = False
        with pytest.raises(UserCodeFailed) as failed:
            session.next_batch()
        assert " at " not in failed.value.failure.sentence.partition(":")[0]


def test_a_failed_forward_has_nothing_to_trace() -> None:
    class Fails(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("no")

    with Session(zoo.classifier(Fails(zoo.FEATURES, zoo.CLASSES))) as session:
        with pytest.raises(UserCodeFailed) as failed:
            session.forward()
        assert not failed.value.failure.can_be_traced


def test_what_is_traced_trains_as_before() -> None:
    expected = plain.train_plainly(plain.seeded(zoo.batchnorm_dropout_conv), steps=3)
    with Session(plain.seeded(zoo.batchnorm_dropout_conv)) as session:
        session.is_traced = True
        plain.assert_same_outcome(expected, plain.train_observed(session, steps=3))


def test_long_sentences_are_cut_where_they_end() -> None:
    assert shortened("short", 10) == "short"
    assert shortened("One is here. Two is cut off", 20) == "One is here. ..."
    assert shortened("a word and then another one", 20) == "a word and then ..."
    assert shortened("x" * 30, 20) == f"{'x' * 20} ..."


def test_what_the_users_code_warns_of_is_heard(recwarn: pytest.WarningsRecorder) -> None:
    def step(model: nn.Module, batch: list[Tensor]) -> Tensor:
        warnings.warn("odd data", stacklevel=1)
        loss: Tensor = nn.functional.cross_entropy(model(batch[0]), batch[1])
        return loss

    with Session(zoo.classifier(nn.Linear(zoo.FEATURES, zoo.CLASSES), loss=None, training_step=step)) as session:
        session.is_traced = True
        session.next_batch()
    assert [str(warning.message) for warning in recwarn if "odd" in str(warning.message)] == ["odd data"]
