"""The start and the end of the app: options, crash reports, our own bugs, signals."""

import faulthandler
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QObject, QTimer
from PySide6.QtWidgets import QApplication, QMainWindow
from pytestqt.qtbot import QtBot

from gradscope.protocol.scripts import Script, ScriptKind
from gradscope.ui.app import Options, build, override, start_engine
from gradscope.ui.dialogs.error_report import ErrorReportDialog
from gradscope.ui.dialogs.script_memory import ScriptMemory
from gradscope.ui.look.settings import Setting, Settings
from gradscope.ui.upkeep.crash_file import CrashFile, crash_folder
from gradscope.ui.upkeep.error_reporter import QUIET_SECS, ErrorReporter
from gradscope.ui.upkeep.interrupts import Interrupts
from tests.patience import patient

DEAD_PID = 2**31 - 1
"""No process has it: Linux counts to 2**22."""


def test_the_command_line_goes_before_the_settings_and_is_not_stored(tmp_path: Path) -> None:
    file = tmp_path / "settings.ini"
    settings = override(Settings(file), Options(seed=7, device="cuda:1"))
    settings.sync()
    assert settings.get(Setting.SEED) == 7
    assert settings.get(Setting.DEVICE) == "cuda:1"
    assert Settings(file).get(Setting.SEED) == 0


def test_build_makes_a_window_that_owns_everything_and_starts_nothing(qapp: QApplication, tmp_path: Path) -> None:
    sheet, palette = qapp.styleSheet(), qapp.palette()
    window = build(qapp, Settings(tmp_path / "settings.ini"))
    assert window.controller.client.pid == 0
    assert window.controller.parent() is window
    assert window.themes.parent() is window
    assert not window.isVisible()
    window.deleteLater()
    qapp.setStyleSheet(sheet)
    qapp.setPalette(palette)


def test_a_script_is_started_in_an_engine_of_its_own_and_no_other_is(
    qapp: QApplication, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sheet, palette = qapp.styleSheet(), qapp.palette()
    settings = Settings(tmp_path / "settings.ini")
    settings.set(Setting.SPARE_ENGINE, False)
    window = build(qapp, settings)
    started: list[tuple[object, ...]] = []
    monkeypatch.setattr(window.controller.client, "start", lambda *given: started.append(given))
    script = Script(kind=ScriptKind.FILE, name="train.py", arguments=("-x",), folder=str(tmp_path))
    start_engine(window, Options(script=script, capture="norms"))
    assert [given[1:] for given in started] == [(script,)]
    assert window.controller.state.awaited == script
    assert ScriptMemory(settings).recall(str(tmp_path / "train.py")) == script
    start_engine(window, Options())
    assert [given[1:] for given in started] == [(script,), ()]
    window.deleteLater()
    qapp.setStyleSheet(sheet)
    qapp.setPalette(palette)


# ---------------------------------------------------------------------------------------------- crash files


@pytest.fixture
def faults() -> Iterator[None]:
    yield
    faulthandler.enable()


def test_a_clean_end_leaves_no_crash_file(tmp_path: Path, faults: None) -> None:
    crash_file = CrashFile(tmp_path)
    crash_file.enable()
    assert [path.stem for path in tmp_path.iterdir()] == [str(os.getpid())]
    assert CrashFile(tmp_path / "nothing").take_last_report() is None
    crash_file.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="aborts otherwise")
