"""Scripts and recipes one after the other: which engine runs what, and what is asked of it. A fake client."""

from dataclasses import replace
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from gradscope.protocol import messages as m
from gradscope.protocol.failure import Failure, FailureKind
from gradscope.protocol.phases import Position, Rest, RunUntil, Verb
from gradscope.protocol.scripts import Ability, Script, ScriptKind
from gradscope.state.engine import EngineStatus, Unopened
from gradscope.state.log import Source
from gradscope.ui.look.settings import Setting
from tests.client.test_controller import SESSION, Lab
from tests.session_info import session_info

REFUSED = {Ability.RUN_EPOCH.value: "The script knows", Ability.UNDO_PHASE.value: "It stays done"}
CRASH = Failure(kind=FailureKind.USER_CODE, sentence="ValueError in train.py, line 3: no")


@pytest.fixture
def lab(qtbot: QtBot, tmp_path: Path) -> Lab:
    return Lab(tmp_path)


@pytest.fixture
def script(tmp_path: Path) -> Script:
    (tmp_path / "train.py").write_text("pass\n")
    return Script(kind=ScriptKind.FILE, name="train.py", arguments=("--lr", "0.1"), folder=str(tmp_path))


def session_of(script: Script) -> m.SessionInfo:
    return session_info(path=f"{script.folder}/train.py", script=script, refused=REFUSED, batches_per_epoch=None)


def opened(lab: Lab, script: Script) -> m.OpenScript:
    """It stands before its first step."""
    lab.controller.open_script(script)
    lab.client.become(EngineStatus.READY)
    request = lab.client.requests[-1]
    reply = m.Opened(session=session_of(script), position=Position(rest=Rest.READY))
    lab.client.message_received.emit(reply)
    lab.client.replies[-1](reply)  # type: ignore[misc]
    lab.client.requests.clear()
    lab.client.replies.clear()
    assert isinstance(request, m.OpenScript)
    return request


def failed(lab: Lab, rest: Rest = Rest.ENDED) -> None:
    reply = m.Failed(failure=CRASH, position=Position(rest=rest))
    lab.client.message_received.emit(reply)
    lab.client.replies[-1](reply)  # type: ignore[misc]


def test_a_script_has_an_engine_of_its_own(lab: Lab, script: Script) -> None:
    lab.ready()
    lab.settings.set(Setting.BUDGET_MB, 3)
    lab.settings.set(Setting.TIMELINE_MB, 64)
    assert (len(lab.client.started), lab.client.script) == (1, None)
    lab.controller.open_script(script)
    assert (len(lab.client.started), lab.client.script) == (2, script)
    assert lab.client.requests == [], "it is told when the script has imported torch"
    assert (lab.state.awaited, lab.state.opening) == (script, f"{script.folder}/train.py")
    assert lab.state.refusal(Verb.FORWARD) == "The script has not come to its first training step"
    lab.client.become(EngineStatus.STARTING, "The script is running")
    lab.client.become(EngineStatus.READY)
    assert lab.client.requests == [
        m.OpenScript(
            script=script, capture="full", budget_bytes=3 * 1024 * 1024, findings=True, timeline_bytes=64 * 1024 * 1024
        )
    ]
    assert lab.state.awaited is script, "until it has come to a step"


def test_opened_it_goes_by_its_own_verbs(lab: Lab, script: Script) -> None:
    opened(lab, script)
    assert (lab.state.awaited, lab.state.opening) == (None, None)
    lab.controller.go_next()
    lab.client.message_received.emit(m.Done(position=Position(rest=Rest.FORWARD)))
    lab.controller.go(Verb.FORWARD)
    lab.client.message_received.emit(m.Done(position=Position(rest=Rest.FORWARD)))
    lab.controller.go(Verb.STEP)
    lab.client.message_received.emit(m.Done(position=Position(rest=Rest.READY, step=1)))
    lab.controller.run(RunUntil.EPOCH)
    lab.controller.go(Verb.NEXT_BATCH)
    lab.controller.run(RunUntil.PAUSED)
    assert lab.client.requests == [
        m.Go(verb=Verb.NEXT),
        m.Go(verb=Verb.FORWARD),
        m.Go(verb=Verb.STEP),
        m.Go(verb=Verb.RUN, until=RunUntil.PAUSED),
    ]
    lab.controller.pause()
    lab.controller.ask_where()
    assert lab.client.sent == [m.Pause(), m.Interrupt()]


