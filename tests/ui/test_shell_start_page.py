"""The start page: samples as cards, recent files, and their layout."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QPushButton, QWidget
from pytestqt.qtbot import QtBot

from gradscope.assets import sample_groups, sample_paths
from gradscope.ui.look.colours import DARK
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.widgets.card_grid import CardGrid
from gradscope.ui.window.sample_card import SampleCard
from gradscope.ui.window.start_page import StartPage
from tests.ui.fakes import small_training, switch_theme
from tests.ui.shell_fakes import ShellController


@pytest.fixture
def opened() -> list[str]:
    return []


@pytest.fixture
def page(qtbot: QtBot, controller: ShellController, themes: ThemeManager, opened: list[str]) -> Iterator[StartPage]:
    action = QAction("Open")
    action.triggered.connect(lambda: opened.append("dialog"))
    back = QAction("Start page")
    back.triggered.connect(lambda: opened.append("back"))
    page = StartPage(
        controller,  # type: ignore[arg-type]
        themes,
        open_action=action,
        start_action=back,
        open_file=opened.append,
    )
    qtbot.addWidget(page)
    page.resize(1200, 800)
    page.show()
    yield page
    action.deleteLater()
    back.deleteLater()


def test_every_sample_has_a_card_in_teaching_order(page: StartPage) -> None:
    assert [card.path for card in page.cards] == sample_paths()
    assert all(card.accessibleName() for card in page.cards)
    assert "`" not in "".join(card.accessibleName() + card.accessibleDescription() for card in page.cards)


def test_each_group_has_a_grid_of_its_own(page: StartPage) -> None:
    shown = {grid.y(): [card.path for card in grid.findChildren(SampleCard)] for grid in page.findChildren(CardGrid)}
    assert [shown[y] for y in sorted(shown)] == list(sample_groups().values())


def test_a_click_and_the_enter_key_open_a_card(page: StartPage, opened: list[str], qtbot: QtBot) -> None:
    qtbot.mouseClick(page.cards[0], Qt.MouseButton.LeftButton)
    page.cards[2].setFocus()
    qtbot.keyClick(page.cards[2], Qt.Key.Key_Space)
    assert opened == [str(sample_paths()[0]), str(sample_paths()[2])]


def test_the_button_opens_the_dialog(page: StartPage, opened: list[str]) -> None:
    page.open_button.click()
    assert opened == ["dialog"]


def test_recent_files_appear_and_open(page: StartPage, controller: ShellController, opened: list[str]) -> None:
    assert page._recent_heading.isHidden()
    controller.settings.add_recent_file("/some/where/mine.py")
    controller.settings.add_recent_file("/some/where/yours.py")
    assert not page._recent_heading.isHidden()
    assert [button.toolTip() for button in page._recent_buttons] == ["/some/where/yours.py", "/some/where/mine.py"]
    page._recent_buttons[1].click()
    assert opened == ["/some/where/mine.py"]


@pytest.mark.parametrize("width", [1400, 900, 500])
def test_cards_never_overlap_and_are_never_cut(page: StartPage, qtbot: QtBot, width: int) -> None:
    page.resize(width, 700)
    qtbot.wait(20)
    content = page.widget()
    rectangles = [QRect(card.mapTo(content, QPoint()), card.size()) for card in page.cards]
    for i, one in enumerate(rectangles):
        assert not any(one.intersects(other) for other in rectangles[i + 1 :])
        assert page.cards[i].heightForWidth(one.width()) <= one.height()
    for grid in page.findChildren(CardGrid):
        cards = [card.geometry() for card in grid.findChildren(SampleCard)]
        assert max(rectangle.bottom() for rectangle in cards) <= grid.height()
        assert max(rectangle.right() for rectangle in cards) <= grid.width()


def test_fewer_columns_in_less_room(qtbot: QtBot) -> None:
    grid = CardGrid([QPushButton() for _ in range(4)])
    qtbot.addWidget(grid)
    assert [grid.columns(width) for width in (2000, 100)] == [3, 1]


def test_it_restyles(page: StartPage, themes: ThemeManager) -> None:
    switch_theme(themes, DARK)
    assert not page.grab().isNull()


def test_card_texts_let_clicks_through(page: StartPage) -> None:
    labels = page.cards[0].findChildren(QWidget)
    assert labels
    assert all(label.testAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents) for label in labels)


def test_paths_are_shown(page: StartPage) -> None:
    assert Path(page.cards[0].toolTip()).is_file()


def test_it_leads_back_to_a_session(page: StartPage, controller: ShellController, opened: list[str]) -> None:
    assert not page.back_button.isVisible()
    controller.start(small_training())
    assert page.back_button.isVisible()
    assert page.back_button.text() == "Back to Small"
    page.back_button.click()
    assert opened == ["back"]
