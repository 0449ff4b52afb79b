"""The tool bar: the natural next button, the fields of the next session, and room for the texts."""

from collections.abc import Iterator

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QApplication, QMainWindow
from pytestqt.qtbot import QtBot

from gradscope.protocol.capture import CaptureLevel
from gradscope.protocol.phases import Rest
from gradscope.state.engine import EngineStatus, Origin
from gradscope.state.topics import Topic
from gradscope.ui.actions.actions import Actions
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.look.colours import DARK
from gradscope.ui.look.settings import Setting
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.window.commands import Commands
from gradscope.ui.window.toolbar import ToolBar
from tests.ui.fakes import small_training, switch_theme
from tests.ui.shell_fakes import ShellController


@pytest.fixture
def toolbar(qtbot: QtBot, controller: ShellController, themes: ThemeManager) -> ToolBar:
    window = QMainWindow()
    qtbot.addWidget(window)
    commands = Commands(controller, window=window, plot_images=lambda: iter(()))  # type: ignore[arg-type]
    actions = Actions(controller, themes, commands.handlers(), window)  # type: ignore[arg-type]
    toolbar = ToolBar(controller, themes, actions, window)  # type: ignore[arg-type]
    window.addToolBar(toolbar)
    window.resize(1600, 200)
    window.show()
    toolbar._test_window = window  # type: ignore[attr-defined]
    return toolbar


def emphasised(toolbar: ToolBar) -> list[ActionId]:
    return [action_id for action_id, button in toolbar.buttons.items() if button.is_emphasised()]


@pytest.mark.parametrize(
    ("rest", "running", "expected"),
    [
        (Rest.READY, False, ActionId.FORWARD),
        (Rest.FORWARD, False, ActionId.BACKWARD),
        (Rest.BACKWARD, False, ActionId.STEP),
        (Rest.IN_BACKWARD, False, ActionId.BACKWARD),
        (Rest.IN_FORWARD, True, ActionId.PAUSE),
    ],
)
def test_the_natural_next_button_stands_out(
    toolbar: ToolBar, controller: ShellController, rest: Rest, running: bool, expected: ActionId
) -> None:
    controller.start(small_training())
    controller.rest_at(rest, running=running)
    assert emphasised(toolbar) == [expected]


def test_no_button_stands_out_without_a_session_or_an_engine(toolbar: ToolBar, controller: ShellController) -> None:
    assert emphasised(toolbar) == []
    controller.start(small_training())
    controller.set_engine(EngineStatus.DEAD, "gone")
    assert emphasised(toolbar) == []


def test_a_button_presses_its_action(toolbar: ToolBar, controller: ShellController, qtbot: QtBot) -> None:
    controller.start(small_training())
    qtbot.mouseClick(toolbar.buttons[ActionId.FORWARD], Qt.MouseButton.LeftButton)
    qtbot.mouseClick(toolbar.buttons[ActionId.BACKWARD], Qt.MouseButton.LeftButton)
    assert [what[0] for what in controller.asked] == ["go"]
    assert "Backward needs a forward" in toolbar.buttons[ActionId.BACKWARD].toolTip()


def test_the_number_of_steps_is_a_setting(toolbar: ToolBar, controller: ShellController) -> None:
    toolbar.steps.setValue(42)
    assert controller.settings.get(Setting.RUN_STEPS) == 42
    controller.settings.set(Setting.RUN_STEPS, 5)
    assert toolbar.steps.value() == 5


def test_devices_come_from_the_engine_and_stay_when_it_dies(toolbar: ToolBar, controller: ShellController) -> None:
    def labels() -> list[str]:
        return [toolbar.device.itemText(i) for i in range(toolbar.device.count())]

    assert labels() == ["CPU", "cuda:0: A card"]
    toolbar.device.setCurrentIndex(1)
    toolbar.device.activated.emit(1)
    assert controller.settings.get(Setting.DEVICE) == "cuda:0"
    controller.set_engine(EngineStatus.DEAD, "gone")
    assert labels() == ["CPU", "cuda:0: A card"]
    assert toolbar.device.currentData() == "cuda:0"


def test_a_device_that_is_not_there_is_shown_all_the_same(toolbar: ToolBar, controller: ShellController) -> None:
    controller.settings.set(Setting.DEVICE, "mps")
    assert toolbar.device.currentData() == "mps"


def test_a_seed_that_the_session_does_not_have_is_marked(
    toolbar: ToolBar, controller: ShellController, qtbot: QtBot
) -> None:
    controller.start(small_training())
    assert not toolbar.seed.property("differs")
    toolbar.seed.setFocus()
    toolbar.seed.selectAll()
    qtbot.keyClicks(toolbar.seed, "x99999999999")
    qtbot.keyClick(toolbar.seed, Qt.Key.Key_Return)
    assert controller.settings.get(Setting.SEED) == 2**32 - 1
    assert toolbar.seed.text() == str(2**32 - 1)
    assert toolbar.seed.property("differs")
    assert "Reset" in toolbar.seed.toolTip()
    controller.settings.set(Setting.SEED, 0)
    assert not toolbar.seed.property("differs")


