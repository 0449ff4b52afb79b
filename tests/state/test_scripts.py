"""A session that a script drives: what it cannot do, that it grows, and how it ends."""

from dataclasses import replace

import pytest

from gradscope.protocol import messages as m
from gradscope.protocol.failure import Failure, FailureKind
from gradscope.protocol.messages.edits import (
    EDITS,
    EditDropout,
    EditMode,
    EditOption,
    EditRequiresGrad,
)
from gradscope.protocol.phases import AT_REST, Position, Rest, RunUntil, Verb
from gradscope.protocol.scripts import Ability, Script, ScriptKind
from gradscope.protocol.subjects import SubjectKey, SubjectKind
from gradscope.state.app_state import AppState
from gradscope.state.engine import EngineState, EngineStatus, Origin, exit_code_in
from gradscope.state.topics import Topic
from tests.session_info import session_info

SCRIPT = Script(kind=ScriptKind.FILE, name="train.py", folder="/w")
REFUSED = {ability.value: f"No {ability.value}" for ability in Ability}
SESSION = session_info(path="/w/train.py", script=SCRIPT, refused=REFUSED)
READY = EngineState(status=EngineStatus.READY, script=SCRIPT)


def state_of(session: m.SessionInfo = SESSION, rest: Rest = Rest.READY, *, running: bool = False) -> AppState:
    state = AppState()
    state.set_engine(READY)
    state.apply(m.Opened(session=session, position=Position(rest=Rest.READY)))
    state.apply(m.Moved(position=Position(rest=rest, running=running)))
    return state


def allowing(*abilities: Ability) -> m.SessionInfo:
    return replace(SESSION, refused={key: text for key, text in REFUSED.items() if key not in abilities})


INSIDE = (Rest.IN_FORWARD, Rest.IN_BACKWARD, Rest.IN_STEP)


@pytest.mark.parametrize("rest", [*sorted(AT_REST), *INSIDE])
def test_the_phases_can_always_be_pressed(rest: Rest) -> None:
    state = state_of(rest=rest)
    verbs = (Verb.FORWARD, Verb.BACKWARD, Verb.STEP, Verb.NEXT, Verb.RUN, Verb.RESET)
    assert [state.refusal(verb) for verb in verbs] == [None] * 6
    assert state.next_verb is Verb.NEXT
    assert state.refusal(Verb.PAUSE) == "Nothing is running"


def test_what_it_never_can_is_said_with_its_own_sentence() -> None:
    for state in (state_of(), state_of(running=True), state_of(rest=Rest.ENDED)):
        assert state.refusal(Verb.VALIDATE) == "No validate"
        assert state.refusal(Verb.ZERO_GRAD) == "No zero grad"
        assert state.run_refusal(RunUntil.EPOCH) == "No run epoch"
        assert state.checkpoint_refusal() == "No save checkpoint"
        assert state.checkpoint_refusal(loads=True) == "No load checkpoint"
        assert state.best_refusal() == "No save checkpoint"
        for edit in EDITS:
            kind = {EditOption: "options", EditDropout: "layers", EditMode: "layers", EditRequiresGrad: "layers"}
            assert state.edit_refusal(edit) == f"No edit {kind.get(edit, 'step')}"
    assert state_of().run_refusal(RunUntil.STEPS) is None
    assert state_of(running=True).interrupt_refusal() is None, "it says where it is"
    assert state_of().interrupt_refusal() == "Nothing is running"


def test_what_it_can_is_refused_only_for_now() -> None:
    session = replace(SESSION, refused={})
    state = state_of(session, Rest.FORWARD)
    assert state.edit_refusal(EditOption) is None
    assert state.interrupt_refusal() == "Nothing is running"
    assert state.checkpoint_refusal() == "Only between two steps: press Step to complete this one"
    assert state.capture_refusal() is None, "between two phases"
    state.apply(m.Moved(position=Position(rest=Rest.IN_BACKWARD)))
    assert state.capture_refusal() == "Only between two phases: press Next to finish this one"
    assert state_of(session, running=True).edit_refusal(EditOption) == "The session is running: press Pause first"
    state = state_of(session)
    assert (state.checkpoint_refusal(), state.checkpoint_refusal(loads=True), state.capture_refusal()) == (None,) * 3
    assert state.run_refusal(RunUntil.EPOCH) is None
    assert (state.best_refusal() or "").startswith("There are no best weights")


