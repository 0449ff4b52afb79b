"""Code whose effects are kept is done again where a training goes back past it and comes forward again."""

from __future__ import annotations

from collections.abc import Iterator

import plain
import pytest
import zoo

from gradscope import Session
from gradscope.engine.edits.journal import DeedKind
from gradscope.engine.reproduce.deeds import DeedLines
from gradscope.engine.reproduce.settings import settings_of
from gradscope.engine.surroundings.unwinding import Unwind
from gradscope.protocol.failure import BadInput


@pytest.fixture
def session() -> Iterator[Session]:
    with Session(plain.seeded(zoo.plain_mlp), timeline_bytes=2**26) as session:
        yield session


def test_going_on_without_what_was_kept_is_another_branch(session: Session) -> None:
    session.next_batch()
    session.forward()
    session.backward()
    session.evaluate("[p.grad.mul_(1.5) for p in model.parameters()]", keep=True)
    session.step()
    then = session.state_hash()
    session.go_to(1)
    session.next_batch()
    assert session.state_hash() != then and len(session.timeline.branches) == 2


def test_no_script_is_written_that_would_not_come_here(session: Session) -> None:
    session.next_batch()
    session.evaluate("optimizer.param_groups[0]['lr'] = 0.5", keep=True)
    settings = settings_of(session, session.editor.journal)
    (deed,) = settings.deeds
    with pytest.raises(BadInput, match="code was evaluated at step 1 with its effects kept"):
        DeedLines(session, settings).of(deed)


def test_nor_after_code_that_was_broken_off(session: Session) -> None:
    session.next_batch()
    session.evaluator.own["Unwind"] = Unwind
    with pytest.raises(Unwind):
        session.evaluate("optimizer.param_groups[0]['lr'] = 0.5; raise Unwind('now')", keep=True)
    (deed,) = session.editor.journal.deeds
    assert deed.kind is DeedKind.CODE and session.info.groups[0].options["lr"] == "0.5"


def test_the_same_branch_repeats_it_and_is_verified(session: Session) -> None:
    session.next_batch()
    session.evaluate("optimizer.param_groups[0]['lr'] = 0.5", keep=True)
    for _ in range(3):
        session.next_batch()
    then = session.state_hash()
    session.go_to(0)
    assert session.training.optimizers[0].param_groups[0]["lr"] == 0.1
    session.go_to(4)
    assert session.state_hash() == then
    assert session.timeline.newest is None or session.timeline.newest.verified is not False


def test_what_is_kept_is_repeated_with_the_variables_of_the_console_that_it_had(session: Session) -> None:
    session.next_batch()
    session.evaluate("k = 0.5")
    session.forward()
    session.evaluate("optimizer.param_groups[0]['lr'] = k", keep=True)
    then = session.state_hash()
    session.backward()
    session.evaluate("k = 7.0")
    session.step_back()
    assert session.state_hash() == then
    assert session.evaluate("k").value == 7.0


def test_the_same_code_with_other_variables_is_another_branch(session: Session) -> None:
    for k in (0.5, 0.25):
        session.go_to(0) if session.position.step else None
        session.forward()
        session.evaluate(f"k = {k}")
        session.evaluate("optimizer.param_groups[0]['lr'] = k", keep=True)
        session.backward()
        session.step()
    then = session.state_hash()
    assert len(session.timeline.branches) == 2
    session.go_to(0)
    session.go_to(1)
    assert session.state_hash() == then


def test_code_that_was_put_back_leaves_no_mark_on_the_way(session: Session) -> None:
    for _ in range(3):
        session.next_batch()
        session.evaluate("optimizer.step(); model(x)")
    then = session.state_hash()
    session.go_to(1)
    for _ in range(2):
        session.next_batch()
    assert session.state_hash() == then and len(session.timeline.branches) == 1
