"""Fixtures of the window's tests."""

from pathlib import Path

import pytest
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from gradscope.ui.look.theme import ThemeManager
from tests.ui.shell_fakes import ShellController


@pytest.fixture(autouse=True, scope="module")
def no_style_sheet(qapp: QApplication) -> None:
    """A test of the whole app, in this process before, has put one on the application, which changes what has room."""
    if qapp.styleSheet():
        qapp.setStyleSheet("")
        qapp.setPalette(QPalette())


@pytest.fixture
def controller(qtbot: QtBot, tmp_path: Path) -> ShellController:
    """A controller without an engine, which says that it is ready."""
    return ShellController(tmp_path)


@pytest.fixture
def themes(controller: ShellController) -> ThemeManager:
    """The light theme, not applied to the application."""
    return ThemeManager(controller.settings, controller)
