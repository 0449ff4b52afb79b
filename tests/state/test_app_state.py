"""Messages become state; a new session starts anew; what may be done now is said."""

from gradscope.protocol import messages as m
from gradscope.protocol.failure import Failure, FailureKind
from gradscope.protocol.phases import Position, Rest, Verb
from gradscope.protocol.subjects import SubjectKind
from gradscope.state.app_state import AppState
from gradscope.state.engine import EngineState, EngineStatus
from gradscope.state.log import Log, Source
from gradscope.state.selection import Selection
from gradscope.state.topics import Topic
from gradscope.state.tree import build_tree, walk
from tests.session_info import session_info


def _session(path: str = "/a.py") -> m.SessionInfo:
    return session_info(
        path=path,
        modules=tuple(m.ModuleInfo(name=n, type="M", description="") for n in ("", "a", "a.b", "c")),
        parameters=tuple(
            m.ParameterInfo(name=n, shape=(1,), dtype="float32", requires_grad=True, group=0)
            for n in ("a.b.weight", "c.weight", "scale")
        ),
    )


def _ready() -> AppState:
    state = AppState()
    state.apply(m.EngineReady(torch_version="2", numpy_version="2", devices=()))
    return state


def test_the_tree_follows_the_model() -> None:
    names = [node.name for node in walk(build_tree(_session()))]
    assert names == ["", "scale", "a", "a.b", "a.b.weight", "c", "c.weight"]


def test_opening_starts_anew_and_touches_everything() -> None:
    state = _ready()
    state.apply(m.Opened(session=_session(), position=Position(rest=Rest.READY)))
    assert state.take_changes() == set(Topic)
    assert state.take_changes() == set()
    history = state.history
    state.select(Selection.of_node("a", is_parameter=False))
    state.apply(m.Opened(session=_session(), position=Position(rest=Rest.READY)))
    assert state.history is not history
    assert state.selection.name == "a", "a reset keeps the selection"
    state.apply(m.Opened(session=_session("/b.py"), position=Position(rest=Rest.READY)))
    assert state.selection.name is None


def test_a_failure_stays_until_something_succeeds() -> None:
    state = _ready()
    failure = Failure(kind=FailureKind.USER_CODE, sentence="It broke")
    state.apply(m.Failed(failure=failure, position=Position(rest=Rest.READY, step=4)))
    assert state.failure is failure
    assert state.position.step == 4
    assert state.log.lines[-1].text == "Step 4: It broke"
    state.apply(m.Done(position=Position(rest=Rest.FORWARD)))
    assert state.failure is None


def test_refusals_name_the_engine_first() -> None:
    state = AppState()
    assert "not running" in (state.refusal(Verb.FORWARD) or "")
    state.set_engine(EngineState(status=EngineStatus.STARTING))
    assert state.refusal(Verb.FORWARD) == "The engine is starting"
    state = _ready()
    assert state.refusal(Verb.FORWARD) == "Open a script or a recipe first"
    state.apply(m.Opened(session=_session(), position=Position(rest=Rest.READY)))
    assert state.refusal(Verb.FORWARD) is None
    state.set_running()
    assert state.refusal(Verb.FORWARD) is not None
    assert state.refusal(Verb.PAUSE) is None


def test_a_dead_engine_leaves_the_plots_and_can_be_reset() -> None:
    state = _ready()
    state.apply(m.Opened(session=_session(), position=Position(rest=Rest.READY)))
    history = state.history
    state.set_engine(EngineState(status=EngineStatus.DEAD, text="It was killed"))
    assert state.history is history
    assert state.session is not None
    assert state.position.rest is Rest.EMPTY
    assert state.refusal(Verb.RESET) is None and "not running" in (state.refusal(Verb.FORWARD) or "")
    state.set_opening("another.py")
    assert state.refusal(Verb.RESET) is not None
    state.set_opening(None)
    state.set_engine(EngineState(status=EngineStatus.STARTING))
    assert state.refusal(Verb.RESET) == "The engine is starting"
    state.set_engine(EngineState(status=EngineStatus.READY))
    assert state.refusal(Verb.RESET) is None
    assert state.refusal(Verb.FORWARD) == "Open a script or a recipe first"


def test_selection_kinds_fit_the_node() -> None:
    assert Selection.of_node("w", is_parameter=True, kind=SubjectKind.GRAD).kind is SubjectKind.GRAD
    assert Selection.of_node("w", is_parameter=True, kind=SubjectKind.ACTIVATION).kind is SubjectKind.PARAMETER
    assert Selection.of_node("a", is_parameter=False, kind=SubjectKind.GRAD).kind is SubjectKind.ACTIVATION
    assert Selection().subject is None


def test_the_log_takes_streams_apart_into_lines() -> None:
    log = Log()
    log.feed("one\ntw", source=Source.STDOUT)
    log.feed("error\n", source=Source.STDERR)
    log.feed("o\nbar 1\rbar 2\r\n", source=Source.STDOUT)
    assert [(line.source, line.text) for line in log.lines] == [
        (Source.STDOUT, "one"),
        (Source.STDERR, "error"),
        (Source.STDOUT, "two"),
        (Source.STDOUT, "bar 2"),
    ]
    log.feed("rest", source=Source.STDOUT)
    log.flush()
    assert log.lines[-1].text == "rest"
    assert [line.text for line in log.since(4)] == ["rest"]


def test_the_log_is_bounded() -> None:
    log = Log()
    for i in range(20_000):
        log.feed(f"{i} {'x' * 5000}\n", source=Source.STDOUT)
    assert log.total == 20_000
    assert len(log.lines) == log.lines.maxlen
    assert len(log.lines[-1].text) <= 2000
    assert len(log.since(19_990)) == 10
