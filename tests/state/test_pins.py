"""Pins: what they outlive, which subject they mean, and what is watched for them."""

from dataclasses import replace

import numpy as np

from gradscope.protocol import messages as m
from gradscope.protocol.phases import Phase, Position, Rest
from gradscope.protocol.subjects import COLUMNS, HISTOGRAM_BINS, SubjectKey, SubjectKind, SubjectRow
from gradscope.state.app_state import AppState
from gradscope.state.engine import EngineState, EngineStatus
from gradscope.state.pins import PinStatus, status_of
from gradscope.state.selection import Selection
from gradscope.state.topics import Topic
from tests.session_info import session_info

K = SubjectKind
HIDDEN, RNN = SubjectKey(K.ACTIVATION, "hidden"), SubjectKey(K.ACTIVATION, "body.rnn")
OUTPUT, STATE = replace(RNN, leaf="[0]"), replace(RNN, leaf="[1]")
WEIGHT = SubjectKey(K.GRAD, "hidden.weight")
SESSION = session_info(
    modules=tuple(
        m.ModuleInfo(name=name, type="M", description="") for name in ("", "hidden", "body", "body.rnn", "body2")
    ),
    parameters=(m.ParameterInfo(name="hidden.weight", shape=(1,), dtype="float32", requires_grad=True, group=0),),
)


def opened(session: m.SessionInfo = SESSION, state: AppState | None = None) -> AppState:
    state = state or AppState()
    state.apply(m.EngineReady(torch_version="2", numpy_version="2", devices=()))
    state.apply(m.Opened(session=session, position=Position(rest=Rest.READY)))
    state.take_changes()
    return state


def see(state: AppState, *keys: SubjectKey, phase: Phase = Phase.FORWARD) -> None:
    """A report of these subjects."""
    first = len(state.history.rows)
    state.apply(m.Subjects(first=first, rows=tuple(SubjectRow(key, (1,), "float32") for key in keys)))
    count = len(keys)
    report = m.Report(
        phase=phase,
        step=0,
        epoch=0,
        batch=0,
        loss=1.0,
        lr=(0.1,),
        subjects=np.arange(first, first + count),
        summaries=np.ones((count, len(COLUMNS))),
        histograms=np.zeros((count, HISTOGRAM_BINS), dtype=np.int32),
        sampled=np.ones(count, dtype=np.int64),
        places=np.zeros(0, dtype=np.int64),
        times=np.zeros((0, 3)),
    )
    state.apply(report)


def test_pinning_again_unpins() -> None:
    state = opened()
    for key in (WEIGHT, HIDDEN):
        state.toggle_pin(key)
        assert state.take_changes() == {Topic.PINS}
    assert list(state.pins) == [WEIGHT, HIDDEN] and len(state.pins) == 2 and HIDDEN in state.pins
    state.toggle_pin(WEIGHT)
    assert list(state.pins) == [HIDDEN] and WEIGHT not in state.pins
    state.unpin_all()
    assert not len(state.pins) and state.take_changes() == {Topic.PINS}


def test_pins_outlive_a_run_an_engine_and_a_session_but_not_their_recipe() -> None:
    state = opened()
    state.toggle_pin(HIDDEN)
    see(state, HIDDEN)
    state.apply(m.Done(position=Position(rest=Rest.READY, step=7)))
    assert list(state.pins) == [HIDDEN]
    state.set_engine(EngineState(status=EngineStatus.DEAD))
    assert list(state.pins) == [HIDDEN]
    opened(state=state)
    assert list(state.pins) == [HIDDEN]
    opened(replace(SESSION, path="/b.py"), state)
    assert list(state.pins) == []


def test_the_selected_subject_is_watched_before_the_pinned_ones_and_once() -> None:
    state = opened()
    assert state.watched == ()
    for key in (WEIGHT, HIDDEN):
        state.toggle_pin(key)
    assert state.watched == (WEIGHT, HIDDEN)
    state.select(Selection.of_subject(RNN))
    assert state.watched == (RNN, WEIGHT, HIDDEN)
    state.select(Selection.of_subject(HIDDEN))
    assert state.watched == (HIDDEN, WEIGHT)


def test_a_layer_that_puts_out_a_structure_is_pinned_by_its_first_part() -> None:
    state = opened()
    state.toggle_pin(RNN)
    state.select(Selection.of_node("body.rnn", is_parameter=False))
    assert state.subject == RNN
    see(state, HIDDEN)
    assert list(state.pins) == [RNN], "nothing is known of it yet"
    state.take_changes()
    see(state, OUTPUT, STATE)
    assert list(state.pins) == [OUTPUT] and Topic.PINS in state.take_changes()
    assert state.subject == OUTPUT and state.watched == (OUTPUT,)
    see(state, OUTPUT, STATE)
    assert Topic.PINS not in state.take_changes()


def test_two_pins_that_turn_out_to_be_one_are_one() -> None:
    state = opened()
    for key in (RNN, HIDDEN, OUTPUT):
        state.toggle_pin(key)
    see(state, OUTPUT, STATE)
    assert list(state.pins) == [OUTPUT, HIDDEN]


def test_what_is_not_there_is_known_as_such() -> None:
    state = opened()

    def status(key: SubjectKey) -> PinStatus:
        assert state.tree is not None
        return status_of(key, state.tree, state.history)

    third_call = replace(OUTPUT, call=2)
    assert {status(key) for key in (HIDDEN, WEIGHT, OUTPUT, third_call)} == {PinStatus.THERE}, "as far as is known"
    see(state, OUTPUT)
    assert status(third_call) is PinStatus.NOT_SEEN and status(OUTPUT) is PinStatus.THERE
    assert status(SubjectKey(K.ACTIVATION, "body2")) is PinStatus.THERE
    # A parameter is no layer, a beginning of a name is no name.
    for name in ("hidden.weight", "bod", "body.rnn.cell", "head"):
        assert status(SubjectKey(K.ACTIVATION, name)) is PinStatus.GONE, name
    assert status(SubjectKey(K.GRAD, "hidden")) is PinStatus.GONE


def test_nothing_is_shown_in_the_place_of_a_pinned_subject_that_is_not_there() -> None:
    state = opened()
    see(state, OUTPUT, STATE)
    third_call = replace(OUTPUT, call=2)
    state.select(Selection.of_subject(third_call))
    assert state.subject == OUTPUT
    state.toggle_pin(third_call)
    assert state.subject == third_call
    see(state, OUTPUT, STATE)
    assert list(state.pins) == [third_call], "it is meant exactly"