def test_a_crash_is_told_at_the_next_start(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from gradscope.ui.upkeep.crash_file import CrashFile\n"
        f"CrashFile(Path({str(tmp_path)!r})).enable(); os.abort()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=patient(60))
    assert ended.returncode == -signal.SIGABRT
    report = CrashFile(tmp_path).take_last_report()
    assert report is not None
    assert "Fatal Python error: Aborted" in report
    assert CrashFile(tmp_path).take_last_report() is None


def test_the_file_of_an_app_that_still_runs_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / f"{os.getppid()}.txt"
    other.write_text("Fatal Python error")
    assert CrashFile(tmp_path).take_last_report() is None
    assert other.exists()


def test_a_folder_that_cannot_be_made_is_no_obstacle(tmp_path: Path, faults: None) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    crash_file = CrashFile(blocked / "crashes")
    assert crash_file.take_last_report() is None
    crash_file.enable()
    crash_file.close()


def test_a_crash_file_that_cannot_be_removed_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = tmp_path / f"{DEAD_PID}.txt"
    report.write_text("Fatal Python error")

    def read_only(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", read_only)
        assert CrashFile(tmp_path).take_last_report() is None
    assert CrashFile(tmp_path).take_last_report() == "Fatal Python error"
    assert not report.exists()


@pytest.mark.parametrize("name", [f"{DEAD_PID}.txt", f"{10**30}.txt", "²³.txt"])
def test_what_is_no_crash_file_is_no_obstacle(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / f"{DEAD_PID - 1}.txt").write_text("Fatal Python error")
    assert CrashFile(tmp_path).take_last_report() == "Fatal Python error"


def test_a_folder_that_becomes_read_only_is_no_obstacle(
    tmp_path: Path, faults: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_file = CrashFile(tmp_path)
    crash_file.enable()

    def read_only(path: Path, missing_ok: bool = False) -> None:
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "unlink", read_only)
    crash_file.close()


def test_without_standard_error_a_crash_is_told_nowhere(
    tmp_path: Path, faults: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("sys.stderr", None)
    crash_file = CrashFile(tmp_path / "file/crashes")
    crash_file.enable()
    crash_file.close()


def test_crash_files_live_in_the_users_data(user_dirs: Path) -> None:
    assert crash_folder().is_relative_to(user_dirs)


# ---------------------------------------------------------------------------------------------- our own bugs


@pytest.fixture
def window(qtbot: QtBot) -> QMainWindow:
    window = QMainWindow()
    qtbot.addWidget(window)
    window.show()
    return window


@pytest.fixture
def reporter(window: QMainWindow, monkeypatch: pytest.MonkeyPatch) -> Iterator[ErrorReporter]:
    monkeypatch.setattr(sys, "__excepthook__", lambda *_: None)
    monkeypatch.setattr(threading, "__excepthook__", lambda *_: None)
    earlier = sys.excepthook, threading.excepthook
    reporter = ErrorReporter(lambda: window, window)
    reporter.install()
    yield reporter
    reporter.uninstall()
    sys.excepthook, threading.excepthook = earlier


def dialogs(window: QMainWindow) -> list[ErrorReportDialog]:
    return [dialog for dialog in window.findChildren(ErrorReportDialog) if dialog.isVisible()]


def test_an_exception_is_told_in_one_dialog(reporter: ErrorReporter, window: QMainWindow, qtbot: QtBot) -> None:
    for error in (ValueError("first"), KeyError("second")):
        sys.excepthook(type(error), error, None)
    qtbot.waitUntil(lambda: bool(dialogs(window)))
    qtbot.wait(10)
    assert len(dialogs(window)) == 1
    report = dialogs(window)[0].text.toPlainText()
    assert "ValueError: first" in report
    assert "KeyError: 'second'" in report
    assert "PySide6" in report
    dialogs(window)[0].reject()


def test_an_exception_in_a_thread_is_told_too(reporter: ErrorReporter, window: QMainWindow, qtbot: QtBot) -> None:
    def fail() -> None:
        raise KeyError("in a thread")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    qtbot.waitUntil(lambda: bool(dialogs(window)))
    assert "in a thread" in dialogs(window)[0].text.toPlainText()
    dialogs(window)[0].reject()


def test_a_keyboard_interrupt_is_no_bug(reporter: ErrorReporter, window: QMainWindow, qtbot: QtBot) -> None:
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    qtbot.wait(20)
    assert dialogs(window) == []


def test_a_flood_of_exceptions_ends(reporter: ErrorReporter, window: QMainWindow, qtbot: QtBot) -> None:
    for i in range(50):
        kind = type(f"Number{i}", (Exception,), {})
        sys.excepthook(kind, kind(), None)
    qtbot.waitUntil(lambda: bool(dialogs(window)))
    qtbot.wait(20)
    assert dialogs(window)[0].text.toPlainText().count("Number") <= 10
    dialogs(window)[0].reject()


def test_the_same_bug_is_told_once_until_it_has_been_quiet(
    reporter: ErrorReporter, window: QMainWindow, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)

    def happen(i: int) -> None:
        try:
            raise ValueError(f"number {i}")
        except ValueError as error:
            sys.excepthook(ValueError, error, error.__traceback__)

    for i in range(50):
        happen(i)
        now += QUIET_SECS / 2
    qtbot.waitUntil(lambda: bool(dialogs(window)))
    qtbot.wait(20)
    assert dialogs(window)[0].text.toPlainText().count("number") == 2, "in the line of code, and in the message"
    dialogs(window)[0].reject()
    happen(50)
    qtbot.wait(20)
    assert dialogs(window) == []
    now += QUIET_SECS + 1
    happen(51)
    qtbot.waitUntil(lambda: bool(dialogs(window)))
    dialogs(window)[0].reject()


def test_the_last_crash_is_shown(reporter: ErrorReporter, window: QMainWindow) -> None:
    reporter.show_last_crash("Fatal Python error: Segmentation fault")
    assert "Segmentation fault" in dialogs(window)[0].text.toPlainText()
    dialogs(window)[0].reject()


# ---------------------------------------------------------------------------------------------- signals


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_acted_on_while_the_event_loop_waits(qapp: QApplication, qtbot: QtBot, number: int) -> None:
    asked: list[int] = []
    parent = QObject()
    earlier = signal.getsignal(number)
    interrupts = Interrupts(lambda: asked.append(number), parent)
    try:
        # The kill comes from outside, so that no Python code runs in the event loop by itself.
        killer = subprocess.Popen(["sh", "-c", f"sleep 0.2; kill -{int(number)} {os.getpid()}"])
        waiting = QTimer(parent)
        with qtbot.waitSignal(interrupts._notifier.activated, timeout=5000):
            waiting.start(4000)
        qtbot.waitUntil(lambda: asked == [number], timeout=1000)
        killer.wait(patient(5))
    finally:
        interrupts.restore()
    assert signal.getsignal(number) == earlier