def test_reset_starts_it_again_in_another_engine(lab: Lab, script: Script) -> None:
    opened(lab, script)
    lab.client.message_received.emit(m.SessionChanged(session=replace(session_of(script), capture="norms")))
    lab.client.message_received.emit(m.Moved(position=Position(rest=Rest.FORWARD, step=4)))
    lab.controller.reset()
    assert (len(lab.client.started), lab.client.script) == (2, script)
    assert lab.state.position.rest is Rest.EMPTY
    lab.client.become(EngineStatus.READY)
    assert lab.client.requests == [
        m.OpenScript(script=script, capture="norms", findings=True, timeline_bytes=1024 * 1024 * 1024)
    ]


def test_after_a_script_a_recipe_has_a_fresh_engine(lab: Lab, script: Script) -> None:
    opened(lab, script)
    lab.controller.open_recipe("/a.py")
    assert (len(lab.client.started), lab.client.script) == (2, None)
    assert (lab.client.requests, lab.state.awaited) == ([], None)
    lab.client.become(EngineStatus.READY)
    assert lab.client.requests == [m.Open(path="/a.py", findings=True, timeline_bytes=2**30)]
    lab.client.open(SESSION)
    lab.controller.open_recipe("/b.py")
    assert len(lab.client.started) == 2, "and the next one goes into the same"


def test_what_is_opened_last_counts(lab: Lab, script: Script) -> None:
    lab.controller.open_script(script)
    lab.controller.open_recipe("/a.py")
    other = replace(script, arguments=("again",))
    lab.controller.open_script(other)
    assert (len(lab.client.started), lab.client.script, lab.state.awaited) == (3, other, other)
    lab.client.become(EngineStatus.READY)
    assert [request.script for request in lab.client.requests] == [other]
    lab.controller.open_recipe("/b.py")
    lab.client.become(EngineStatus.READY)
    assert lab.client.requests[1:] == [m.Open(path="/b.py", findings=True, timeline_bytes=2**30)]


def test_a_script_that_ends_before_its_first_step(lab: Lab, script: Script) -> None:
    lab.controller.open_script(script)
    lab.client.become(EngineStatus.READY)
    failed(lab)
    assert lab.state.failure == CRASH
    assert (lab.state.awaited, lab.state.opening, lab.state.position.rest) == (None, None, Rest.EMPTY)
    assert lab.state.unopened is not None and lab.state.unopened.script is script
    lab.controller.open_again()
    assert (len(lab.client.started), lab.client.script) == (2, script)


def test_its_failure_leaves_no_session(lab: Lab, script: Script) -> None:
    lab.opened()
    lab.client.message_received.emit(m.Moved(position=Position(rest=Rest.FORWARD, step=5)))
    lab.controller.open_script(script)
    lab.client.become(EngineStatus.READY)
    failed(lab)
    assert lab.state.session is None and lab.state.position.rest is Rest.EMPTY, (
        "the recipe's engine is gone, and the script has no session"
    )
    assert lab.state.refusal(Verb.FORWARD) == "Open a script or a recipe first"


def test_its_engine_may_be_ended_while_it_runs(lab: Lab, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        type(lab.client), "end", lambda client: client.become(EngineStatus.DEAD, "ended"), raising=False
    )
    lab.controller.open_script(script)
    lab.controller.end_engine()
    assert (lab.state.awaited, lab.state.opening) == (None, None)
    assert lab.state.unopened is not None and lab.state.unopened.script is script
    lab.client.become(EngineStatus.STARTING)
    lab.client.become(EngineStatus.READY)
    assert lab.client.requests == [], "nothing is run that was given up"
    lab.controller.open_again()
    assert lab.state.awaited is script


def test_a_restart_runs_no_script(lab: Lab, script: Script) -> None:
    opened(lab, script)
    lab.controller.restart_engine()
    assert (len(lab.client.started), lab.client.script) == (2, None)
    lab.client.become(EngineStatus.READY)
    assert lab.client.requests == []
    assert lab.state.session is not None and lab.state.session.script == script
    lab.controller.reset()
    assert lab.client.script == script


def test_a_restart_gives_up_a_script_that_has_not_begun(lab: Lab, script: Script) -> None:
    lab.controller.open_script(script)
    lab.controller.restart_engine()
    assert (lab.client.script, lab.state.awaited, lab.state.opening) == (None, None, None)
    lab.client.become(EngineStatus.READY)
    assert lab.client.requests == []


def test_the_command_line_s_level_is_the_first_script_s_too(lab: Lab, script: Script) -> None:
    lab.controller.capture_first_file("layers:head")
    assert opened(lab, script).capture == "layers:head"
    lab.controller.open_script(replace(script, name="other.py"))
    lab.client.become(EngineStatus.READY)
    assert lab.client.requests[-1].capture == "full"


