"""What the window says and allows while it shows a snapshot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtWidgets import QSpinBox
from pytestqt.qtbot import QtBot

from gradscope.protocol.messages import DeviceInfo
from gradscope.state.engine import EngineState, EngineStatus, Origin
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.actions.table import TABLE
from gradscope.ui.dialogs.open_snapshot import OpenSnapshotDialog, may_be_snapshot
from gradscope.ui.look.settings import Setting
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.charts.clipping_chart import ClippingChart
from gradscope.ui.plots.charts.scale_chart import ScaleChart
from gradscope.ui.plots.charts.validation_chart import ValidationChart
from gradscope.ui.window.main_window import MainWindow
from gradscope.ui.words import text
from tests.ui.fakes import bare_training, small_training, started
from tests.ui.shell_fakes import ShellController

NAME = "Snapshot of Small, step 2, written 2026-11-21 10:12 UTC, read-only"


@pytest.fixture
def window(qtbot: QtBot, controller: ShellController, themes: ThemeManager) -> MainWindow:
    window = MainWindow(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(window)
    window.show()
    return window


def show_snapshot(controller: ShellController, *, steps: int = 2) -> None:
    """As the controller does it: another state in the place of the session's."""
    state = started(small_training(), steps=steps).state
    state.snapshot = Origin(path="/some/s.zip", created="2026-11-21T11:12:03+01:00")
    state.set_engine(controller.state.engine)
    controller.state = state
    controller.refresh_all()


def test_title_and_band_say_what_it_is(window: MainWindow, controller: ShellController) -> None:
    assert not window.band.isVisible()
    show_snapshot(controller)
    assert window.band.isVisible() and window.band.text == NAME
    assert window.windowTitle() == f"{NAME} – gradscope"
    assert controller.settings.get(Setting.RECENT_FILES) == ["/some/s.zip"]


def test_every_verb_says_why_not(window: MainWindow, controller: ShellController) -> None:
    show_snapshot(controller)
    verbs = [action_id for action_id, row in TABLE.items() if row.verb is not None]
    for action_id in (*verbs, ActionId.INTERRUPT):
        action = window.actions_[action_id]
        assert not action.isEnabled() and "This is a snapshot: it cannot be trained" in action.toolTip()
    assert "snapshot already" in window.actions_[ActionId.EXPORT].toolTip()
    assert not window.actions_[ActionId.EXPORT].isEnabled()
    assert not any(button.is_emphasised() for button in window.toolbar.buttons.values())
    for action_id in (ActionId.OPEN, ActionId.OPEN_SNAPSHOT, ActionId.COMPARE, ActionId.CLOSE_SNAPSHOT):
        assert window.actions_[action_id].isEnabled()


def test_without_a_snapshot(window: MainWindow, controller: ShellController) -> None:
    actions = window.actions_
    assert not actions[ActionId.CLOSE_SNAPSHOT].isEnabled() and not actions[ActionId.COMPARE].isEnabled()
    controller.start(small_training())
    assert actions[ActionId.COMPARE].isEnabled() and not actions[ActionId.CLOSE_SNAPSHOT].isEnabled()
    controller.set_running(True)
    assert not actions[ActionId.COMPARE].isEnabled() and "press Pause" in actions[ActionId.COMPARE].toolTip()


def test_the_band_s_buttons(window: MainWindow, controller: ShellController, qtbot: QtBot) -> None:
    show_snapshot(controller)
    window.actions_[ActionId.CLOSE_SNAPSHOT].trigger()
    assert controller.asked[-1] == ("close snapshot",)
    window.actions_[ActionId.COMPARE].trigger()
    dialogs = window.findChildren(OpenSnapshotDialog)
    assert [dialog.windowTitle() for dialog in dialogs] == ["Compare with snapshot"]
    dialogs[0].close()


def test_a_dead_engine_is_no_matter(window: MainWindow, controller: ShellController) -> None:
    controller.start(small_training())
    session = controller.state
    show_snapshot(controller)
    dead = EngineState(status=EngineStatus.DEAD, text="It was killed", devices=(DeviceInfo(name="cpu", label="CPU"),))
    session.set_engine(dead)
    controller.state.set_engine(dead)
    controller.flush()
    assert not window.failure_bar.isVisible()
    controller.state = session
    controller.refresh_all()
    assert window.failure_bar.isVisible() and "killed" in window.failure_bar.sentence.text()


def test_every_view_shows_the_other_state_and_comes_back(window: MainWindow, controller: ShellController) -> None:
    """Two models of the same structure: nothing of the one is left in the other."""
    controller.start(bare_training(), steps=1)
    session = controller.state
    names = [node.name for node in _nodes(window)]
    show_snapshot(controller)
    assert {"net.0.weight", "net.2.bias"} <= {node.name for node in _nodes(window)}
    controller.state = session
    controller.refresh_all()
    assert [node.name for node in _nodes(window)] == names
    assert not window.band.isVisible() and window.windowTitle() == "Bare – gradscope"


def test_the_panels_go_when_no_session_is_behind_it(window: MainWindow, controller: ShellController) -> None:
    nothing = controller.state
    show_snapshot(controller)
    assert window.layers.isVisible()
    window.inspector.close()
    controller.state = nothing
    controller.refresh_all()
    assert window.start_page.isVisible() and not any(panel.isVisible() for panel in window.panels)
    show_snapshot(controller)
    assert window.layers.isVisible() and not window.inspector.isVisible() and window.band.isVisible()


