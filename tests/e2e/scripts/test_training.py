"""Scripts that train, from their first step to their end, as a person goes through them."""

from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from gradscope.protocol import absences, messages
from gradscope.protocol.capture import Capture
from gradscope.protocol.messages.edits import EditOption
from gradscope.protocol.parts import Part
from gradscope.protocol.phases import Phase, Rest, RunUntil, SubStep, Verb
from gradscope.protocol.subjects import SubjectKey, SubjectKind
from gradscope.state.selection import Selection
from gradscope.ui.docks.inspector import InspectorDock
from tests.e2e.scripts.conftest import ScriptApp

WEIGHT = SubjectKey(SubjectKind.PARAMETER, "model.fc1.weight")


def page(scripts: ScriptApp, key: SubjectKey) -> messages.Page | messages.Unavailable:
    replies: list[object] = []
    scripts.app.controller.fetch(messages.FetchPage(subject=key), replies.append)
    scripts.app.wait(lambda: bool(replies))
    reply = replies[0]
    assert isinstance(reply, messages.Page | messages.Unavailable), reply
    return reply


def lines_of(case: str) -> list[str]:
    from tests.scripts.cases import cases

    return cases()[case].script.read_text("utf-8").splitlines()


def line_shown(scripts: ScriptApp) -> str:
    view = scripts.app.window.source.view
    return view.document().findBlockByNumber(view.marked - 1).text().strip() if view.marked else ""


def test_mnist_from_before_its_first_step_to_reset(scripts: ScriptApp, qtbot: QtBot, tmp_path: Path) -> None:
    app, state = scripts.app, scripts.app.state
    scripts.start_case("mnist_style", "--epochs", "1")
    assert state.position.rest is Rest.READY and state.position.step == 0
    assert state.session is not None and state.session.name == "mnist_style.py --epochs 1"
    assert [module.name for module in state.session.modules if "." not in module.name] == ["model"]
    assert state.session.optimizer == "Adadelta"
    assert scripts.press(Verb.FORWARD) is Rest.FORWARD
    loss = state.history.loss.values[-1, 0]
    assert loss == pytest.approx(2.30, abs=0.05)
    assert scripts.press(Verb.BACKWARD) is Rest.BACKWARD
    assert scripts.press(Verb.STEP) is Rest.READY and state.position.step == 1
    rests = [scripts.press(Verb.NEXT) for _ in range(3)]
    assert rests == [Rest.FORWARD, Rest.BACKWARD, Rest.READY] and state.position.step == 2
    assert set(state.session.substeps) == {
        SubStep.BATCH, SubStep.ZERO_GRAD, SubStep.FORWARD, SubStep.LOSS, SubStep.BACKWARD, SubStep.STEP,
    }  # fmt: skip
    # Values, where they are and as they are.
    scripts.press(Verb.FORWARD)
    output = SubjectKey(SubjectKind.ACTIVATION, "model.fc2")
    app.controller.select(Selection.of_subject(output))
    reply = page(scripts, output)
    assert isinstance(reply, messages.Page) and reply.shape == (64, 10)
    # Why a parameter moved.
    scripts.press(Verb.STEP)
    app.controller.select(Selection.of_subject(WEIGHT))
    dock = app.window.findChild(InspectorDock)
    assert isinstance(dock, InspectorDock)
    dock.tabs.setCurrentWidget(dock.why)
    app.wait(lambda: "The steps of Adadelta are not explained" in dock.why.message)
    # A snapshot.
    answers: list[object] = []
    app.controller.export_snapshot(str(tmp_path / "s.zip"), tuple(Part), (), answers.append)
    app.wait(lambda: bool(answers))
    assert isinstance(answers[0], messages.Exported) and (tmp_path / "s.zip").stat().st_size > 1000
    # A rate; and how much is looked at.
    edited: list[object] = []
    app.controller.edit(EditOption(group=0, option="lr", value="0.5"), edited.append)
    app.wait(lambda: bool(edited))
    assert isinstance(edited[0], messages.Edited), edited
    scripts.press(Verb.STEP)
    assert state.history.lr.values[-1, 0] == 0.5
    app.controller.set_capture(Capture.parse("norms"))
    app.wait(lambda: str(state.capture) == "norms")
    scripts.press(Verb.STEP)
    app.controller.set_capture(Capture.parse("full"))
    app.wait(lambda: str(state.capture) == "full")
    # To the end.
    app.run(RunUntil.PAUSED)
    scripts.wait_for_end()
    assert state.exit_code == 0 and state.position.step == 19
    assert "The script has ended: exit code 0" in app.window.script_bar.sentence.text()
    # What it has printed last may come after its end.
    app.wait(lambda: any(line.startswith("FINAL ") for line in scripts.log))
    reply = page(scripts, WEIGHT)
    assert isinstance(reply, messages.Page) and reply.shape == (32, 64)
    assert state.refusal(Verb.NEXT) is not None
    # Once more, from the beginning.
    first = app.engine_pid
    app.controller.reset()
    scripts.wait_for_begin()
    assert app.engine_pid != first and state.position.rest is Rest.READY and state.position.step == 0
    scripts.press(Verb.FORWARD)
    assert state.history.loss.values[-1, 0] == loss


