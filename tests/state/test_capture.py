"""How much is captured, as the state knows it: the level of the session, and when it can be changed."""

from dataclasses import replace

import pytest

from gradscope.protocol import messages as m
from gradscope.protocol.capture import FULL, Capture, CaptureLevel, pattern_of
from gradscope.protocol.phases import Position, Rest
from gradscope.state.app_state import AppState
from gradscope.state.engine import EngineState, EngineStatus, Origin
from gradscope.state.topics import Topic
from tests.session_info import session_info

SESSION = session_info()


@pytest.fixture
def state() -> AppState:
    state = AppState()
    state.set_engine(EngineState(status=EngineStatus.READY))
    state.apply(m.Opened(session=SESSION, position=Position(rest=Rest.READY)))
    state.take_changes()
    return state


def test_the_level_is_the_session_s(state: AppState) -> None:
    assert state.capture == FULL
    state.apply(m.SessionChanged(session=replace(SESSION, capture="layers:0,head*")))
    assert state.capture == Capture(CaptureLevel.LAYERS, ("0", "head*"))
    assert state.take_changes() == {Topic.SETTINGS, Topic.LOG}
    assert state.log.lines[-1].text == "From step 0 on: capture layers:0,head*"
    state.apply(m.SessionChanged(session=replace(SESSION, capture="layers:0,head*", seed=1)))
    assert len(state.log.lines) == 1, "another change is none of the level"


def test_a_level_that_this_version_does_not_know_is_no_error(state: AppState) -> None:
    state.apply(m.SessionChanged(session=replace(SESSION, capture="dreams")))
    assert state.capture == FULL
    assert AppState().capture == FULL


@pytest.mark.parametrize(
    ("rest", "running", "expected"),
    [
        (Rest.READY, False, None),
        (Rest.READY, True, "The session is running: press Pause first"),
        (Rest.EMPTY, False, "Open a script or a recipe first"),
        *(
            (rest, False, "Only between two steps: press Next batch to complete this one")
            for rest in Rest
            if rest not in (Rest.READY, Rest.EMPTY, Rest.ENDED)
        ),
        (Rest.ENDED, False, "The script has ended: Reset starts it again"),
    ],
)
def test_it_can_be_changed_where_the_engine_takes_it(
    state: AppState, rest: Rest, running: bool, expected: str | None
) -> None:
    state.apply(m.Moved(position=Position(rest=rest, running=running)))
    assert state.capture_refusal() == expected


def test_neither_without_an_engine_nor_in_a_snapshot(state: AppState) -> None:
    state.set_engine(EngineState(status=EngineStatus.STARTING))
    assert state.capture_refusal() == "The engine is starting"
    state.snapshot = Origin(path="/shot", created="")
    assert state.capture_refusal() == "This is a snapshot: it cannot be trained"


@pytest.mark.parametrize("name", ["net.0", "odd[0]", "a*b", "who?", "one,two"])
def test_a_name_is_a_pattern_of_its_own(name: str) -> None:
    capture = Capture.parse(f"layers:{pattern_of(name)}")
    assert capture.wants(name) and capture.wants(f"{name}.weight")
    assert len(capture.layers) == 1
    assert not capture.wants("axxb") and not capture.wants("odd0")
