"""The main job through the window: open, Forward, Backward, Step, Run, Pause, Reset, export."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from pytestqt.qtbot import QtBot

from gradscope.assets import sample_paths
from gradscope.protocol import messages as m
from gradscope.protocol.parts import EVERYTHING
from gradscope.protocol.phases import Phase, Rest, RunUntil, Verb
from gradscope.protocol.subjects import L2, SubjectKey, SubjectKind
from gradscope.snapshots.reader import open_snapshot
from gradscope.state.engine import EngineStatus
from gradscope.state.history import History
from gradscope.state.selection import Selection
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.dialogs.export import ExportDialog
from gradscope.ui.look.settings import Setting
from tests.e2e.driver import App
from tests.patience import patient

WARNING_SAMPLES = {
    "mixed_precision": "leave this step out",
    "exploding_gradients": "First Inf: step 4, forward, layers.2 (Linear)",
    "forgotten_zero_grad": "zero_grad was not called",
    "frozen_by_mistake": "does not hold head.weight",
}
"""The samples that the app has something to say about."""


@pytest.fixture
def app(shared_app: App) -> App:
    return shared_app


def test_every_sample_steps_by_its_buttons(app: App) -> None:
    """One after the other, in one window and one engine."""
    app.controller.settings.set(Setting.STOP_AT_NONFINITE, False)
    actions = app.window.actions_
    buttons = [ActionId.FORWARD, ActionId.BACKWARD, ActionId.STEP]
    for path in sample_paths():
        known = len(app.state.log.lines)
        app.open(path)
        assert app.state.failure is None, path.stem
        assert app.state.session is not None
        while app.state.position.step < 2:
            app.wait(lambda: not app.state.position.running and any(actions[button].isEnabled() for button in buttons))
            (button,) = (button for button in buttons if actions[button].isEnabled())
            before = app.state.position
            actions[button].trigger()
            app.wait(lambda before=before: app.state.position != before and not app.state.position.running)
        app.run(RunUntil.STEPS, 5)
        app.wait(lambda: app.state.position.step == 7)
        assert len(app.state.history.loss) == 7, path.stem
        assert set(app.state.reports) == set(Phase)
        assert app.state.history.subjects(SubjectKind.UPDATE)
        warnings = [line.text for line in list(app.state.log.lines)[known:] if line.is_warning]
        expected = WARNING_SAMPLES.get(path.stem)
        assert any(expected in text for text in warnings) if expected else not warnings, (path.stem, warnings)


def test_keyboard_steps_too(app: App, qtbot: QtBot, write_recipe: Callable[..., Path]) -> None:
    app.open(write_recipe())
    for key, rest in ((Qt.Key.Key_F5, Rest.FORWARD), (Qt.Key.Key_F6, Rest.BACKWARD), (Qt.Key.Key_F7, Rest.READY)):
        qtbot.keyClick(app.window, key)
        app.wait(lambda rest=rest: app.state.position.rest is rest and not app.state.position.running)
    qtbot.keyClick(app.window, Qt.Key.Key_F8)
    app.wait(lambda: app.state.position.step == 2)


def test_buttons_follow_the_phase_table(app: App, write_recipe: Callable[..., Path]) -> None:
    actions = app.window.actions_
    app.open(write_recipe())
    assert actions[ActionId.FORWARD].isEnabled()
    assert not actions[ActionId.BACKWARD].isEnabled()
    assert "needs a forward" in actions[ActionId.BACKWARD].toolTip()
    app.go(Verb.FORWARD)
    assert actions[ActionId.BACKWARD].isEnabled()
    assert not actions[ActionId.FORWARD].isEnabled()


def test_a_run_pauses_inside_a_phase_and_goes_on(app: App, write_recipe: Callable[..., Path]) -> None:
    app.open(write_recipe("time.sleep(0.02)"))
    app.run(RunUntil.PAUSED)
    app.wait(lambda: app.state.position.step > 3)
    app.controller.pause()
    app.wait_for_rest()
    stopped = app.state.position
    app.go(Verb.NEXT_BATCH)
    assert app.state.position.step == stopped.step + 1
    assert app.state.position.rest is Rest.READY


def test_an_epoch_ends_where_the_data_ends(app: App, write_recipe: Callable[..., Path]) -> None:
    app.open(write_recipe())
    app.go(Verb.NEXT_BATCH)
    app.run(RunUntil.EPOCH)
    app.wait_for_rest()
    assert (app.state.position.epoch, app.state.position.batch, app.state.position.step) == (1, 0, 6)


def test_reset_starts_again_the_same(app: App, write_recipe: Callable[..., Path]) -> None:
    app.open(write_recipe())
    app.run(RunUntil.STEPS, 4)
    app.wait(lambda: app.state.position.step == 4)
    first = app.state.history.loss.values.copy()
    app.controller.reset()
    app.wait(lambda: app.state.position.step == 0 and app.state.opening is None)
    app.run(RunUntil.STEPS, 4)
    app.wait(lambda: app.state.position.step == 4)
    np.testing.assert_array_equal(app.state.history.loss.values, first)


def test_values_are_fetched_exactly(app: App, write_recipe: Callable[..., Path]) -> None:
    app.open(write_recipe())
    app.go(Verb.NEXT_BATCH)
    key = SubjectKey(SubjectKind.GRAD, "linear.weight")
    app.controller.select(Selection.of_subject(key))
    pages: list[m.Page] = []
    app.controller.fetch(m.FetchPage(subject=key), pages.append)
    app.wait(lambda: bool(pages))
    latest = app.state.history.latest(key)
    assert latest is not None
    assert pages[0].values.shape == (2, 3)
    np.testing.assert_allclose(np.linalg.norm(pages[0].values), latest.summary[L2], rtol=1e-6)


def test_a_bad_file_keeps_the_session(app: App, write_recipe: Callable[..., Path], tmp_path: Path) -> None:
    app.open(write_recipe())
    app.go(Verb.NEXT_BATCH)
    bad = tmp_path / "bad.py"
    bad.write_text("def recipe(:\n")
    app.open(bad)
    assert app.state.failure is not None
    assert "bad.py" in app.state.failure.sentence
    assert app.state.session is not None
    assert app.state.session.name == "Little net"
    app.go(Verb.NEXT_BATCH)
    assert app.state.position.step == 2


@pytest.mark.parametrize("as_zip", [False, True])
def test_export_with_the_plots(app: App, write_recipe: Callable[..., Path], tmp_path: Path, as_zip: bool) -> None:
    app.controller.settings.set(Setting.EXPORT_FOLDER, str(tmp_path))
    app.open(write_recipe())
    app.run(RunUntil.STEPS, 3)
    app.wait(lambda: app.state.position.step == 3)
    app.window.commands.export_snapshot()
    dialog = app.window.findChildren(ExportDialog)[-1]
    target = tmp_path / (dialog.name.text() + (".zip" if as_zip else ""))
    dialog.form.setCurrentIndex(int(as_zip))
    app.wait(lambda: "…" not in dialog.total.text())
    dialog.accept()
    app.wait(target.exists)
    snapshot = open_snapshot(target)
    assert snapshot.position.step == 3 and snapshot.parts == EVERYTHING and snapshot.remarks == ()
    assert snapshot.session == app.state.session
    stems = {name.rpartition(".")[0] for name in snapshot.pictures}
    assert len(stems) >= 8 and len(snapshot.pictures) == 2 * len(stems)
    assert snapshot.picture("plots/loss.png").startswith(b"\x89PNG")
    assert b"<svg" in snapshot.picture("plots/loss.svg")
    assert snapshot.history is not None
    restored = History.restored(snapshot.history, snapshot.rows)
    np.testing.assert_array_equal(restored.loss.values, app.state.history.loss.values)
    for kind, block in app.state.history.blocks.items():
        assert restored.blocks[kind].keys == block.keys
    app.wait(lambda: not app.window.findChildren(ExportDialog))
    assert app.state.failure is None


def test_an_export_that_cannot_be_says_why_in_the_dialog(
    app: App, write_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    app.controller.settings.set(Setting.EXPORT_FOLDER, str(tmp_path))
    app.controller.settings.set(Setting.EXPORT_AS_ZIP, False)
    app.open(write_recipe())
    app.window.commands.export_snapshot()
    dialog = app.window.findChildren(ExportDialog)[-1]
    dialog.name.setText("x" * 300)
    dialog.accept()
    app.wait(lambda: dialog.hint.property("role") == "bad")
    assert "a name in it is too long" in dialog.hint.text()
    assert not list(tmp_path.glob("x*"))
    # It is told where it was asked for, and nowhere else.
    assert app.state.failure is None
    dialog.name.setText("short")
    dialog.accept()
    app.wait((tmp_path / "short").exists)


def test_the_app_never_imports_torch() -> None:
    code = (
        "import sys; from gradscope.ui.app import make_application, build; from gradscope.ui.look.settings import Settings\n"
        "app = make_application(); window = build(app, Settings()); window.show()\n"
        "assert 'torch' not in sys.modules, 'torch'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=patient(60))


def test_going_round_by_tab_disturbs_nothing(app: App, write_recipe: Callable[..., Path], qtbot: QtBot) -> None:
    """Python objects of what Qt has made itself must not outlive it: another object may get their address."""
    window = app.window
    window.activateWindow()

    def go_round() -> None:
        for _ in range(60):
            widget = window.focusWidget()
            if widget is not None:
                QTest.keyClick(widget, Qt.Key.Key_Tab)

    go_round()
    for name in ("one.py", "two.py"):
        app.open(write_recipe(name=name))
        app.run(RunUntil.STEPS, 3)
        app.wait_for_rest()
        go_round()
    app.controller.restart_engine()
    app.wait(lambda: app.state.engine.status is EngineStatus.READY)
    assert app.state.failure is None