def test_each_optimizer_s_step_is_a_step_of_its_own() -> None:
    state = state_of(replace(allowing(Ability.SAVE_CHECKPOINT), optimizers=("optD", "optG")))
    state.apply(m.Moved(position=Position(rest=Rest.READY, optimizer="optG")))
    assert state.checkpoint_refusal() is None


def test_a_snapshot_of_one_is_a_snapshot() -> None:
    state = state_of()
    state.snapshot = Origin(path="/s", created="")
    said = {
        state.refusal(Verb.FORWARD),
        state.refusal(Verb.VALIDATE),
        state.interrupt_refusal(),
        state.edit_refusal(EditOption),
        state.at_rest_refusal(),
        state.refusal(Verb.RESET),
    }
    assert said == {"This is a snapshot: it cannot be trained"}


def test_at_its_end_it_can_be_looked_at_and_started_again() -> None:
    state = state_of(allowing(Ability.EDIT_OPTIONS, Ability.SAVE_CHECKPOINT), Rest.ENDED)
    over = "The script has ended: Reset starts it again"
    verbs = (Verb.FORWARD, Verb.BACKWARD, Verb.STEP, Verb.NEXT, Verb.RUN, Verb.PAUSE)
    assert {state.refusal(verb) for verb in verbs} == {over}
    assert state.edit_refusal(EditOption) == state.capture_refusal() == over
    assert state.refusal(Verb.RESET) is None
    assert state.at_rest_refusal() is None and state.checkpoint_refusal() is None


def test_it_can_be_started_again_where_its_engine_is_gone_also_without_a_path() -> None:
    state = state_of(replace(SESSION, path=""))
    state.set_engine(EngineState(status=EngineStatus.DEAD, text="gone"))
    assert state.refusal(Verb.RESET) is None
    assert state.refusal(Verb.FORWARD) == "The engine is not running: restart it from the Session menu"


def test_a_recipe_rests_as_before() -> None:
    state = AppState()
    state.set_engine(EngineState(status=EngineStatus.READY))
    assert state.at_rest_refusal() == state.refusal(Verb.NEXT_BATCH) == "Open a script or a recipe first"
    state.apply(m.Opened(session=session_info(optimizers=("a", "b")), position=Position(rest=Rest.READY)))
    for rest in (*sorted(AT_REST), *INSIDE):
        for running in (False, True):
            state.apply(m.Moved(position=Position(rest=rest, running=running)))
            assert state.at_rest_refusal() == state.refusal(Verb.NEXT_BATCH)
    state.apply(m.Moved(position=Position(rest=Rest.READY, optimizer="b")))
    assert state.next_verb is Verb.NEXT_BATCH
    assert state.checkpoint_refusal() == "Only between two steps: press Next batch to complete this one"


# ----------------------------------------------------------------------------------------------- before, and after


def test_until_it_has_come_to_a_step_nothing_can_be_asked() -> None:
    state = AppState()
    state.awaited = SCRIPT
    state.set_opening("/w/train.py")
    for status in (EngineStatus.STARTING, EngineStatus.READY):
        state.set_engine(EngineState(status=status, script=SCRIPT))
        assert state.refusal(Verb.NEXT) == state.refusal(Verb.RESET) == state.at_rest_refusal()
        assert state.at_rest_refusal() == "The script has not come to its first training step"
    state.set_opening("/a/snapshot")
    assert state.awaited is SCRIPT, "it goes on while a snapshot is read"
    state.apply(m.Opened(session=SESSION, position=Position(rest=Rest.READY)))
    assert (state.awaited, state.opening) == (None, None)


