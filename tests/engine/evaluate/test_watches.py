"""Watched expressions: their numbers after every step, what they cost, and what becomes of one that raises."""

from __future__ import annotations

import math
from collections.abc import Iterator

import plain
import pytest
import zoo

from gradscope import Session
from gradscope.engine.evaluate import watches as module
from gradscope.engine.evaluate.calls import layers_asked_for
from gradscope.protocol.messages.evaluate import WatchExpression, WatchTime
from gradscope.protocol.subjects import SubjectKey, SubjectKind

STEP, STOP = WatchTime.STEP, WatchTime.STOP


@pytest.fixture(autouse=True)
def _no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine anything may take long."""
    monkeypatch.setattr(module, "FREE_SECS", 1e9)


@pytest.fixture
def session() -> Iterator[Session]:
    with Session(plain.seeded(zoo.plain_mlp)) as session:
        yield session


def test_the_numbers_after_steps_are_those_of_the_training(session: Session) -> None:
    norm = session.watch_expression("model[0].weight.norm().item()")
    loss = session.watch_expression("loss")
    expected = []
    for _ in range(3):
        session.next_batch()
        expected.append(session.recipe.model[0].weight.norm().item())  # type: ignore[index,union-attr,operator]
    assert (norm.steps, norm.numbers) == ([0, 1, 2], expected)
    assert loss.numbers == [record.loss for record in session.history]


def test_one_that_raises_is_switched_off_and_training_goes_on(session: Session) -> None:
    bad = session.watch_expression("1 / (2 - step)")
    good = session.watch_expression("step")
    for _ in range(4):
        session.next_batch()
    assert bad.is_off and bad.error == "ZeroDivisionError: division by zero"
    assert (bad.steps, good.steps) == ([0], [0, 1, 2, 3])
    session.watches.set([bad.expression, good.expression])
    session.next_batch()
    assert bad.steps == [0, 4] and not bad.is_off


def test_what_is_no_expression_is_refused(session: Session) -> None:
    for code in ("a = 1", "1 +", "", "import os"):
        with pytest.raises(SyntaxError):
            session.watch_expression(code)


def test_values_are_told_in_a_line_with_their_numbers(session: Session) -> None:
    session.watches.set(
        [
            WatchExpression(id=7, text="loss", each=STOP),
            WatchExpression(id=8, text="model[0].weight", each=STOP),
            WatchExpression(id=9, text="nothing", each=STOP),
            WatchExpression(id=10, text="float('nan')", each=STEP),
        ]
    )
    session.forward()
    values = session.watches.values_now()
    assert values is not None and not values.after_step and values.step == 0
    loss, weight, missing, nan = values.values
    assert loss.number == session.loop.loss and loss.text
    assert weight.number is None and "\n" not in weight.text
    assert missing.error == "NameError: name 'nothing' is not defined" and not missing.is_off
    assert nan.number is not None and math.isnan(nan.number)
    session.backward()
    session.step()
    (taken,) = session.watches.take_waiting()
    assert [value.id for value in taken.values] == [10] and taken.after_step


def test_variables_of_the_console_can_be_watched(session: Session) -> None:
    session.evaluate("def share(t): return (t > 0).float().mean().item()")
    watched = session.watch_expression("share(model[0].weight)")
    session.next_batch()
    assert not watched.error and len(watched.numbers) == 1


def test_a_slow_one_leaves_half_of_the_time_to_the_training(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module, "FREE_SECS", 0.05)
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    session.evaluator.own["slow"] = lambda: now.__setitem__(0, now[0] + 1.0)
    session.watch_expression("slow() or step")
    for _ in range(10):
        session.watches.after_step()
        now[0] += 0.3
    # One in four steps of 0.3 s beside 1 s of its own.
    taken = session.watches.take_waiting()
    assert 2 <= len(taken) <= 4
    assert "half of the time" in taken[-1].note


def test_what_it_reads_of_layers_is_kept_in_a_run(session: Session) -> None:
    watched = session.watch_expression('grad("0").norm() + activation("2").norm()')
    session.keeper.watch([SubjectKey(SubjectKind.ACTIVATION, "1")])
    session.keeper.keeps_all = False
    for _ in range(3):
        session.next_batch()
    assert not watched.error and len(watched.numbers) == 3
    assert session.keeper.get(SubjectKey(SubjectKind.ACTIVATION, "1")) is not None


def test_the_layers_of_an_expression_are_read_from_its_text() -> None:
    assert sorted(layers_asked_for("grad('a').norm() + activation('b.c')[0]")) == [("activation", "b.c"), ("grad", "a")]
    assert layers_asked_for("grad(name) + other('a') +") == []


def test_steps_that_are_done_again_take_the_place_of_those_before() -> None:
    with Session(plain.seeded(zoo.plain_mlp), timeline_bytes=2**26) as session:
        watched = session.watch_expression("loss.item()")
        for _ in range(4):
            session.next_batch()
        session.go_to(1)
        session.next_batch()
        assert watched.steps == [0, 1] and len(watched.numbers) == 2
