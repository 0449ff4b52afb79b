"""The Lesson panel: what it shows of which recipe, when it comes to the front, and the ways out of it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtGui import QFontInfo
from pytestqt.qtbot import QtBot

from gradscope.assets import sample_docs, sample_path, sample_paths
from gradscope.client.file_watch import digest_of
from gradscope.protocol import messages
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.look.colours import DARK, LIGHT
from gradscope.ui.look.settings import Setting
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.window.main_window import MainWindow
from gradscope.ui.words.lesson_markup import html_of, plain_paragraphs
from tests.ui.fakes import small_training, switch_theme
from tests.ui.shell_fakes import ShellController

MakeWindow = Callable[[], MainWindow]


@pytest.fixture
def make_window(qtbot: QtBot, controller: ShellController, themes: ThemeManager) -> MakeWindow:
    def make() -> MainWindow:
        window = MainWindow(controller, themes)  # type: ignore[arg-type]
        qtbot.addWidget(window)
        window.show()
        return window

    return make


@pytest.fixture
def window(make_window: MakeWindow) -> MainWindow:
    return make_window()


def open_with(controller: ShellController, *, path: Path | str, description: str = "") -> None:
    for message in small_training().opened():
        if isinstance(message, messages.Opened):
            known = digest_of(str(path)) or message.session.sha256
            session = replace(message.session, path=str(path), sha256=known, description=description)
            message = replace(message, session=session)
        controller.state.apply(message)
    controller.flush()


def sample(name: str) -> Path:
    path = sample_path(name)
    assert path is not None
    return path


def is_in_front(panel: object) -> bool:
    return panel.isVisible() and not panel.visibleRegion().isEmpty()  # type: ignore[attr-defined]


def test_a_sample_says_what_to_watch(window: MainWindow, controller: ShellController) -> None:
    open_with(controller, path=sample("dead_relu"), description="A bias in the wrong layer.")
    assert is_in_front(window.lesson)
    shown = window.lesson.text.toPlainText()
    title, text = sample_docs(sample("dead_relu"))
    assert title in shown
    assert "A bias in the wrong layer." in shown
    assert "What to watch\n" in shown
    assert "Sample 14 of 17" in shown
    assert "`" not in shown
    words = shown.split()
    assert [word for word in text.replace("`", "").replace("* ", "").split() if word not in words] == ["watch:"]


def test_a_recipe_shows_its_description_and_hides_nothing(window: MainWindow, controller: ShellController) -> None:
    open_with(controller, path="/made/up/own.py", description="First <b>words</b>.\n\nSecond\nline \x1b[31m")
    assert window.lesson.isVisible()
    assert is_in_front(window.inspector)
    assert "First <b>words</b>." in window.lesson.text.toPlainText()
    assert "\x1b" not in window.lesson.text.toPlainText()
    assert not window.lesson.next.isVisibleTo(window.lesson)


def test_a_description_comes_before_no_other_panel(window: MainWindow, controller: ShellController) -> None:
    open_with(controller, path="/made/up/own.py")
    window.training.raise_()
    open_with(controller, path="/made/up/other.py", description="Some words.")
    assert window.lesson.isVisible()
    assert is_in_front(window.training)


def test_a_recipe_without_a_word_has_no_panel(window: MainWindow, controller: ShellController) -> None:
    open_with(controller, path=sample("gan"))
    open_with(controller, path="/made/up/own.py")
    assert not window.lesson.isVisible()
    window.actions_[ActionId.RESET_LAYOUT].trigger()
    assert not window.lesson.isVisible()


def test_a_closed_lesson_stays_closed_while_its_recipe_is_opened_again(
    window: MainWindow, controller: ShellController
) -> None:
    open_with(controller, path=sample("gan"))
    window.lesson.close()
    open_with(controller, path=sample("gan"))
    assert not window.lesson.isVisible()
    open_with(controller, path=sample("lstm"))
    assert is_in_front(window.lesson)


def with_a_lesson(make_window: MakeWindow, controller: ShellController, qtbot: QtBot) -> MainWindow:
    """A window with that in front."""
    window = make_window()
    window.resize(1440, 900)
    open_with(controller, path=sample("dead_relu"))
    qtbot.waitUntil(lambda: is_in_front(window.lesson))
    return window


def test_the_inspector_comes_where_a_lesson_goes(
    make_window: MakeWindow, controller: ShellController, qtbot: QtBot
) -> None:
    """And not the panel that happens to lie beside it."""
    window = with_a_lesson(make_window, controller, qtbot)
    window.lesson.close()
    qtbot.waitUntil(lambda: is_in_front(window.inspector))
    open_with(controller, path=sample("digits_cnn"))
    qtbot.waitUntil(lambda: is_in_front(window.lesson))
    open_with(controller, path="/made/up/silent.py")
    qtbot.waitUntil(lambda: is_in_front(window.inspector))
    # What somebody has brought forward stays there.
    open_with(controller, path=sample("dead_relu"))
    window.source.raise_()
    qtbot.waitUntil(lambda: is_in_front(window.source))
    open_with(controller, path="/made/up/silent.py")
    qtbot.wait(50)
    assert is_in_front(window.source)


def test_a_lesson_that_was_in_front_the_last_time_leaves_the_inspector(
    make_window: MakeWindow, controller: ShellController, qtbot: QtBot
) -> None:
    window = with_a_lesson(make_window, controller, qtbot)
    window.close()
    controller.state.session = None
    window = make_window()
    window.resize(1440, 900)
    open_with(controller, path="/made/up/silent.py")
    qtbot.waitUntil(lambda: is_in_front(window.inspector))


def test_a_panel_that_is_closed_leaves_the_first_of_its_place(
    make_window: MakeWindow, controller: ShellController, qtbot: QtBot
) -> None:
    window = make_window()
    window.resize(1440, 900)
    open_with(controller, path="/made/up/silent.py")
    for panel, first in ((window.stops_dock, window.moments), (window.training, window.inspector)):
        panel.raise_()
        qtbot.waitUntil(lambda panel=panel: is_in_front(panel))
        panel.close()
        qtbot.waitUntil(lambda first=first: is_in_front(first))
    # One that nobody saw leaves what is seen.
    window.log.raise_()
    qtbot.waitUntil(lambda: is_in_front(window.log))
    window.timeline.close()
    qtbot.wait(50)
    assert is_in_front(window.log)


def test_next_sample_goes_through_all_of_them(window: MainWindow, controller: ShellController) -> None:
    for path, following in zip(sample_paths(), sample_paths()[1:], strict=False):
        open_with(controller, path=path)
        window.lesson.next.click()
        assert controller.asked[-1] == ("open", str(following))
    open_with(controller, path=sample_paths()[-1])
    assert not window.lesson.next.isVisibleTo(window.lesson)


def test_the_start_page_and_back(window: MainWindow, controller: ShellController) -> None:
    open_with(controller, path=sample("gan"))
    window.layers.close()
    window.lesson.start.click()
    assert window.start_page.isVisible()
    assert not any(panel.isVisible() for panel in window.panels)
    assert window.actions_[ActionId.START_PAGE].isChecked()
    controller.play([messages.Moved(position=replace(controller.state.position, step=2))])
    assert window.start_page.isVisible(), "the session goes on behind it"
    window.start_page.back_button.click()
    assert window.workspace.isVisible()
    assert is_in_front(window.lesson)
    assert not window.layers.isVisible()
    assert controller.state.session is not None
    assert controller.asked == []


def test_another_recipe_leaves_the_start_page(window: MainWindow, controller: ShellController) -> None:
    open_with(controller, path=sample("gan"))
    window.home.click()
    assert window.start_page.isVisible()
    open_with(controller, path=sample("lstm"))
    assert window.workspace.isVisible()
    assert not window.actions_[ActionId.START_PAGE].isChecked()


def test_without_a_session_the_start_page_is_where_one_is(window: MainWindow) -> None:
    action = window.actions_[ActionId.START_PAGE]
    assert action.isChecked()
    assert not action.isEnabled()


def test_a_layout_of_an_earlier_version(make_window: MakeWindow, controller: ShellController) -> None:
    first = make_window()
    open_with(controller, path="/made/up/own.py")
    first.removeDockWidget(first.lesson)
    first.close()
    assert not controller.settings.get(Setting.LAYOUT).isEmpty()
    second = make_window()
    open_with(controller, path=sample("gan"))
    assert is_in_front(second.lesson)
    assert second.inspector in second.tabifiedDockWidgets(second.lesson)


@pytest.mark.parametrize(("size", "factor"), [((1024, 700), 1), ((1440, 900), 2)])
def test_it_asks_for_no_room(
    make_window: MakeWindow, controller: ShellController, size: tuple[int, int], factor: int, qtbot: QtBot
) -> None:
    window = make_window()
    font = window.font()
    font.setPointSizeF(factor * font.pointSizeF())
    window.setFont(font)
    open_with(controller, path="/made/up/own.py")
    window.resize(*size)
    qtbot.wait(1)
    without = window.minimumSizeHint()
    open_with(controller, path=sample("scalar_graph"), description="Long. " * 500)
    qtbot.wait(1)
    assert window.minimumSizeHint().height() <= without.height()
    assert window.minimumSizeHint().width() <= without.width()
    assert (window.width(), window.height()) == size
    bar = window.lesson.text.verticalScrollBar()
    assert bar.maximum() > 0
    assert window.lesson.text.horizontalScrollBar().maximum() == 0


def test_colours_follow_the_theme(window: MainWindow, controller: ShellController, themes: ThemeManager) -> None:
    open_with(controller, path=sample("gan"))
    assert LIGHT.muted in window.lesson.text.toHtml()
    switch_theme(themes, DARK)
    assert DARK.muted in window.lesson.text.toHtml()
    assert LIGHT.muted not in window.lesson.text.toHtml()


def test_code_has_a_fixed_width(window: MainWindow, controller: ShellController) -> None:
    open_with(controller, path=sample("dead_relu"))
    cursor = window.lesson.text.document().find("relu2")
    assert QFontInfo(cursor.charFormat().font()).fixedPitch() or not QFontInfo(window.font()).exactMatch()


def test_the_markup() -> None:
    text = "One `a < b` and\nmore.\n\nWhat to watch:\n* Forward: the `x: y` is\n  here.\n* No colon. Then: some.\n\nLast <i>."
    assert html_of(text).split("\n") == [
        "<p>One <code>a &lt; b</code> and more.</p>",
        "<h3>What to watch</h3>",
        "<ul><li><b>Forward:</b> the <code>x: y</code> is here.</li><li>No colon. Then: some.</li></ul>",
        "<p>Last &lt;i&gt;.</p>",
    ]
    assert html_of("") == ""
    assert plain_paragraphs("a\nb\n\n`c` <d>") == "<p>a<br>b</p>\n<p>`c` &lt;d&gt;</p>"