@pytest.mark.parametrize("make", [m.Moved, m.Done, lambda position: m.Failed(failure=_FAILURE, position=position)])
def test_one_that_never_came_to_a_step_has_no_session(make: type[m.Moved]) -> None:
    state = AppState()
    state.set_engine(READY)
    state.apply(make(position=Position(rest=Rest.ENDED)))
    assert state.position.rest is Rest.EMPTY
    state.apply(m.Opened(session=SESSION, position=Position(rest=Rest.READY)))
    state.apply(make(position=Position(rest=Rest.ENDED)))
    assert state.position.rest is Rest.ENDED


_FAILURE = Failure(kind=FailureKind.USER_CODE, sentence="ValueError: no")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The script has ended: exit code 0", 0),
        ("The script has ended with exit code 3", 3),
        ("The script train.py has ended by SIGTERM, exit code -15", -15),
        ("The script has ended", None),
        ("A worker of the script has ended with exit code 1", None),
        ("Step 3: exit code 0", None),
    ],
)
def test_the_exit_code_is_what_the_note_says(text: str, code: int | None) -> None:
    assert exit_code_in(text) == code
    state = state_of()
    state.take_changes()
    state.apply(m.Note(text=text))
    assert state.exit_code == code
    assert (Topic.POSITION in state.take_changes()) == (code is not None)
    state.apply(m.Note(text="Something else"))
    assert state.exit_code == code
    state.apply(m.Opened(session=SESSION, position=Position(rest=Rest.READY)))
    assert state.exit_code is None


def test_a_recipe_s_notes_are_no_exit_codes() -> None:
    state = state_of(session_info())
    state.apply(m.Note(text="The script has ended with exit code 3"))
    assert state.exit_code is None


def test_another_module_is_another_model() -> None:
    def module_session(name: str) -> m.SessionInfo:
        return replace(SESSION, path="", script=Script(kind=ScriptKind.MODULE, name=name, folder="/w"))

    state = state_of(module_session("pkg.train"))
    state.toggle_pin(SubjectKey(SubjectKind.GRAD, "a"))
    state.apply(m.Opened(session=module_session("pkg.train"), position=Position(rest=Rest.READY)))
    assert len(state.pins) == 1, "started again"
    state.apply(m.Opened(session=module_session("pkg.other"), position=Position(rest=Rest.READY)))
    assert len(state.pins) == 0


# ----------------------------------------------------------------------------------------------- it grows


def parameter(name: str, group: int | None = 0) -> m.ParameterInfo:
    return m.ParameterInfo(name=name, shape=(2,), dtype="float32", requires_grad=True, group=group)


def module(name: str) -> m.ModuleInfo:
    return m.ModuleInfo(name=name, type="Linear", description="")


def test_a_model_that_is_found_later_is_in_the_tree() -> None:
    state = state_of(replace(SESSION, modules=(module("netD"),), parameters=(parameter("netD.weight", None),)))
    tree, revision = state.tree, state.revision
    state.take_changes()
    grown = replace(
        SESSION,
        modules=(module("netD"), module("netG"), module("netG.0")),
        parameters=(parameter("netD.weight"), parameter("netG.0.weight")),
        groups=(m.GroupInfo(parameters=("netD.weight", "netG.0.weight"), options={"lr": "0.1"}),),
    )
    state.apply(m.SessionChanged(session=grown))
    assert state.tree is not None and state.tree is not tree
    names = [node.name for node in state.tree.rows.nodes]
    assert names == ["", "netD", "netD.weight", "netG", "netG.0", "netG.0.weight"]
    assert state.take_changes() == {Topic.MODEL, Topic.SETTINGS} and state.revision > revision
    grown_tree = state.tree
    state.apply(m.SessionChanged(session=replace(grown, capture="norms")))
    assert state.tree is grown_tree, "other settings are no other model"
    assert Topic.MODEL not in state.take_changes()


def test_a_buffer_or_a_parameter_alone_is_another_model_too() -> None:
    state = state_of()
    for change in (
        {"parameters": (parameter("w", None),)},
        {"buffers": (m.BufferInfo(name="mean", shape=(), dtype="float32"),)},
    ):
        state.take_changes()
        assert state.session is not None
        state.apply(m.SessionChanged(session=replace(state.session, **change)))
        assert Topic.MODEL in state.take_changes()