def test_it_is_paused_in_a_layer_and_the_source_follows(scripts: ScriptApp, qtbot: QtBot) -> None:
    app = scripts.app
    app.window.resize(1440, 900)
    app.window.panel_layout.reset()
    app.window._on_source_wanted()
    scripts.run_loop("open('reached', 'a').close(); time.sleep(0.5)", steps=3)
    scripts.press(Verb.FORWARD)
    app.wait(lambda: line_shown(scripts) == "loss.backward()")
    scripts.press(Verb.BACKWARD)
    app.wait(lambda: line_shown(scripts) == "loss.backward()")
    scripts.press(Verb.STEP)
    app.wait(lambda: line_shown(scripts) == "optimizer.step()")
    (scripts.folder / "reached").unlink()
    app.controller.go(Verb.FORWARD)
    app.wait((scripts.folder / "reached").exists)
    app.controller.pause()
    app.wait_for_rest()
    assert app.state.position.rest is Rest.IN_FORWARD
    assert app.state.position.moment is not None and app.state.position.moment.layer == "model.linear"
    app.wait(lambda: line_shown(scripts) == "return self.linear(x)")
    assert scripts.press(Verb.NEXT) is Rest.FORWARD
    app.run(RunUntil.PAUSED)
    scripts.wait_for_end()
    assert app.state.position.step == 3


def test_a_step_is_explained(scripts: ScriptApp) -> None:
    app = scripts.app
    scripts.run_loop()
    scripts.press(Verb.STEP)
    scripts.press(Verb.STEP)
    app.controller.select(Selection.of_subject(SubjectKey(SubjectKind.PARAMETER, "model.linear.weight")))
    dock = app.window.findChild(InspectorDock)
    assert isinstance(dock, InspectorDock)
    dock.tabs.setCurrentWidget(dock.why)
    app.wait(lambda: dock.why.message == "" and dock.why.model.rowCount() == 4)
    assert [dock.why.model.index(row, 0).data() for row in range(4)] == ["gradient", "momentum", "rounding", "= delta"]
    assert "Step 1, by SGD. Unexplained:" in dock.why.facts


def test_a_gan_has_two_models_and_two_optimizers(scripts: ScriptApp) -> None:
    app, state = scripts.app, scripts.app.state
    scripts.start_case("dcgan_style")
    scripts.press(Verb.STEP)
    scripts.press(Verb.STEP)
    scripts.press(Verb.FORWARD)
    absent = {absence.name: absence.reason for absence in state.reports[Phase.FORWARD].absent}
    assert absent["netG"] == absent["netG.main.0"] == absences.OTHER_MODEL, "which is as it should be"
    assert state.session is not None
    assert [module.name for module in state.session.modules if "." not in module.name] == ["netD", "netG"]
    assert set(state.session.optimizers) == {"optimizerD", "optimizerG"}
    assert state.tree is not None and {node.name for node in state.tree.children} == {"netD", "netG"}
    assert "turn optimizer" in app.window.phase_strip.readout.accessibleName() or state.position.optimizer == ""
    app.run(RunUntil.PAUSED)
    scripts.wait_for_end()
    assert state.exit_code == 0 and state.position.step == 16


def test_lightning(scripts: ScriptApp) -> None:
    state = scripts.app.state
    scripts.start_case("lightning_auto")
    assert state.session is not None and state.session.optimizer == "AdamW"
    assert scripts.press(Verb.FORWARD) is Rest.FORWARD
    assert scripts.press(Verb.BACKWARD) is Rest.BACKWARD
    assert scripts.press(Verb.STEP) is Rest.READY
    scripts.app.run(RunUntil.PAUSED)
    scripts.wait_for_end()
    assert state.exit_code == 0 and state.position.step == 8


def test_a_notebook(scripts: ScriptApp) -> None:
    state = scripts.app.state
    scripts.start_case("notebook")
    assert scripts.press(Verb.FORWARD) is Rest.FORWARD
    scripts.app.run(RunUntil.PAUSED)
    scripts.wait_for_end()
    assert state.exit_code == 0
    left_out = [line for line in scripts.log if "Left out, since it is no Python" in line]
    assert any("%matplotlib inline" in line for line in left_out) and any("!nvidia-smi" in line for line in left_out)


def test_workers_and_a_pool_are_its_own(scripts: ScriptApp) -> None:
    state = scripts.app.state
    scripts.start_case("own_processes")
    for _ in range(5):
        scripts.press(Verb.NEXT)
    scripts.app.run(RunUntil.PAUSED)
    scripts.wait_for_end()
    assert state.exit_code == 0 and state.position.step == 8
    # What the pool has computed; what is printed comes by another way than the end.
    scripts.app.wait(lambda: any(line.startswith("1 ") and "[" in line for line in scripts.log))
