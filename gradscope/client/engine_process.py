"""The engine's process: started, listened to, ended. App process, GUI thread; nothing here waits."""

from __future__ import annotations

import codecs
import contextlib
import os
import signal
from pathlib import Path

from PySide6.QtCore import QObject, QProcess, QProcessEnvironment, QTimer, Signal, Slot

import gradscope
from gradscope.client.endings import describe_end, with_last_output
from gradscope.state.log import Source

ENGINE_SCRIPT = Path(gradscope.__file__).resolve().parent / "engine" / "__main__.py"
"""Run by its path, so that the interpreter needs no gradscope of its own."""
STEP_SECS = 1.0
"""Between the stages of stopping: asked, SIGINT, SIGTERM, SIGKILL of its whole group."""
_KEPT_LINES = 40
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
        self._stage = 0
        self._is_over = False
        self._stopping = QTimer(self)
        self._stopping.setInterval(int(STEP_SECS * 1000))
        self._stopping.timeout.connect(self._on_next_stage)

    # ------------------------------------------------------------------------------------------ public

    def start(self, executable: str, environment: dict[str, str]) -> None:
        """Start the engine in this interpreter, with these variables added to the app's own environment."""
        self._executable = executable
        variables = QProcessEnvironment.systemEnvironment()
        for name, value in environment.items():
            variables.insert(name, value)
        self._process.setProcessEnvironment(variables)
        # input() and breakpoint() in the user's code find the end of the file, and fail in words instead of waiting.
        self._process.setStandardInputFile(QProcess.nullDevice())
        self._process.start(executable, ["-X", "faulthandler", "-u", str(ENGINE_SCRIPT)])

    def set_ready(self) -> None:
        """From now on it may run the user's code, which then has its part in how it ends."""
        self._is_ready = True

    @property
    def pid(self) -> int:
        """0 when it does not run."""
        return int(self._process.processId())

    @property
    def is_running(self) -> bool:
        return self._process.state() is not QProcess.ProcessState.NotRunning

    def stop(self) -> None:
        """It has been asked to end: if it does not, SIGINT, then SIGTERM, then the whole group is killed."""
        if self.is_running and not self._stopping.isActive():
            self._stage = 0
            self._stopping.start()

    def kill(self) -> None:
        """At once, with everything that it has started."""
        pid = self.pid
        if not self.is_running or not pid:
            return
        if hasattr(os, "killpg"):
            with contextlib.suppress(OSError):
                # The engine leads a group of its own; before it has got so far, the group would be ours.
                if os.getpgid(pid) == pid:
                    os.killpg(pid, signal.SIGKILL)
        self._process.kill()

    def kill_and_wait(self, timeout_secs: float) -> None:
        """For the end of the app: no engine stays behind."""
        if self.is_running:
            self._process.waitForFinished(int(timeout_secs * 1000))
        if self.is_running:
            self.kill()
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
        sentence = describe_end(
            exit_code=exit_code, crashed=status is QProcess.ExitStatus.CrashExit, was_ready=self._is_ready
        )
        lines = self._last_errors.splitlines()[-_KEPT_LINES:]
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
        else:
            self.kill()

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
        """What the engine had started and left behind is asked to end. Its number is no new process's yet: a group that
        has members keeps it."""
        if hasattr(os, "killpg") and self._pid > 1 and self._pid != os.getpgrp():
            with contextlib.suppress(OSError):
                os.killpg(self._pid, signal.SIGTERM)

    def _signal(self, name: str) -> None:
        if os.name == "posix" and self.pid:
            with contextlib.suppress(OSError):
                os.kill(self.pid, getattr(signal, name))

    def _finish(self, sentence: str) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._stopping.stop()
        self.ended.emit(sentence)
