"""A test that runs out of time fails, wherever it hangs, and the one after it runs in the same process."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

HANGING = """
import os, socket, time
import pytest
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QDialog, QWidget

pytestmark = pytest.mark.timeout(2)
PIDS = set()


@pytest.fixture(autouse=True)
def pid():
    PIDS.add(os.getpid())
    assert len(PIDS) == 1


def test_waiting_for_a_condition(qtbot):
    qtbot.waitUntil(lambda: False, timeout=600_000)


def test_waiting_for_a_signal(qtbot):
    timer = QTimer()
    with qtbot.waitSignal(timer.timeout, timeout=600_000):
        pass


def test_busy_slots(qtbot):
    timer = QTimer()
    timer.timeout.connect(lambda: time.sleep(0.005))
    timer.start(0)
    qtbot.waitUntil(lambda: False, timeout=600_000)


class Painting(QWidget):
    def paintEvent(self, event):
        time.sleep(0.005)
        self.update()


def test_painting_for_ever(qtbot):
    widget = Painting()
    qtbot.addWidget(widget)
    widget.show()
    qtbot.waitUntil(lambda: False, timeout=600_000)


def test_a_dialog_that_nobody_closes(qtbot):
    dialog = QDialog()
    qtbot.addWidget(dialog)
    dialog.exec()


def test_a_slot_that_does_not_come_back(qtbot):
    def hang():
        while True:
            pass

    QTimer.singleShot(0, hang)
    qtbot.waitUntil(lambda: False, timeout=600_000)


def test_without_qt():
    one, _other = socket.socketpair()
    one.recv(1)


def test_after_them(qtbot):
    fired = []
    QTimer.singleShot(20, lambda: fired.append(True))
    qtbot.waitUntil(lambda: bool(fired))
    dialog = QDialog()
    QTimer.singleShot(0, dialog.accept)
    assert dialog.exec()
"""


def test_a_test_that_hangs_fails_alone(tmp_path: Path) -> None:
    (tmp_path / "test_hanging.py").write_text(HANGING)
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_configure, qtbot  # noqa: F401\n")
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {ROOT}\nqt_api = pyside6\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "1", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert "7 failed, 1 passed, 1 error" in done.stdout, done.stdout
    assert "crashed" not in done.stdout
