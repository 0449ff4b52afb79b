"""The engine's process: started, listened to, ended. App process, GUI thread; nothing here waits."""

from __future__ import annotations

import codecs
import contextlib
import os
import signal
import sys
from pathlib import Path

from PySide6.QtCore import QObject, QProcess, QProcessEnvironment, QTimer, Signal, Slot

import gradscope
from gradscope.client.endings import describe_end, last_lines, with_last_output
from gradscope.state.log import Source

ENGINE_SCRIPT = Path(gradscope.__file__).resolve().parent / "engine" / "__main__.py"
"""Run by its path, so that the interpreter needs no gradscope of its own."""
STEP_SECS = 1.0
"""Between the stages of stopping: asked, SIGINT, SIGTERM, the end of the engine and of all that it has started."""
GRACE_SECS = 0.5
"""Between SIGTERM and SIGKILL for what is left of the engine's group."""
_LOOK_SECS = 0.05
_KEPT_CHARACTERS = 20_000


class EngineProcess(QObject):
    """One run of the engine. `ended` comes once, also when it could not be started."""

    output = Signal(str, object)
    """(text as it arrives, Source)."""
    ended = Signal(str)
    """In words."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._process = QProcess(self)
        self._process.readyReadStandardOutput.connect(self._on_stdout)
        self._process.readyReadStandardError.connect(self._on_stderr)
        self._process.started.connect(self._on_started)
        self._process.finished.connect(self._on_finished)
        self._process.errorOccurred.connect(self._on_error)
        # Incremental: a character may be cut in two by the pipe.
        make = codecs.getincrementaldecoder("utf-8")
        self._decoders = {Source.STDOUT: make("replace"), Source.STDERR: make("replace")}
        self._last_errors = ""
        self._executable = ""
        self._pid = 0
        self._is_ready = False
        self._is_of_script = False
        self._stage = 0
        self._is_over = False
        self._is_closing = False
        self._leftovers = QTimer(self)
        self._leftovers.setInterval(int(_LOOK_SECS * 1000))
        self._leftovers.timeout.connect(self._on_leftovers_due)
        self._looks = 0
        self._stopping = QTimer(self)
        self._stopping.setInterval(int(STEP_SECS * 1000))
        self._stopping.timeout.connect(self._on_next_stage)
        self._killing = QTimer(self)
        self._killing.setSingleShot(True)
        self._killing.setInterval(int(STEP_SECS * 1000))
        self._killing.timeout.connect(self._kill_group)

    # ------------------------------------------------------------------------------------------ public

    def start(self, executable: str, environment: dict[str, str], *, folder: str = "") -> None:
        """Start the engine in this interpreter, with these variables added to the app's own environment.

        `folder`: its working directory; "" is that of the app.
        """
        self._executable = executable
        if folder and not Path(folder).is_dir():
            # Qt would say of the interpreter that there is no such file.
            self._finish(f"The working directory {folder} does not exist")
            return
        self._process.setWorkingDirectory(folder)
        variables = QProcessEnvironment.systemEnvironment()
        for name, value in environment.items():
            variables.insert(name, value)
        self._process.setProcessEnvironment(variables)
        # input() and breakpoint() in the user's code find the end of the file, and fail in words instead of waiting.
        self._process.setStandardInputFile(QProcess.nullDevice())
        self._process.start(executable, ["-X", "faulthandler", "-u", str(ENGINE_SCRIPT)])

    def set_ready(self, *, of_script: bool = False) -> None:
        """From now on it may run the user's code, which then has its part in how it ends."""
        self._is_ready, self._is_of_script = True, of_script

    @property
    def pid(self) -> int:
        """0 when it does not run."""
        return int(self._process.processId())

    @property
    def is_running(self) -> bool:
        return self._process.state() is not QProcess.ProcessState.NotRunning

    def stop(self) -> None:
        """It has been asked to end: if it does not, SIGINT, then SIGTERM, then it is made to, with all it has started."""
        if self.is_running and not self._stopping.isActive():
            self._stage = 0
            self._stopping.start()

    def kill(self) -> None:
        """At once, with everything that it has started."""
        if not self.is_running or not self.pid:
            return
        if sys.platform == "linux" and self._leads_a_group():
            # Its guard ends the engine and what is below it, also what has left the group. It may have been stopped.
            self._signal("SIGHUP")
            self._signal("SIGCONT")
            # There may be no guard, or one that does not get to it; without one, SIGHUP may be ignored.
            if not self._killing.isActive():
                self._killing.start()
        else:
            self._kill_group()

    def kill_and_wait(self, timeout_secs: float) -> None:
        """For the end of the app: no engine stays behind."""
        self._is_closing = True
        if self.is_running:
            self._process.waitForFinished(int(timeout_secs * 1000))
        if self.is_running:
            self.kill()
            self._process.waitForFinished(1000)
        if self.is_running:
            self._kill_group()
            self._process.waitForFinished(1000)

    # ------------------------------------------------------------------------------------------ slots

    @Slot()
    def _on_started(self) -> None:
        self._pid = self.pid

    @Slot()
    def _on_stdout(self) -> None:
        self._read(Source.STDOUT, bytes(self._process.readAllStandardOutput().data()))

    @Slot()
    def _on_stderr(self) -> None:
        self._read(Source.STDERR, bytes(self._process.readAllStandardError().data()))

    @Slot(int, QProcess.ExitStatus)
    def _on_finished(self, exit_code: int, status: QProcess.ExitStatus) -> None:
        self._drain()
        self._end_leftovers()
        crashed = status is QProcess.ExitStatus.CrashExit
        sentence = describe_end(
            exit_code=exit_code, crashed=crashed, was_ready=self._is_ready, of_script=self._is_of_script
        )
        lines = last_lines(self._last_errors, crashed=crashed)
        self._finish(with_last_output(sentence, lines, was_ready=self._is_ready))

    @Slot(QProcess.ProcessError)
    def _on_error(self, error: QProcess.ProcessError) -> None:
        if error is QProcess.ProcessError.FailedToStart:
            # Qt says "Child process set up failed: execve: No such file or directory".
            reason = self._process.errorString().rpartition(": ")[2]
            self._finish(f"The engine cannot be started with {self._executable}: {reason}")

    @Slot()
    def _on_next_stage(self) -> None:
        self._stage += 1
        if not self.is_running:
            self._stopping.stop()
        elif self._stage == 1:
            self._signal("SIGINT")
        elif self._stage == 2:
            self._process.terminate()
        elif self._stage == 3:
            self.kill()
        else:
            self._kill_group()

    @Slot()
    def _on_leftovers_due(self) -> None:
        """As long as the group has members, its number is nobody else's."""
        self._looks += 1
        is_final = self._looks * _LOOK_SECS > GRACE_SECS
        if not self._signal_leftovers(signal.SIGKILL if is_final else 0) or is_final:
            self._leftovers.stop()

    # ------------------------------------------------------------------------------------------ private

    def _read(self, source: Source, data: bytes, *, final: bool = False) -> None:
        text = self._decoders[source].decode(data, final)
        if source is Source.STDERR:
            self._last_errors = (self._last_errors + text)[-_KEPT_CHARACTERS:]
        if text:
            self.output.emit(text, source)

    def _drain(self) -> None:
        self._read(Source.STDOUT, bytes(self._process.readAllStandardOutput().data()), final=True)
        self._read(Source.STDERR, bytes(self._process.readAllStandardError().data()), final=True)

    def _end_leftovers(self) -> None:
        """What is left of its group is asked to end, and made to if it does not. With a guard there is nothing left."""
        number = getattr(signal, "SIGKILL", 0) if self._is_closing else signal.SIGTERM
        if self._signal_leftovers(number) and not self._is_closing:
            self._leftovers.start()

    def _signal_leftovers(self, number: int) -> bool:
        """False if there are none. The number is no new process's yet: a group that has members keeps it."""
        if not hasattr(os, "killpg") or self._pid <= 1 or self._pid == os.getpgrp():
            return False
        try:
            os.killpg(self._pid, number)
        except OSError:
            return False
        return True

    def _leads_a_group(self) -> bool:
        """Before it has got so far, its group would be ours."""
        try:
            return os.getpgid(self.pid) == self.pid
        except OSError:
            return False

    @Slot()
    def _kill_group(self) -> None:
        if hasattr(os, "killpg") and self._leads_a_group():
            with contextlib.suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)
        self._process.kill()

    def _signal(self, name: str) -> None:
        if os.name == "posix" and self.pid:
            with contextlib.suppress(OSError):
                os.kill(self.pid, getattr(signal, name))

    def _finish(self, sentence: str) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._stopping.stop()
        self._killing.stop()
        self.ended.emit(sentence)