def test_the_log_is_divided_and_no_line_is_glued_to_the_one_before(lab: Lab, script: Script) -> None:
    lab.controller.open_script(script)
    lab.client.output_received.emit("half a li", Source.STDOUT)
    lab.controller.open_script(script)
    lab.client.output_received.emit("ne\n", Source.STDOUT)
    lines = [(line.text.strip("─ "), line.is_divider) for line in lab.state.log.lines]
    title = (f"train.py --lr 0.1, in {script.folder}", True)
    assert lines == [title, ("half a li", False), title, ("ne", False)]


def test_what_could_not_be_opened_is_known_by_its_file_and_its_content(lab: Lab, script: Script) -> None:
    lab.controller.open_script(script)
    lab.client.become(EngineStatus.DEAD, "no")
    unopened = lab.state.unopened
    assert unopened is not None and len(unopened.digest) == 64
    assert replace(unopened, digest="") == Unopened(path=f"{script.folder}/train.py", digest="", script=script)
    module = Script(kind=ScriptKind.MODULE, name="pkg.train", folder=script.folder)
    lab.controller.open_script(module)
    lab.client.become(EngineStatus.DEAD, "no")
    assert lab.state.unopened == Unopened(path="pkg.train", digest="", script=module)


# ------------------------------------------------------------------------------------------ what was there before


def numbers(lab: Lab) -> tuple[int, bool, str]:
    """What views would still show of the session before."""
    state = lab.state
    return (
        len(state.history.loss),
        state.first_nonfinite is not None,
        "" if state.session is None else state.session.path,
    )


def played(lab: Lab, session: m.SessionInfo) -> None:
    """A session that has come to step 4, with losses."""
    lab.client.message_received.emit(m.Opened(session=session, position=Position(rest=Rest.READY)))
    lab.state.history.loss.add(3, [0.25])
    lab.client.message_received.emit(m.Moved(position=Position(rest=Rest.READY, step=4)))


def test_a_script_without_a_step_leaves_nothing_of_the_recipe_before_it(lab: Lab, script: Script) -> None:
    lab.ready()
    played(lab, replace(SESSION, path="/a.py"))
    assert numbers(lab) == (1, False, "/a.py")
    lab.controller.open_script(script)
    assert numbers(lab) == (0, False, "") and lab.state.tree is None, "at once, and not when it comes to a step"
    assert (lab.state.awaited, lab.state.position) == (script, Position())
    lab.client.become(EngineStatus.READY)
    failed(lab)
    assert numbers(lab) == (0, False, "") and lab.state.unopened is not None


def test_a_script_that_is_started_again_is_shown_until_it_comes_to_a_step(lab: Lab, script: Script) -> None:
    opened(lab, script)
    played(lab, session_of(script))
    pinned = lab.state.pins
    lab.controller.reset()
    assert numbers(lab) == (1, False, f"{script.folder}/train.py") and lab.state.tree is not None
    assert lab.state.pins is pinned and lab.state.awaited is script
    lab.client.become(EngineStatus.READY)
    lab.client.message_received.emit(m.Opened(session=session_of(script), position=Position()))
    assert numbers(lab) == (0, False, f"{script.folder}/train.py")


def test_a_recipe_behind_a_script_or_a_dead_engine_leaves_nothing_either(lab: Lab, script: Script) -> None:
    opened(lab, script)
    played(lab, session_of(script))
    lab.controller.open_recipe("/a.py")
    assert numbers(lab) == (0, False, "")
    lab.client.become(EngineStatus.READY)
    played(lab, replace(SESSION, path="/a.py"))
    lab.client.become(EngineStatus.DEAD)
    assert numbers(lab) == (1, False, "/a.py"), "what is known of it stays to be read"
    lab.controller.open_recipe("/b.py")
    assert numbers(lab) == (0, False, "")


def test_what_is_left_of_a_training_whose_engine_died_stays_until_it_is_open_again(lab: Lab) -> None:
    lab.ready()
    played(lab, replace(SESSION, path="/a.py"))
    lab.client.become(EngineStatus.DEAD)
    lab.controller.open_recipe("/a.py")
    lab.client.become(EngineStatus.READY)
    failed(lab)
    assert numbers(lab) == (1, False, "/a.py") and lab.state.unopened is not None, "a mistake in the file loses nothing"
    lab.controller.open_recipe("/a.py")
    lab.client.message_received.emit(m.Opened(session=replace(SESSION, path="/a.py"), position=Position()))
    assert numbers(lab) == (0, False, "/a.py")


def test_a_recipe_in_a_living_engine_is_shown_until_another_is_there(lab: Lab) -> None:
    """It goes on where the other cannot be opened: the engine has it still."""
    lab.ready()
    played(lab, replace(SESSION, path="/a.py"))
    lab.controller.open_recipe("/b.py")
    assert numbers(lab) == (1, False, "/a.py")
    failed(lab, Rest.READY)
    assert numbers(lab) == (1, False, "/a.py") and lab.state.unopened is not None
