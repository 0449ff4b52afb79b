"""The whole app, offscreen, against the real engine process."""

import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from gradscope.state.engine import EngineStatus
from gradscope.ui.app import build
from gradscope.ui.look.settings import Setting, Settings
from gradscope.ui.window.main_window import MainWindow
from tests.e2e.driver import RECIPE, App, AppProcess
from tests.torch_python import engine_python, has_torch


@pytest.fixture
def own_app(qapp: QApplication, qtbot: QtBot) -> Iterator[App]:
    """A window and an engine of this test alone."""
    with _window(qapp) as window:
        yield App(window, qtbot)


@pytest.fixture
def app(own_app: App) -> App:
    """Modules whose tests need no fresh window have `shared_app` here instead."""
    return own_app


@pytest.fixture(scope="module")
def window_of_module(qapp: QApplication, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MainWindow]:
    with _window(qapp, tmp_path_factory.mktemp("settings") / "settings.ini") as window:
        yield window


@pytest.fixture
def shared_app(window_of_module: MainWindow, qtbot: QtBot) -> Iterator[App]:
    """One window and one engine for the tests of a module: each opens a recipe of its own, which is another session.

    For tests that are not about a fresh window. An engine that imports torch, and torch's compiler with its first
    optimizer, costs more than most of them. An engine that has ended, or cannot be brought to rest, is followed by another.
    """
    app = App(window_of_module, qtbot)
    if app.state.engine.status is EngineStatus.DEAD:
        app.controller.start_engine()
    settings, pings = app.controller.settings, app.controller.client._pings
    before = {setting: settings.get(setting) for setting in Setting}
    interval_ms = pings.interval()
    # The tests look for what was said in their own session.
    app.state.log.lines.clear()
    yield app
    for setting, value in before.items():
        settings.set(setting, value)
    pings.setInterval(interval_ms)
    _come_to_rest(app)
    app.window.workspace.setCurrentIndex(0)
    app.window.inspector.tabs.setCurrentIndex(0)


def _come_to_rest(app: App) -> None:
    app.controller.close_snapshot()
    app.window.comparer.close()
    if "has not answered" in app.state.engine.text:
        app.controller.restart_engine()
        app.wait(lambda: app.state.engine.status is not EngineStatus.STARTING)
    if app.state.position.running:
        app.controller.interrupt()
        app.wait_for_rest()
    app.controller.dismiss_failure()


@contextmanager
def _window(qapp: QApplication, settings_path: Path | None = None) -> Iterator[MainWindow]:
    """Without a spare engine, which costs another import of torch; a test that is about it asks for it."""
    settings = Settings(settings_path)
    settings.override(Setting.SPARE_ENGINE, False)
    if not has_torch():
        settings.override(Setting.PYTHON, engine_python())
    window = build(qapp, settings)
    window.show()
    window.controller.start_engine()
    yield window
    window.close()
    window.controller.client.shut_down()
    window.deleteLater()


@pytest.fixture
def write_recipe(tmp_path: Path) -> Callable[[str], Path]:
    """A recipe file whose forward runs this code, with `x` and `self` at hand."""

    def write(misbehave: str = "pass", name: str = "little.py") -> Path:
        path = tmp_path / name
        body = textwrap.indent(textwrap.dedent(misbehave), " " * 8).strip()
        path.write_text(RECIPE.format(misbehave=body), encoding="utf-8")
        return path

    return write


def _keep_spare(kept: bool) -> None:
    """Of all windows with this test's settings."""
    settings = Settings()
    settings.set(Setting.SPARE_ENGINE, kept)
    settings.sync()


@pytest.fixture
def no_spare(user_dirs: Path) -> None:
    """No spare engine, which costs another import of torch."""
    _keep_spare(False)


@pytest.fixture
def start_app(no_spare: None) -> Iterator[Callable[..., AppProcess]]:
    """Without a spare engine, unless it is asked for."""
    started: list[AppProcess] = []

    def start(*arguments: str, spare: bool = False) -> AppProcess:
        if spare:
            _keep_spare(True)
        started.append(AppProcess(*arguments))
        return started[-1]

    yield start
    for process in started:
        process.close()
