"""One case in the real app, offscreen, as a person would go through it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from PySide6.QtCore import QEventLoop
from PySide6.QtWidgets import QApplication

from gradscope.protocol.failure import FailureKind
from gradscope.protocol.phases import RunUntil, Verb
from gradscope.state.engine import EngineStatus
from gradscope.ui.app import build
from gradscope.ui.look.settings import Settings
from tests.torture.case import GOOD, Case, Ending
from tests.torture.run import MARK, OUTCOMES, Outcome, end_those_left

OPEN_SECS, PHASE_SECS, STOP_SECS, START_SECS = 30.0, 20.0, 20.0, 90.0


def play(cases: list[Case], folder: Path) -> None:
    """One after the other, in one app; each outcome is a line of JSON in the folder."""
    trial, good = _Trial(QApplication([])), GOOD.write(folder)
    trial.start()
    for case in cases:
        outcome = trial.outcome = Outcome()
        try:
            trial.play(case.write(folder))
            outcome.afterwards = trial.afterwards(good)
            if case.poisons or case.leaves_processes:
                trial.start()
        except Exception as error:
            outcome.problem = f"THE TRIAL failed: {type(error).__name__}: {error}"
            trial.start()
        outcome.left_behind = end_those_left(os.environ[MARK], but=(os.getpid(), *trial.engine_pids))
        with (folder / OUTCOMES).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(outcome)) + "\n")
    trial.close()


class _Trial:
    def __init__(self, application: QApplication) -> None:
        self.outcome = Outcome()
        self._application = application
        self._window = build(application, Settings())
        self._window.show()
        self._controller = self._window.controller

    def start(self) -> None:
        """A new engine; the one before is ended."""
        self._controller.restart_engine()
        self._wait(lambda: self._status is EngineStatus.READY, START_SECS)

    def play(self, path: Path) -> None:
        if not self._open(path):
            return
        for verb in (Verb.FORWARD, Verb.BACKWARD, Verb.STEP):
            self._controller.go(verb)
            if not self._come_to_rest(PHASE_SECS):
                return
        self._controller.run(RunUntil.STEPS, 20)
        if self._come_to_rest(2 * PHASE_SECS):
            self.outcome.ending = Ending.FINE

    def afterwards(self, path: Path) -> str:
        """A fine recipe is opened and stepped; in a new engine, if the old one cannot."""
        if self._status is EngineStatus.READY:
            said = self._fine(path)
            if said == "fine":
                return said
        self.start()
        said = self._fine(path)
        return "fine in a new engine" if said == "fine" else said

    def close(self) -> None:
        self._window.close()
        self._controller.client.shut_down()
        self._pass(lambda: False, 0.5)

    @property
    def engine_pids(self) -> tuple[int, ...]:
        """Of the engine in use and of its guard."""
        launch = self._controller.client._launch
        return () if launch is None else (launch.pid, launch.process.pid)

    @property
    def _status(self) -> EngineStatus:
        return self._controller.state.engine.status

    def _fine(self, path: Path) -> str:
        before, self.outcome = self.outcome, Outcome()
        try:
            if self._open(path):
                self._controller.go(Verb.NEXT_BATCH)
                if self._come_to_rest(PHASE_SECS) and self._controller.state.position.step == 1:
                    return "fine"
            return f"{self.outcome.ending} {self.outcome.said}"[:200]
        finally:
            self.outcome = before

    def _open(self, path: Path) -> bool:
        self._controller.state.failure = None
        self._window.commands.open_file(str(path))
        self._pass(lambda: self._status is EngineStatus.DEAD or self._controller.state.opening is None, OPEN_SECS)
        if self._status is not EngineStatus.DEAD and self._controller.state.opening is not None:
            self._stop(lambda: self._controller.state.opening is None)
            return False
        return self._is_well()

    def _come_to_rest(self, secs: float) -> bool:
        """False where the phase, or the engine, has failed or had to be stopped."""
        self._pass(lambda: self._status is EngineStatus.DEAD or self._is_at_rest(), secs)
        if self._status is not EngineStatus.DEAD and not self._is_at_rest():
            self._stop(self._is_at_rest)
            return False
        return self._is_well()

    def _is_at_rest(self) -> bool:
        self._controller.flush()
        return not self._controller.state.position.running

    def _is_well(self) -> bool:
        self._pass(lambda: self._status is EngineStatus.DEAD, 0.3)
        state, outcome = self._controller.state, self.outcome
        outcome.steps = state.position.step
        if self._status is EngineStatus.DEAD:
            outcome.ending, outcome.said = Ending.DIED, state.engine.text
        elif state.failure is not None:
            is_theirs = state.failure.kind in (FailureKind.USER_CODE, FailureKind.BAD_INPUT)
            outcome.ending = Ending.TOLD if is_theirs else f"failure of the kind {state.failure.kind.value!r}"
            outcome.said = state.failure.sentence
        return not outcome.ending

    def _stop(self, is_over: Callable[[], bool]) -> None:
        """Interrupt, and end the engine if that does not help."""
        self.outcome.ending = Ending.STOPPED
        self._controller.interrupt()
        if not self._pass(lambda: self._status is EngineStatus.DEAD or is_over(), STOP_SECS):
            self.outcome.said = "the engine had to be ended"
            self.start()
        elif self._status is EngineStatus.DEAD:
            self.outcome.said = self._controller.state.engine.text
        else:
            self.outcome.said = "interrupted"

    def _wait(self, condition: Callable[[], bool], secs: float) -> None:
        if not self._pass(condition, secs):
            raise TimeoutError(f"the app has waited {secs} s: {self._controller.state.engine.text}")

    def _pass(self, condition: Callable[[], bool], secs: float) -> bool:
        """Let the app go on until the condition holds; False after that time."""
        deadline = time.monotonic() + secs
        while not condition():
            begun = time.monotonic()
            if begun > deadline:
                return False
            self._application.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 50)
            outcome = self.outcome
            outcome.longest_wait_secs = max(outcome.longest_wait_secs, time.monotonic() - begun)
            time.sleep(0.01)
        return True
