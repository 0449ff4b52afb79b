"""Where training is stopped, and where a script stood: told, and gone again."""

from dataclasses import replace

import pytest

from gradscope.protocol import messages as m
from gradscope.protocol.codec import ProtocolError
from gradscope.protocol.phases import Position, Rest
from gradscope.protocol.source import SourceLine, StackFrame
from gradscope.state.app_state import AppState
from gradscope.state.engine import EngineState, EngineStatus
from gradscope.state.topics import Topic
from tests.session_info import session_info
from tests.state.test_apply import REPORT

STACK = (StackFrame(SourceLine("/a.py", 3, "f"), folded=2), StackFrame(SourceLine("/a.py", 9)))
INSIDE = Position(rest=Rest.IN_FORWARD, step=1)


@pytest.fixture
def state() -> AppState:
    state = AppState()
    state.apply(m.Opened(session=session_info(), position=Position(rest=Rest.READY)))
    state.take_changes()
    return state


def test_a_stack_is_there_until_training_goes_on(state: AppState) -> None:
    state.apply(m.Whereabouts(stack=STACK))
    assert state.stack == STACK
    assert state.take_changes() == {Topic.SOURCE}
    state.apply(m.Moved(position=INSIDE))
    assert state.stack == STACK
    state.apply(m.Whereabouts())
    assert state.stack == ()
    assert Topic.SOURCE in state.take_changes()


def test_the_newest_report_says_where_a_script_stood(state: AppState) -> None:
    line = SourceLine("/train.py", 30, "<module>")
    state.apply(replace(REPORT, line=line))
    assert state.line == line and Topic.SOURCE in state.take_changes()
    # One that does not know does not take it away.
    state.apply(REPORT)
    assert state.line == line and Topic.SOURCE not in state.take_changes()


def test_another_session_stands_nowhere(state: AppState) -> None:
    state.apply(m.Whereabouts(stack=STACK))
    state.apply(replace(REPORT, line=SourceLine("/train.py", 30)))
    state.apply(m.Opened(session=session_info(), position=Position(rest=Rest.READY)))
    assert state.stack == () and state.line is None


def test_an_engine_that_has_died_stands_nowhere(state: AppState) -> None:
    state.apply(m.Whereabouts(stack=STACK))
    state.take_changes()
    state.set_engine(EngineState(status=EngineStatus.DEAD, text="It crashed"))
    assert state.stack == () and Topic.SOURCE in state.take_changes()


def test_a_stack_without_a_session_is_refused() -> None:
    state = AppState()
    state.apply(m.Whereabouts())
    with pytest.raises(ProtocolError, match="no session is open"):
        state.apply(m.Whereabouts(stack=STACK))
    assert state.stack == ()
