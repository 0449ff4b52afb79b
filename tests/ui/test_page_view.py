"""A page of the documentation in the window: its pictures are drawn, fit into the room, and are no link to elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtGui import QTextImageFormat
from pytestqt.qtbot import QtBot

from gradscope import assets
from gradscope.ui.dialogs.finding_page import FindingPageDialog
from gradscope.ui.findings.page_view import PageView

PAGES = assets.pages_dir() or Path()
ORANGE = (0xD4, 0x65, 0x2C)


def pictures(view: PageView) -> list[QTextImageFormat]:
    return [form for _, form in view._pictures()]


def shown(qtbot: QtBot, page: Path, width: int) -> PageView:
    view = PageView()
    qtbot.addWidget(view)
    view.show_page(page)
    view.resize(width, 600)
    view.show()
    qtbot.waitExposed(view)
    return view


def count(view: PageView, colour: tuple[int, int, int]) -> int:
    image = view.viewport().grab().toImage()
    pixels = (image.pixelColor(x, y) for x in range(0, image.width(), 2) for y in range(0, image.height(), 2))
    return sum((p.red(), p.green(), p.blue()) == colour for p in pixels)


def test_the_picture_of_a_page_is_drawn(qtbot: QtBot) -> None:
    view = shown(qtbot, PAGES / "dead-units.md", 720)
    (form,) = pictures(view)
    assert (form.name(), form.width(), form.height()) == ("pictures/dead-units.svg", 640, 210)
    # Six bars in the colour of the example.
    assert count(view, ORANGE) > 200
    assert view.horizontalScrollBar().maximum() == 0


@pytest.mark.parametrize("width", [500, 320])
def test_a_picture_gets_smaller_with_the_window_and_larger_again(qtbot: QtBot, width: int) -> None:
    view = shown(qtbot, PAGES / "dead-units.md", 720)
    view.resize(width, 600)
    (form,) = pictures(view)
    assert width - 60 < form.width() <= view.viewport().width() - 24
    assert form.height() == pytest.approx(form.width() * 210 / 640, abs=1)
    assert count(view, ORANGE) > 50
    view.resize(720, 600)
    assert [form.width() for form in pictures(view)] == [640]


def test_a_picture_that_is_not_there_leaves_the_page(qtbot: QtBot, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("# Title\n\n![about it](nowhere.svg)\n\nText", "utf-8")
    view = shown(qtbot, tmp_path / "page.md", 500)
    assert "Title" in view.toPlainText() and "Text" in view.toPlainText()


def test_the_dialog_opens_as_wide_as_its_pictures(qtbot: QtBot) -> None:
    dialog = FindingPageDialog(PAGES / "vanishing-gradient.md")
    qtbot.addWidget(dialog)
    dialog.show()
    qtbot.waitExposed(dialog)
    assert [form.width() for form in pictures(dialog.text)] == [640]
    assert dialog.text.horizontalScrollBar().maximum() == 0
