"""Observed training is bit-identical to unobserved training, and nothing is left behind when it ends."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import Any

import plain
import pytest
import torch
import zoo
from torch import nn

from gradscope import Recipe, Session

FEW_BYTES = 4096
"""A keeper's budget so small that it throws out all the time."""

SESSIONS: dict[str, dict[str, Any]] = {
    "full": {},
    "few bytes": {"budget_bytes": FEW_BYTES},
    "layers": {"capture": "layers:*"},
    "norms": {"capture": "norms"},
    "off": {"capture": "off"},
}
"""The ways in which a session can watch: keyword arguments of Session."""

# torch's compiler asks every tensor that it traces for its .grad.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf Tensor")


@pytest.mark.parametrize("options", SESSIONS)
@pytest.mark.parametrize("name", zoo.ZOO)
def test_observing_changes_no_bit(name: str, options: str) -> None:
    expected = plain.train_plainly(plain.seeded(zoo.ZOO[name]), epochs=2)
    with Session(plain.seeded(zoo.ZOO[name]), **SESSIONS[options]) as session:
        found = plain.train_observed(session, epochs=2)
        assert session.observer.errors == []
    plain.assert_same_outcome(expected, found)


@pytest.mark.parametrize("name", zoo.ZOO)
def test_looking_at_everything_changes_no_bit(name: str) -> None:
    expected = plain.train_plainly(plain.seeded(zoo.ZOO[name]), epochs=1)
    with Session(plain.seeded(zoo.ZOO[name])) as session:
        session.initial_parameters()
        while session.position.epoch < 1:
            report = session.advance()
            for subject in report.subjects:
                session.values(subject.key)
            session.schedule(10)
        found = plain.outcome_of(session)
    plain.assert_same_outcome(expected, found)


@pytest.mark.parametrize("name", zoo.ZOO)
def test_close_removes_every_hook(name: str) -> None:
    recipe = plain.seeded(zoo.ZOO[name])
    before = hooks_on(recipe)
    session = Session(recipe)
    assert hooks_on(recipe) > before or isinstance(recipe.model, dict)
    session.next_batch()
    session.forward()
    session.close()
    session.close()
    # A lazy module's own hook has gone by then.
    assert hooks_on(recipe) == (0 if name == "lazy" else before)


def test_close_leaves_the_users_hooks() -> None:
    recipe = plain.seeded(zoo.plain_mlp)
    seen: list[str] = []
    assert isinstance(recipe.model, nn.Module)
    recipe.model.register_forward_hook(lambda *_: seen.append("hook"))
    with Session(recipe) as session:
        session.forward()
    assert len(seen) == 1
    assert hooks_on(recipe) == 1


def hooks_on(recipe: Recipe) -> int:
    modules = list(recipe.model.modules()) if isinstance(recipe.model, nn.Module) else []
    tensors = recipe.model.parameters() if isinstance(recipe.model, nn.Module) else recipe.model.values()
    own = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, name)) for module in modules for name in own) + sum(
        len(getattr(tensor, name, None) or ())
        for tensor in tensors
        for name in (*own[2:3], "_post_accumulate_grad_hooks")
    )


@pytest.mark.parametrize("rest", [0, 1, 2, 3], ids=["ready", "after forward", "after backward", "after step"])
def test_nothing_survives_a_closed_session(rest: int) -> None:
    recipe = plain.seeded(zoo.batchnorm_dropout_conv)
    session = Session(recipe)
    for _ in range(rest):
        session.advance()
    watched = [weakref.ref(session), weakref.ref(session.observer), weakref.ref(session.keeper)]
    watched += [weakref.ref(tensor) for tensor in session.keeper._kept.values()]
    session.close()
    del session
    gc.collect()
    assert [ref() for ref in watched if ref() is not None] == []


def test_an_abandoned_session_dies_with_its_model() -> None:
    recipe = plain.seeded(zoo.plain_mlp)
    session = Session(recipe)
    session.next_batch()
    watched = weakref.ref(session)
    del session, recipe
    gc.collect()
    assert watched() is None


def test_the_graph_of_a_finished_step_is_freed() -> None:
    with Session(plain.seeded(zoo.plain_mlp)) as session:
        session.forward()
        assert session.loop._graph is not None
        graph = weakref.ref(session.loop._graph)
        session.backward()
        gc.collect()
        assert graph() is None


def test_a_copy_of_an_observed_model_is_not_observed() -> None:
    recipe = plain.seeded(zoo.plain_mlp)
    assert isinstance(recipe.model, nn.Module)
    with Session(recipe) as session:
        session.next_batch()
        twin = copy.deepcopy(recipe.model)
        thawed = pickle.loads(pickle.dumps(twin))
        session.forward()
        for other in (twin, thawed):
            other(torch.zeros(1, zoo.FEATURES)).sum().backward()
        report = session.backward()
        assert {s.call for s in report.subjects} == {0}
        assert session.observer.errors == []


def test_two_sessions_on_one_model_both_see_it() -> None:
    recipe = plain.seeded(zoo.plain_mlp)
    with Session(recipe) as first, Session(recipe) as second:
        for session in (first, second):
            reports = session.next_batch()
            assert [len([s for s in r.subjects if s.kind.startswith("activation")]) for r in reports] == [4, 4, 0]


def test_memory_does_not_grow_over_steps() -> None:
    with Session(plain.seeded(zoo.in_place), budget_bytes=FEW_BYTES) as session:
        for _ in range(5):
            session.next_batch()
        gc.collect()
        before = tensors_alive()
        for _ in range(10):
            session.next_batch()
        gc.collect()
        assert tensors_alive() <= before


def tensors_alive() -> int:
    return sum(1 for thing in gc.get_objects() if type(thing) in (torch.Tensor, nn.Parameter))
