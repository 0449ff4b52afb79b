"""The themes: legible, followed when the setting changes, and icons in their colours."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from PySide6.QtGui import QColor, QIcon
from PySide6.QtWidgets import QApplication

from gradscope.assets import resources_dir
from gradscope.ui.actions.table import TABLE
from gradscope.ui.look.colours import DARK, LIGHT, Theme, blend
from gradscope.ui.look.settings import Setting, Settings, ThemeChoice
from gradscope.ui.look.theme import ThemeManager, icon

THEMES = (LIGHT, DARK)
BACKGROUNDS = ("window", "surface", "raised")


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("theme", "background"), list(product(THEMES, BACKGROUNDS)), ids=str)
def test_texts_are_legible(theme: Theme, background: str) -> None:
    """WCAG: 4.5 for text; 7 for what is read all the time."""
    behind = getattr(theme, background)
    assert contrast(theme.text, behind) >= 7
    for colour in (theme.muted, theme.accent, theme.good, theme.warning, theme.bad):
        assert contrast(colour, behind) >= 4.5


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_lines_marks_and_buttons_are_legible(theme: Theme) -> None:
    assert len(theme.series) >= 8
    assert min(contrast(colour, theme.surface) for colour in theme.series) >= 3
    assert contrast(theme.accent_text, theme.accent) >= 4.5
    assert contrast(theme.text, theme.selection) >= 7
    assert contrast(theme.faded, theme.window) >= 2


def test_blend_is_between() -> None:
    assert blend("#000000", "#ffffff", 0.5) == "#808080"
    assert blend("#102030", "#ffffff", 1) == "#102030"


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_icons_take_the_colour_that_they_are_given(qapp: QApplication, theme: Theme) -> None:
    for name in {row.icon for row in TABLE.values() if row.icon}:
        image = icon(name, theme).pixmap(32, 32).toImage()
        drawn = [image.pixelColor(x, y) for x in range(32) for y in range(32) if image.pixelColor(x, y).alpha() == 255]
        assert drawn, name
        assert all(colour == QColor(theme.text) for colour in drawn), name
    image = icon("run", theme, colour=theme.bad).pixmap(32, 32, QIcon.Mode.Normal).toImage()
    assert QColor(theme.bad) in [image.pixelColor(x, y) for x in range(32) for y in range(32)]


def test_an_icon_is_drawn_once(qapp: QApplication) -> None:
    light = icon("run", LIGHT)
    assert icon("run", LIGHT).cacheKey() == light.cacheKey()
    assert icon("run", DARK).cacheKey() != light.cacheKey() != icon("run", LIGHT, colour=LIGHT.bad).cacheKey()


@pytest.fixture
def styled(qapp: QApplication, tmp_path: Path) -> Iterator[ThemeManager]:
    manager = ThemeManager(Settings(tmp_path / "settings.ini"))
    palette, sheet, style = qapp.palette(), qapp.styleSheet(), qapp.style().name()
    manager.apply(qapp)
    yield manager
    manager._settings.set(Setting.THEME, ThemeChoice.SYSTEM)
    qapp.setStyleSheet(sheet)
    qapp.setPalette(palette)
    qapp.setStyle(style)


def test_the_theme_follows_the_setting(styled: ThemeManager, qapp: QApplication) -> None:
    told: list[Theme] = []
    styled.changed.connect(told.append)
    settings = styled._settings
    settings.set(Setting.THEME, ThemeChoice.DARK)
    assert styled.theme is DARK
    assert qapp.palette().window().color() == QColor(DARK.window)
    assert DARK.accent in qapp.styleSheet()
    settings.set(Setting.THEME, ThemeChoice.LIGHT)
    assert told == [DARK, LIGHT]
    assert qapp.palette().window().color() == QColor(LIGHT.window)


def test_the_stylesheets_pictures_are_there() -> None:
    for name in ("arrow_up", "arrow_down"):
        assert (resources_dir() / "icons" / f"{name}.svg").is_file()
