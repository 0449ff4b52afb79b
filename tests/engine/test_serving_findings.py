"""Findings as the server tells them: only what is new, at a pace; check-ups with progress, which can be cancelled."""

from __future__ import annotations

from collections.abc import Callable, Collection
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gradscope.engine.findings.bench import CheckUpCancelled
from gradscope.engine.serving.beside.check_ups import CheckUps
from gradscope.engine.serving.outbox import Outbox
from gradscope.engine.serving.shown import Shown
from gradscope.engine.serving.teller import Teller
from gradscope.protocol import messages as m
from gradscope.protocol.codec import Frame
from gradscope.protocol.failure import BadInput
from gradscope.protocol.findings import Findings, Planned, Progress
from gradscope.protocol.phases import Position, Rest
from tests.found import DEAD, LEAK, known


class Box:
    def __init__(self) -> None:
        self.sent: list[Any] = []

    def put(self, message: Any, *, number: int = 0) -> None:
        self.sent.append(message)


class FakeSession:
    """Runs an experiment of five forwards."""

    def __init__(self, found: Findings) -> None:
        self.found = found
        self.asked = 0
        self.forwards = 0
        self.position = Position(rest=Rest.READY)
        self.before_forward: Callable[[int], None] = lambda number: None

    def findings(self) -> Findings:
        self.asked += 1
        return self.found

    def planned_check_up(self, only: Collection[str] | None = None) -> list[Planned]:
        return [Planned(ids=("batch-leak",), title=f"only {only}", forward=5, backward=0, seconds=0.1)]

    def check_up(
        self, only: Collection[str] | None = None, progress: Callable[[Progress], bool] | None = None
    ) -> Findings:
        assert progress is not None
        for number in range(1, 6):
            self.before_forward(number)
            self.forwards += 1
            if not progress(Progress(title=f"part {number > 2}", done=number, planned=5)):
                raise CheckUpCancelled
        return self.found


def shown(session: FakeSession) -> Shown:
    return cast(Shown, session)


def served() -> tuple[Box, CheckUps]:
    box = Box()
    return box, CheckUps(cast(Outbox, box))


def test_a_plan_is_asked_of_the_session() -> None:
    _, check_ups = served()
    (all_,) = check_ups.plan(shown(FakeSession(known())), m.PlanCheckUp()).planned
    (some,) = check_ups.plan(shown(FakeSession(known())), m.PlanCheckUp(only=("a",))).planned
    assert (all_.title, some.title) == ("only None", "only ('a',)")


def test_a_check_up_tells_how_far_it_is_and_what_it_has_found() -> None:
    box, check_ups = served()
    reply = check_ups.run(shown(FakeSession(known(LEAK))), Frame(7, m.CheckUp()))
    assert reply == m.CheckUpDone(findings=known(LEAK))
    titles = [message.progress.title for message in box.sent]
    assert titles == ["part False", "part True"], "each part at once, forwards of it a few times a second"


def test_it_ends_within_a_forward_of_being_cancelled() -> None:
    _, check_ups = served()
    session = FakeSession(known(LEAK))
    session.before_forward = lambda number: check_ups.cancel(8) if number == 3 else None
    assert check_ups.run(shown(session), Frame(7, m.CheckUp())) == m.Cancelled()
    assert session.forwards == 3
    session.before_forward = lambda number: None
    assert isinstance(check_ups.run(shown(session), Frame(9, m.CheckUp())), m.CheckUpDone), "this one is meant"


def teller() -> tuple[Box, Teller]:
    box = Box()
    made = Teller(cast(Outbox, box))
    made.forget(is_watching=True)
    return box, made


def test_findings_are_told_when_they_are_others() -> None:
    box, telling = teller()
    session = FakeSession(Findings())
    for found in (Findings(), Findings(), known(DEAD), known(DEAD)):
        session.found = found
        telling.tell_findings(shown(session), is_late=True)
    assert box.sent == [m.FoundNow(findings=Findings()), m.FoundNow(findings=known(DEAD))]
    telling.note_findings(m.CheckUpDone(findings=known(LEAK)))
    session.found = known(LEAK)
    telling.tell_findings(shown(session), is_late=True)
    assert len(box.sent) == 2, "the reply has told it"


def test_a_run_is_not_held_up_by_them(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("gradscope.engine.serving.teller.time", SimpleNamespace(monotonic=lambda: clock.now))
    _, telling = teller()
    session = FakeSession(known())
    telling.tell_findings(shown(session))
    assert session.asked == 1
    clock.now += 0.4
    telling.tell_findings(shown(session))
    assert session.asked == 1
    clock.now += 0.2
    telling.tell_findings(shown(session))
    assert session.asked == 2
    # Slow rules are asked as seldom as they are slow.
    session.findings = lambda: (setattr(clock, "now", clock.now + 1.0), known())[1]  # type: ignore[method-assign]
    clock.now += 1.0
    telling.tell_findings(shown(session))
    session.findings = lambda: pytest.fail("too early")  # type: ignore[method-assign]
    clock.now += 40.0
    telling.tell_findings(shown(session))


def test_inside_a_step_nothing_is_asked() -> None:
    _, telling = teller()
    session = FakeSession(known())
    session.position = Position(rest=Rest.FORWARD)
    telling.tell_findings(shown(session))
    assert session.asked == 0


def test_rules_that_fail_are_told_once_and_training_goes_on() -> None:
    box, telling = teller()
    session = FakeSession(known())

    def fail() -> Findings:
        raise BadInput("a rule is broken")

    session.findings = fail  # type: ignore[method-assign]
    for _ in range(3):
        telling.tell_findings(shown(session), is_late=True)
    (note,) = box.sent
    assert isinstance(note, m.Note) and "a rule is broken" in note.text
