"""The history of edits in the app: what can be undone, where plots are marked, and a session with other settings."""

from dataclasses import replace

from gradscope.protocol import messages as m
from gradscope.protocol.failure import Failure, FailureKind
from gradscope.protocol.messages.edits import EditAccumulation, Edited, EditMade, EditMode, EditOption, EditRequiresGrad
from gradscope.protocol.phases import Position, Rest
from gradscope.state.app_state import AppState
from gradscope.state.edits import EditMark, Edits
from gradscope.state.engine import EngineState, EngineStatus
from gradscope.state.topics import Topic
from gradscope.state.tree import walk
from tests.session_info import session_info

SESSION = session_info(
    name="n",
    path="/x.py",
    modules=(m.ModuleInfo(name="", type="Net", description=""), m.ModuleInfo(name="a", type="Linear", description="")),
    parameters=(m.ParameterInfo(name="a.w", shape=(2,), dtype="float32", requires_grad=True, group=0),),
    groups=(m.GroupInfo(parameters=("a.w",), options={"lr": "0.1"}),),
    batches_per_epoch=None,
)


def opened() -> AppState:
    state = AppState()
    state.set_engine(EngineState(status=EngineStatus.READY))
    state.apply(m.Opened(session=SESSION, position=Position(rest=Rest.READY)))
    state.take_changes()
    return state


def test_the_newest_edit_that_counts_is_undone_first() -> None:
    edits = Edits()
    assert edits.undoable is None
    first, second = EditMade(number=0, step=2, text="one"), EditMade(number=1, step=5, text="two")
    edits.note(first)
    edits.note(second)
    assert edits.undoable == second
    edits.note(replace(second, undone_at=7))
    assert edits.undoable == first and len(edits.made) == 2
    edits.note(replace(first, undone_at=7))
    assert edits.undoable is None


def test_edits_before_a_loaded_checkpoint_cannot_be_undone() -> None:
    edits = Edits()
    edits.note(EditMade(number=0, step=2, text="one"))
    edits.cut(10)
    assert edits.undoable is None and len(edits.marks()) == 1
    later = EditMade(number=1, step=3, text="two")
    edits.note(later)
    assert edits.undoable == later
    edits.note(replace(later, undone_at=4))
    assert edits.undoable is None


def test_marks_are_where_edits_count_from_and_where_they_were_undone() -> None:
    edits = Edits()
    edits.note(EditMade(number=0, step=5, text="one"))
    edits.note(EditMade(number=1, step=5, text="two"))
    edits.note(EditMade(number=2, step=3, text="gone at once", undone_at=3))
    edits.note(EditMade(number=3, step=6, text="three", undone_at=9))
    assert edits.marks() == [
        EditMark(5, ("one", "two")),
        EditMark(6, ("three",)),
        EditMark(9, ("Undone: three",)),
    ]


def test_other_settings_are_in_the_tree_and_start_no_other_session() -> None:
    state = opened()
    history, nodes = state.history, walk(state.tree)
    changed = replace(
        SESSION,
        modules=(SESSION.modules[0], replace(SESSION.modules[1], training=False)),
        parameters=(replace(SESSION.parameters[0], requires_grad=False),),
    )
    state.apply(m.SessionChanged(session=changed))
    assert state.take_changes() == {Topic.SETTINGS}
    assert state.session is changed and state.history is history
    assert [id(node) for node in walk(state.tree)] == [id(node) for node in nodes]
    assert nodes[1].module is not None and not nodes[1].module.training
    assert nodes[2].parameter is not None and not nodes[2].parameter.requires_grad


def test_an_edit_is_logged_and_clears_the_failure_of_the_one_before() -> None:
    state = opened()
    failure = Failure(kind=FailureKind.BAD_INPUT, sentence="lr is fast; expected a number")
    state.apply(m.Failed(failure=failure, position=state.position))
    state.take_changes()
    state.apply(EditMade(number=0, step=0, text="lr: 0.1 → 0.2"))
    state.apply(Edited(text="lr: 0.1 → 0.2"))
    assert state.failure is None
    assert state.take_changes() == {Topic.EDITS, Topic.LOG, Topic.FAILURE}
    assert state.log.lines[-1].text == "Step 0: lr: 0.1 → 0.2"


def test_edits_end_with_their_session() -> None:
    state = opened()
    state.apply(EditMade(number=0, step=0, text="one"))
    state.apply(m.Opened(session=SESSION, position=Position(rest=Rest.READY)))
    assert state.edits.made == []


def test_where_edits_are_refused() -> None:
    state = AppState()
    assert state.edit_refusal(EditOption) == "The engine is not running: restart it from the Session menu"
    state.set_engine(EngineState(status=EngineStatus.READY))
    assert state.edit_refusal(EditOption) == state.undo_refusal() == "Open a script or a recipe first"
    state = opened()
    assert state.edit_refusal(EditRequiresGrad) is None
    assert state.undo_refusal() == "There is no edit to undo"
    state.apply(EditMade(number=0, step=0, text="one"))
    assert state.undo_refusal() is None
    state.set_running()
    assert state.edit_refusal(EditOption) == state.undo_refusal() == "The session is running: press Pause first"
    for rest, edit, words in (
        (Rest.FORWARD, EditMode, "A graph waits"),
        (Rest.FORWARD, EditRequiresGrad, "finish the step first"),
        (Rest.BACKWARD, EditRequiresGrad, "finish the step first"),
        (Rest.IN_STEP, EditAccumulation, "Stopped in step: finish that phase first"),
    ):
        state.apply(m.Moved(position=Position(rest=rest)))
        assert words in str(state.edit_refusal(edit))
        assert (state.edit_refusal(EditOption) is None) == (rest is not Rest.IN_STEP)
