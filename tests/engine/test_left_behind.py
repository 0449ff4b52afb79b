"""Nothing of a session is left when it is closed: no hook, no reference, no memory. Of every model, after failures too."""

from __future__ import annotations

import copy
import gc
import importlib
import weakref
from collections.abc import Iterator
from typing import Any

import plain
import pytest
import torch
import zoo
from test_unobserved import hooks_on, tensors_alive
from torch import nn

from gradscope import Recipe, Session
from gradscope.engine.surroundings.unwinding import Unwind
from gradscope.protocol.phases import Moment, SubStep

# torch's compiler asks every tensor that it traces for its .grad.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf Tensor")


@pytest.fixture(autouse=True, scope="module")
def _quick_collector() -> Iterator[None]:
    """What torch and pytest hold need not be looked through each time."""
    # An optimizer imports it.
    importlib.import_module("torch._dynamo")
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


class BreaksOff:
    """Breaks a phase off at its third moment."""

    def __init__(self, substep: SubStep) -> None:
        self.is_armed = True
        self._substep = substep
        self._moments = 0

    def stop(self, moment: Moment) -> None:
        self._moments += moment.substep is self._substep
        if self._moments == 3:
            self.is_armed = False
            raise Unwind


def train(session: Session) -> None:
    session.next_batch()
    session.next_batch()
    session.forward()


def train_and_fail(session: Session) -> None:
    session.next_batch()
    for substep in (SubStep.FORWARD, SubStep.BACKWARD, SubStep.STEP):
        session.book.gate = BreaksOff(substep)
        try:
            session.next_batch()
        except Unwind:
            continue
    session.forward()


def live(watched: list[weakref.ref[Any]]) -> list[str]:
    gc.collect()
    return [type(thing).__name__ for ref in watched if (thing := ref()) is not None]


@pytest.mark.parametrize("name", zoo.ZOO)
def test_no_reference_and_no_hook(name: str) -> None:
    recipe = plain.seeded(zoo.ZOO[name])
    before = hooks_on(recipe)
    session = Session(recipe)
    train_and_fail(session)
    observer = session.observer
    watched = [weakref.ref(thing) for thing in (session, observer, session.keeper, session.loop, observer.eager)]
    watched += [weakref.ref(tensor) for tensor in session.keeper._kept.values()]
    session.close()
    del session, observer
    assert live(watched) == []
    # A lazy module's own hook has gone by then.
    assert hooks_on(recipe) == (0 if name == "lazy" else before)


@pytest.mark.parametrize("name", [name for name in zoo.ZOO if not name.startswith(("compiled", "scripted"))])
def test_no_memory(name: str) -> None:
    """torch's compilers keep what they have compiled."""
    alive = []
    for _ in range(2):
        recipe: Recipe | None = plain.seeded(zoo.ZOO[name])
        session: Session | None = Session(recipe)
        train(session)
        session.close()
        session = recipe = None
        gc.collect()
        alive.append(tensors_alive())
    assert alive[1] <= alive[0]


def test_a_replaced_parameter_is_let_go() -> None:
    recipe = plain.seeded(zoo.plain_mlp)
    with Session(recipe) as session:
        session.next_batch()
        model = recipe.model
        old = model[2]
        watched = [weakref.ref(old), weakref.ref(old.weight)]
        model[2] = nn.Linear(8, zoo.CLASSES)
        group = recipe.optimizer.param_groups[0]
        group["params"] = list(model.parameters())
        recipe.optimizer.state.clear()
        del old
        session.next_batch()
        session.next_batch()
        assert live(watched) == []


def test_a_closed_session_holds_no_layer_that_has_left_the_model() -> None:
    recipe = plain.seeded(zoo.plain_mlp)
    session = Session(recipe)
    session.next_batch()
    old = weakref.ref(recipe.model[1])
    recipe.model[1] = nn.Tanh()
    session.close()
    assert live([old]) == []
    assert [*session.observer.tensors()] == [name for name, _ in recipe.model.named_parameters()]


def test_a_layer_that_was_taken_out_loses_its_hooks() -> None:
    recipe = plain.seeded(zoo.plain_mlp)
    with Session(recipe) as session:
        session.next_batch()
        old = recipe.model[1]
        recipe.model[1] = nn.Tanh()
        session.next_batch()
        assert not old._forward_hooks and not old._forward_pre_hooks
        session.next_batch()
        assert session.reports[next(iter(session.reports))].get("activation", "1") is not None


def test_a_copy_that_was_made_meanwhile_loses_its_hooks_when_it_runs() -> None:
    recipe = plain.seeded(zoo.plain_mlp)
    with Session(recipe) as session:
        twin, shallow = copy.deepcopy(recipe.model), copy.copy(recipe.model)
        assert twin[0]._forward_hooks and shallow._forward_hooks is recipe.model._forward_hooks
        for model in (twin, shallow):
            model(torch.zeros(1, zoo.FEATURES))
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in twin.modules())
        # The shallow copy has the original's.
        assert session.forward().get("activation", "") is not None


def test_a_session_that_was_never_closed_leaves_no_hook_for_long() -> None:
    recipe = plain.seeded(zoo.plain_mlp)
    session = Session(recipe)
    session.forward()
    del session
    gc.collect()
    recipe.model(torch.zeros(1, zoo.FEATURES))
    assert hooks_on(recipe) == 0
