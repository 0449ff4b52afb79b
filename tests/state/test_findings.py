"""What the app makes of findings: in which order, what follows from what, what is dismissed, what is marked, a check-up."""

from dataclasses import replace

import pytest

from gradscope.protocol import messages as m
from gradscope.protocol.codec import ProtocolError
from gradscope.protocol.failure import Failure, FailureKind
from gradscope.protocol.findings import Findings, Progress, Severity, Verdict
from gradscope.protocol.phases import Position, Rest
from gradscope.state.app_state import AppState
from gradscope.state.engine import EngineState, EngineStatus
from gradscope.state.findings import FindingsState
from gradscope.state.topics import Topic
from tests.found import DEAD, LEAK, NOTE, RATE, finding, known
from tests.state.test_edits import SESSION, opened


def state_with(*found: object) -> FindingsState:
    state = FindingsState()
    state.take(known(*found))  # type: ignore[arg-type]
    return state


def watched() -> AppState:
    state = opened()
    state.apply(m.FoundNow(findings=Findings()))
    return state


def test_the_gravest_come_first_and_of_those_the_newest() -> None:
    old, new = finding("a", step=3), finding("b", step=9)
    state = state_with(NOTE, old, new, LEAK)
    assert [finding.id for finding in state.shown] == ["batch-leak", "b", "a", "never-called"]
    assert [state.count(severity) for severity in Severity] == [1, 2, 1]


def test_what_follows_is_under_its_root() -> None:
    effect, grave = replace(DEAD, root="lr-too-high", severity=Severity.INFO), finding("c", root="lr-too-high")
    (group,) = state_with(effect, RATE, grave).groups()
    assert group.root == RATE and group.consequences == (grave, effect)


def test_what_follows_from_nothing_that_is_there_stands_by_itself() -> None:
    lonely, circle = replace(DEAD, root="lr-too-high"), finding("a", root="a")
    pair = finding("x", root="y"), finding("y", root="x")
    state = state_with(lonely, circle, *pair)
    assert len(state.groups()) == 4 and all(not group.consequences for group in state.groups())


def test_dismissed_until_it_is_graver() -> None:
    state = state_with(RATE, replace(DEAD, root="lr-too-high"), NOTE)
    state.dismiss(RATE)
    assert state.shown == [NOTE]
    (group,) = state.groups(dismissed=True)
    assert group.root == RATE and len(group.consequences) == 1, "what follows goes with its root"
    state.take(known(replace(RATE, step=90)))
    assert state.shown == []
    worse = replace(RATE, severity=Severity.ERROR)
    state.take(known(worse))
    assert state.shown == [worse] and state.groups(dismissed=True) == []
    state.dismiss(worse)
    state.recall(worse)
    assert state.shown == [worse]


def test_a_finding_elsewhere_is_not_dismissed_with_it() -> None:
    other = replace(DEAD, where="net.5")
    state = state_with(DEAD, other)
    state.dismiss(DEAD)
    assert state.shown == [other]


def test_places_and_marks() -> None:
    state = state_with(DEAD, LEAK, NOTE, RATE)
    assert [f.id for f in state.at("net.2")] == ["batch-leak", "never-called"]
    assert state.at("net.3") == [DEAD], "it was seen there, too"
    assert "" not in state.places(), "the whole training is no place"
    marks = {mark.step: [f.id for f in mark.findings] for mark in state.marks()}
    assert marks == {0: ["batch-leak", "lr-too-high"], 3: ["dead-units"]}, "an info is not marked"


def test_what_was_looked_at() -> None:
    state = state_with()
    assert state.judged == 3
    assert [check.id for check in state.checks(Verdict.NOT_JUDGED)] == [
        "clip-too-low",
        "future-leak",
        "target-not-shifted",
    ]


def test_it_is_told_once() -> None:
    state = opened()
    state.apply(m.FoundNow(findings=known(DEAD)))
    assert Topic.FINDINGS in state.take_changes() and state.findings.is_watching
    state.apply(m.FoundNow(findings=known(DEAD)))
    assert Topic.FINDINGS not in state.take_changes()


def test_without_a_session_there_is_nothing_to_find() -> None:
    state = AppState()
    with pytest.raises(ProtocolError, match="no session is open"):
        state.apply(m.FoundNow(findings=known(DEAD)))
    assert state.findings.known == Findings()


def test_what_is_dismissed_outlives_a_reset_and_no_other_file() -> None:
    state = opened()
    state.apply(m.FoundNow(findings=known(DEAD)))
    state.findings.dismiss(DEAD)
    state.apply(m.Opened(session=SESSION, position=Position(rest=Rest.READY)))
    assert state.findings.known == Findings() and state.findings.dismissed == {DEAD.key: Severity.WARNING}
    state.apply(m.Opened(session=replace(SESSION, path="/y.py"), position=Position(rest=Rest.READY)))
    assert state.findings.dismissed == {}


def test_a_check_up_locks_the_session_until_it_is_answered() -> None:
    state = watched()
    assert state.check_up_refusal() is None
    state.begin_check_up()
    assert state.position.running and state.check_up_refusal() is not None
    progress = Progress(title="Leak over the batch", done=2, planned=4)
    state.apply(m.CheckUpProgress(progress=progress))
    assert state.findings.progress == progress
    state.apply(m.CheckUpDone(findings=known(LEAK)))
    assert state.findings.known == known(LEAK) and not state.findings.is_checking and not state.position.running
    state.apply(m.CheckUpProgress(progress=progress))
    assert state.findings.progress is None, "it came too late"


def test_an_engine_that_dies_in_a_check_up_ends_it() -> None:
    state = watched()
    state.begin_check_up()
    state.set_engine(EngineState(status=EngineStatus.DEAD))
    assert not state.findings.is_checking and not state.position.running


def test_a_check_up_is_refused_with_a_sentence() -> None:
    assert "without findings" in str(opened().check_up_refusal())
    state = watched()
    for rest in (Rest.FORWARD, Rest.IN_BACKWARD, Rest.ACCUMULATING):
        state.apply(m.Moved(position=Position(rest=rest)))
        assert "Only between two steps" in str(state.check_up_refusal()) or "Finish" in str(state.check_up_refusal())
    state.apply(m.Failed(failure=Failure(kind=FailureKind.BAD_INPUT, sentence="s"), position=Position(rest=Rest.READY)))
    assert state.check_up_refusal() is None