def test_moments_of_another_state_are_read_anew(window: MainWindow, controller: ShellController) -> None:
    controller.start(small_training(), steps=1)
    model, session = window.moments.model, controller.state
    assert model.place(2).layer == "net.0"
    other = started(small_training(), steps=0).state
    # The same numbers of places, which are others.
    other.places = [replace(place, layer="other") for place in session.places]
    other.reports = dict(session.reports)
    controller.state = other
    controller.refresh_all()
    assert model.place(2).layer == "other"


def test_the_training_panel_shows_the_groups_of_what_is_shown(
    window: MainWindow, controller: ShellController, qtbot: QtBot
) -> None:
    controller.start(small_training(rates=(0.5,)), steps=1)
    window.training.show()
    window.training.raise_()
    controller.refresh_all()
    groups = window.training.groups
    assert groups.columnCount() == 1 and "0.5" in [groups.index(row, 0).data() for row in range(groups.rowCount())]
    other = started(small_training(rates=(0.25, 0.125)), steps=1).state
    other.snapshot = Origin(path="/some/s.zip", created="")
    controller.state = other
    controller.refresh_all()
    assert groups.columnCount() == 2
    assert not window.training.sections["optimizer"].isVisible()
    boxes = window.training.sections["step"].findChildren(QSpinBox)
    qtbot.waitUntil(lambda: not any(box.isEnabled() for box in boxes))


def test_seed_and_device_are_not_compared_with_a_snapshot(window: MainWindow, controller: ShellController) -> None:
    controller.settings.set(Setting.SEED, 7)
    controller.start(small_training())
    assert window.toolbar.seed.property("differs")
    show_snapshot(controller)
    assert not window.toolbar.seed.property("differs")


def test_an_empty_snapshot_asks_for_no_button(
    window: MainWindow, controller: ShellController, themes: ThemeManager, qtbot: QtBot
) -> None:
    show_snapshot(controller, steps=0)
    for index in reversed(range(window.workspace.count())):
        window.workspace.setCurrentIndex(index)
    # All that there are: those of the overview come one after the other.
    qtbot.waitUntil(lambda: len(window.workspace.charts()) == 14)
    charts = window.workspace.charts()
    charts += [
        ValidationChart(controller, themes, metric="loss"),  # type: ignore[arg-type]
        ClippingChart(controller, themes),  # type: ignore[arg-type]
        ScaleChart(controller, themes),  # type: ignore[arg-type]
    ]
    for chart in charts[-3:]:
        qtbot.addWidget(chart)
        chart.redraw()
    told = [chart.message for chart in charts if chart.message]
    assert told and not any("Press" in message for message in told)


def test_opening(window: MainWindow, controller: ShellController, tmp_path: Path) -> None:
    folder, archive = tmp_path / "shot", tmp_path / "Shot.ZIP"
    folder.mkdir()
    archive.touch()
    for path in (folder, archive):
        assert may_be_snapshot(path)
        window.commands.open_file(str(path))
        assert controller.asked[-1] == ("open snapshot", str(path))
    assert not may_be_snapshot(tmp_path / "recipe.py")
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(tmp_path / "notes.txt")), QUrl.fromLocalFile(str(folder))])
    action, left, none = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    window.dropEvent(QDropEvent(QPointF(5, 5), action, mime, left, none))
    assert controller.asked[-1] == ("open snapshot", str(folder))


def test_the_dialog_gives_the_folder_of_a_manifest(qtbot: QtBot, tmp_path: Path) -> None:
    dialog = OpenSnapshotDialog(title="Open snapshot", folder=tmp_path)
    qtbot.addWidget(dialog)
    chosen: list[str] = []
    dialog.chosen.connect(chosen.append)
    dialog.fileSelected.emit(str(tmp_path / "shot" / "manifest.json"))
    dialog.fileSelected.emit(str(tmp_path / "shot.zip"))
    assert chosen == [str(tmp_path / "shot"), str(tmp_path / "shot.zip")]


def test_going_into_a_snapshot_s_folder_chooses_it(qtbot: QtBot, tmp_path: Path) -> None:
    for name in ("shot", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "shot" / "manifest.json").touch()
    dialog = OpenSnapshotDialog(title="Open snapshot", folder=tmp_path)
    qtbot.addWidget(dialog)
    dialog.show()
    chosen: list[str] = []
    dialog.chosen.connect(chosen.append)
    dialog.directoryEntered.emit(str(tmp_path / "other"))
    assert chosen == [] and dialog.isVisible()
    dialog.directoryEntered.emit(str(tmp_path / "shot"))
    assert chosen == [str(tmp_path / "shot")] and not dialog.isVisible()


@pytest.mark.parametrize(
    ("created", "shown"),
    [
        ("2026-11-21T10:12:03+00:00", "2026-11-21 10:12 UTC"),
        ("2026-11-21T23:30:00-02:00", "2026-11-22 01:30 UTC"),
        ("2026-11-21T10:12", "2026-11-21 10:12"),
        ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00+14:00"),
        ("yesterday " * 9, ("yesterday " * 9)[:32]),
        ("", ""),
    ],
)
def test_times_of_writing(created: str, shown: str) -> None:
    assert text.written_at(created) == shown


def _nodes(window: MainWindow) -> list[object]:
    return window.layers.model._nodes  # type: ignore[return-value]
