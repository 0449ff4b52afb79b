"""Whatever is tried, between any two phases: the training does not know of it."""

from __future__ import annotations

import plain
import pytest
import zoo
from tried import KINDS, trained

from gradscope import Session, UserCodeFailed
from gradscope.engine.what_if.bench import TrialCancelled
from gradscope.protocol.failure import BadInput
from gradscope.protocol.what_if.tried import Alternative, Directions, TrialProgress

# Of torch's checkpoints that run without gradients, as in a validation.
pytestmark = pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")

ALL = [
    Alternative(),
    Alternative(rate=100.0),
    Alternative(clip=False),
    Alternative(weight_decay=False),
    Alternative(optimizer="Adam", rate=0.1),
    Alternative(optimizer="LBFGS"),
    Alternative(batch_size=3),
    Alternative(batch_size=10),
]


def where_it_can_be(session: Session) -> None:
    """In the middle of a window nothing can be tried; an odd model may refuse, and is put back all the same."""
    for use in (
        lambda: session.what_if(ALL, other_batches=1),
        lambda: session.loss_along_update(points=4),
        lambda: session.loss_surface(side=2),
        lambda: session.loss_surface(Directions.RANDOM, side=2, mode="eval"),
        lambda: session.set_probe("newest", mode="train"),
    ):
        try:
            use()
        except (BadInput, UserCodeFailed):
            continue


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_does_not_know_what_was_tried(kind: str) -> None:
    plain.assert_same(trained(KINDS[kind], where_it_can_be), trained(KINDS[kind]))


@pytest.mark.parametrize("name", zoo.sample(0, but=("layers_600", "workers")))
def test_nor_does_any_odd_model(name: str) -> None:
    plain.assert_same(trained(zoo.ZOO[name], where_it_can_be), trained(zoo.ZOO[name]))


@pytest.mark.parametrize("forwards", [1, 2, 3, 6])
@pytest.mark.parametrize("kind", ["adam", "lbfgs", "half precision"])
def test_what_is_cancelled_leaves_nothing_behind(kind: str, forwards: int) -> None:
    def cancelled(session: Session) -> None:
        def progress(now: TrialProgress) -> bool:
            return now.done < forwards

        for use in (
            lambda: session.what_if([Alternative()] * 4, progress=progress),
            lambda: session.loss_along_update(points=8, progress=progress),
            lambda: session.loss_surface(side=3, progress=progress),
        ):
            with pytest.raises((TrialCancelled, BadInput)):
                use()

    plain.assert_same(trained(KINDS[kind], cancelled), trained(KINDS[kind]))


@pytest.mark.parametrize("capture", ["full", "norms", "off"])
def test_at_each_level_of_capture(capture: str) -> None:
    plain.assert_same(trained(KINDS["adam"], where_it_can_be, capture=capture), trained(KINDS["adam"]))
