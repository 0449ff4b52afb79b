"""Fixtures of the window's tests."""

from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from gradscope.ui.look.theme import ThemeManager
from tests.ui.shell_fakes import ShellController


@pytest.fixture
def controller(qtbot: QtBot, tmp_path: Path) -> ShellController:
    """A controller without an engine, which says that it is ready."""
    return ShellController(tmp_path)


@pytest.fixture
def themes(controller: ShellController) -> ThemeManager:
    """The light theme, not applied to the application."""
    return ThemeManager(controller.settings, controller)