@pytest.fixture(params=[False, True], ids=["plain", "style sheet"])
def styled(request: pytest.FixtureRequest, qapp: QApplication, themes: ThemeManager) -> Iterator[int]:
    """Without and with the style sheet of the app, which leaves more around each text: from which width all texts are seen,
    beside the long name of a GPU."""
    if request.param:
        themes.apply(qapp)
    yield 1600 if request.param else 1440
    if request.param:
        qapp.setStyleSheet("")
        qapp.setPalette(QPalette())


def test_no_button_loses_its_text_because_of_the_level_of_capture(
    styled: int, toolbar: ToolBar, controller: ShellController, qtbot: QtBot
) -> None:
    for width in (800, 1024, 1150, 1250, 1320, 1440, 1600):
        toolbar.window().resize(width, 200)
        qtbot.waitUntil(lambda width=width: toolbar.width() == width)  # type: ignore[misc]
        seen = []
        for level in (CaptureLevel.FULL, CaptureLevel.NORMS, CaptureLevel.OFF):
            controller.settings.set(Setting.CAPTURE, level)
            controller.refresh_all()
            qtbot.wait(5)
            # Those of stepping inside, and back, have pictures only, and the sign of Pause is known to everybody.
            inside = (ActionId.STEP_INTO, ActionId.STEP_OVER, ActionId.STEP_OUT)
            pictures = (ActionId.STEP_BACK, *inside, ActionId.PAUSE)
            buttons = [button for action_id, button in toolbar.buttons.items() if action_id not in pictures]
            seen.append([(button.toolButtonStyle(), button.geometry()) for button in buttons])
        assert all(styles == seen[0] for styles in seen), width
        if width >= styled:
            texts = {style for style, _ in seen[0]}
            assert texts == {Qt.ToolButtonStyle.ToolButtonTextBesideIcon}


def _narrowed(toolbar: ToolBar, width: int, qtbot: QtBot) -> bool:
    """Whether what is pressed now and then has lost its text, in a window of that width."""
    toolbar.window().resize(width, 200)
    qtbot.waitUntil(lambda: toolbar.width() == width)
    return toolbar.buttons[ActionId.RESET].toolButtonStyle() is Qt.ToolButtonStyle.ToolButtonIconOnly


def test_texts_give_way_in_a_narrow_window(toolbar: ToolBar, qtbot: QtBot) -> None:
    styles = Qt.ToolButtonStyle

    def style(action_id: ActionId) -> Qt.ToolButtonStyle:
        return toolbar.buttons[action_id].toolButtonStyle()

    assert style(ActionId.RESET) is styles.ToolButtonTextBesideIcon
    full = toolbar.sizeHint().width()
    assert toolbar.capture.text() == "Capture: Full"
    toolbar.resize(full - 10, toolbar.height())
    assert toolbar.capture.text() == "Full"
    assert style(ActionId.RESET) is styles.ToolButtonTextBesideIcon
    # Narrow fields make room for the texts, before any of them goes.
    toolbar.resize(full - 100, toolbar.height())
    assert toolbar.capture.text() == "Full"
    assert style(ActionId.RESET) is styles.ToolButtonTextBesideIcon
    # So do buttons that are in the menu of another one, too.
    assert toolbar.buttons[ActionId.STEP_OVER].isVisible()
    # Of the window, from here on: it gives a tool bar that is resized by hand its width back.
    toolbar.window().resize(full - 160, 200)
    qtbot.waitUntil(lambda: not toolbar.buttons[ActionId.STEP_OVER].isVisible())
    assert toolbar.buttons[ActionId.STEP_INTO].isVisible()
    assert style(ActionId.RESET) is styles.ToolButtonTextBesideIcon
    width = next(w for w in range(full - 160, 0, -10) if _narrowed(toolbar, w, qtbot))
    assert width > full - 400
    assert toolbar.capture.text() == "Capture: Full"
    assert style(ActionId.RESET) is styles.ToolButtonIconOnly
    assert style(ActionId.FORWARD) is styles.ToolButtonTextBesideIcon
    # Of the window: it gives a tool bar that is resized by hand its width back, in some versions of Qt at once.
    toolbar.window().resize(200, 200)
    qtbot.waitUntil(lambda: style(ActionId.FORWARD) is styles.ToolButtonIconOnly)
    assert toolbar.buttons[ActionId.FORWARD].accessibleName() == "Forward"


def test_the_icon_of_an_emphasised_button_fits_its_background(
    toolbar: ToolBar, controller: ShellController, themes: ThemeManager
) -> None:
    controller.start(small_training())
    switch_theme(themes, DARK)
    image = toolbar.buttons[ActionId.FORWARD].icon().pixmap(32, 32).toImage()
    names = {
        image.pixelColor(x, y).name() for x in range(32) for y in range(32) if image.pixelColor(x, y).alpha() == 255
    }
    assert names == {DARK.accent_text}


def test_in_a_snapshot_nothing_can_be_set(toolbar: ToolBar, controller: ShellController) -> None:
    controller.start(small_training())
    fields = (toolbar.device, toolbar.seed, toolbar.steps)
    assert all(field.isEnabled() for field in fields)
    controller.state.snapshot = Origin(path="/x", created="")
    controller.state.touch(Topic.SESSION)
    controller.flush()
    assert not any(field.isEnabled() for field in fields)
