"""The app's start, in named stages. The window is up before the engine process is started."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QTimer
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QApplication

from gradscope.assets import resources_dir
from gradscope.client.engine_client import EngineClient
from gradscope.protocol.capture import Capture, CaptureLevel
from gradscope.protocol.failure import BadInput
from gradscope.protocol.scripts import Script
from gradscope.state.app_state import AppState
from gradscope.ui.actions.controller import Controller
from gradscope.ui.actions.door import Door
from gradscope.ui.actions.spare_keeper import SpareKeeper
from gradscope.ui.dialogs.open_snapshot import may_be_snapshot
from gradscope.ui.look.settings import Setting, Settings
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.upkeep.collector import Collector
from gradscope.ui.upkeep.crash_file import CrashFile
from gradscope.ui.upkeep.error_reporter import ErrorReporter
from gradscope.ui.upkeep.interrupts import Interrupts
from gradscope.ui.widgets.focus_ring import FocusRings
from gradscope.ui.window.main_window import MainWindow
from gradscope.version import __version__


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says; None where it says nothing."""

    file: str | None = None
    script: Script | None = None
    """Instead of a file."""
    connects: bool = False
    """Instead of both: another process opens it, which is told on standard output where to connect."""
    python: str | None = None
    seed: int | None = None
    device: str | None = None
    capture: str | None = None


def problem(options: Options) -> str | None:
    """What is wrong with the options, in one sentence, before there is a window; None if nothing is."""
    if options.capture is None:
        return None
    try:
        level = Capture.parse(options.capture).level
    except BadInput as error:
        return f"--capture: {error}"
    is_model = options.script is not None or (options.file is not None and not may_be_snapshot(Path(options.file)))
    if level is CaptureLevel.LAYERS and not is_model:
        return "--capture: layers are those of one model; expected its recipe or script on the command line as well"
    return None


def run(options: Options) -> int:
    """Show the window until it is closed; returns the exit code of the process."""
    crash_file = CrashFile()
    last_crash = crash_file.take_last_report()
    crash_file.enable()
    app = make_application()
    collector = Collector(app)
    window = build(app, override(Settings(), options))
    reporter = ErrorReporter(lambda: window, window)
    reporter.install()
    interrupts = Interrupts(window.commands.quit, window)
    window.show()
    # After the first paint: importing torch must not compete with it.
    QTimer.singleShot(0, window, lambda: start_engine(window, options))
    if last_crash is not None:
        reporter.show_last_crash(last_crash)
    try:
        return app.exec()
    finally:
        window.controller.shut_down()
        interrupts.restore()
        reporter.uninstall()
        crash_file.close()
        collector.stop()


def make_application() -> QApplication:
    """Stage 1: Qt itself."""
    app = QApplication(sys.argv[:1])
    app.setApplicationName("gradscope")
    app.setApplicationDisplayName("gradscope")
    app.setApplicationVersion(__version__)
    app.setDesktopFileName("gradscope")
    app.setWindowIcon(QIcon(str(resources_dir() / "icons" / "gradscope.svg")))
    return app


def override(settings: Settings, options: Options) -> Settings:
    """Stage 2: what the command line says goes before what is stored, and is not stored."""
    for key, value in (
        (Setting.PYTHON, options.python),
        (Setting.SEED, options.seed),
        (Setting.DEVICE, options.device),
    ):
        if value is not None:
            settings.override(key, value)
    return settings


def build(app: QApplication, settings: Settings) -> MainWindow:
    """Stage 3: the style, the objects behind the window, and the window, not shown yet."""
    themes = ThemeManager(settings)
    themes.apply(app)
    FocusRings(app, themes)
    client = EngineClient()
    controller = Controller(AppState(), client, settings)
    window = MainWindow(controller, themes)
    # They live as long as the window.
    for part in (settings, themes, client, controller):
        part.setParent(window)
    return window


def start_engine(window: MainWindow, options: Options) -> None:
    """Stage 4, when the window is up: the engine, and what was asked for. A snapshot needs no engine, a script its own."""
    SpareKeeper(window.controller.client.spare, window.controller.settings, window)
    if options.connects:
        Door(window.controller.client, _say, window).open()
        return
    if options.script is None and (options.file is None or not may_be_snapshot(Path(options.file))):
        window.controller.start_engine()
    if options.capture is not None:
        window.controller.capture_first_file(options.capture)
    if options.script is not None:
        window.commands.open_script(options.script)
    elif options.file is not None:
        window.commands.open_file(options.file)


def _say(line: str) -> None:
    """On standard output, past Python's buffer, which would be left with what nobody reads any more. Raises OSError."""
    os.write(1, f"{line}\n".encode())
