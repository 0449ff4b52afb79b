"""`gradscope.watch(...)` and `gradscope.attach(...)`."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from collections.abc import Iterable
from types import TracebackType
from typing import Any, TextIO

import numpy
import torch

from gradscope.engine.headless.outputs import check_outputs, opened
from gradscope.engine.headless.script_outputs import ScriptOutputs
from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.script.follower import Follower
from gradscope.engine.script.following import Following
from gradscope.engine.script.launching.ending import ScriptEnd, end_of
from gradscope.engine.script.replacing import is_tap
from gradscope.engine.script.session import ScriptSession
from gradscope.engine.script.stations import Passage
from gradscope.engine.script.taps import Taps
from gradscope.engine.serving.kernel_server import KernelServer
from gradscope.engine.watching import window as app_window
from gradscope.engine.watching.both import Both
from gradscope.engine.watching.caller import caller
from gradscope.engine.watching.given import Given, sorted_out
from gradscope.protocol.capture import Capture
from gradscope.protocol.failure import BadInput, GradscopeError
from gradscope.protocol.phases import Phase
from gradscope.protocol.scripts import Script
from gradscope.standard_streams import tell

BUDGET_BYTES = 256 * 1024 * 1024


def watch(
    *things: Any,
    jsonl: str | os.PathLike[str] | None = None,
    tensorboard: str | os.PathLike[str] | None = None,
    export: str | os.PathLike[str] | None = None,
    capture: str = "full",
    window: bool | None = None,
) -> Watch:
    """Follow the training inside a `with`: in a window, or into files.

        with gradscope.watch(model, optimizer, jsonl="steps.jsonl"):
            train(model, optimizer)

    `things`: models, optimizers, schedulers. Where there are none, optimizers are found by themselves, and models when they
    are called. `jsonl`: a file for one JSON object a phase ("-" is standard output). `tensorboard`: a folder for event
    files. `export`: a snapshot of the newest step: a new folder, or a .zip file. `capture`: as of `gradscope run --capture`.
    `window`: None is one where there is no other output. The thread of the first backward is followed.

    Raises BadInput where one of these is wrong, where there is no display for a window, and inside another `watch()`. What
    fails later is told on standard error, and the training goes on. When it is left, nothing of gradscope's stays on any
    object.
    """
    outputs = _Outputs(*(None if path is None else os.fspath(path) for path in (jsonl, tensorboard, export)))
    return Watch(sorted_out(things), outputs, Capture.parse(capture), window=window)


def attach(
    *things: Any,
    jsonl: str | os.PathLike[str] | None = None,
    tensorboard: str | os.PathLike[str] | None = None,
    export: str | os.PathLike[str] | None = None,
    capture: str = "full",
    window: bool | None = None,
) -> Watch:
    """As `watch()` without a `with`: from now on until `detach()` is called on what is returned, or the process ends.

    Raises BadInput, as `watch()` does.
    """
    found = watch(*things, jsonl=jsonl, tensorboard=tensorboard, export=export, capture=capture, window=window)
    found.__enter__()
    return found


class _Outputs:
    """What is to be written, and where to; checked when it is made."""

    def __init__(self, jsonl: str | None, tensorboard: str | None, export: str | None) -> None:
        self.jsonl, self.tensorboard, self.export = jsonl, tensorboard, export

    @property
    def are_any(self) -> bool:
        return (self.jsonl or self.tensorboard or self.export) is not None


class Watch:
    """What `watch()` and `attach()` return."""

    _active: Watch | None = None
    """Of this process."""

    def __init__(self, given: Given, outputs: _Outputs, capture: Capture, *, window: bool | None) -> None:
        if window is False and not outputs.are_any:
            raise BadInput(
                "gradscope.watch(window=False) shows nothing: expected jsonl=, tensorboard= or export= with it"
            )
        self._given: Given | None = given
        self._outputs, self._capture = outputs, capture
        self._has_window = not outputs.are_any if window is None else window
        self._taps: Taps | None = None
        self._is_gone = False
        """The window was closed, and there is nobody else to tell."""
        self._files = contextlib.ExitStack()
        self._pid = os.getpid()

    def __enter__(self) -> Watch:
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leave(error)

    def detach(self) -> None:
        """Follow no longer. Nothing happens where that is over already."""
        self._leave(None)

    @property
    def is_on(self) -> bool:
        return self._taps is not None

    # ------------------------------------------------------------------------------------------ private

    def _begin(self) -> None:
        if Watch._active is not None:
            raise BadInput(
                "gradscope.watch() is on already in this process: leave that `with`, or call detach(), before another one"
            )
        given, self._given = self._given, None
        if given is None:
            raise BadInput("This gradscope.watch() was left already: call gradscope.watch() once more for another one")
        if is_tap(torch.autograd._engine_run_backward):  # type: ignore[attr-defined]
            tell("gradscope runs this script already: gradscope.watch() in it changes nothing")
            return
        if os.environ.get("RANK", "0") != "0":
            # One of several processes is looked at; the others train as ever.
            return
        if self._has_window:
            app_window.check()
        with contextlib.ExitStack() as stack:
            script = caller()
            written, budget_bytes = self._written(stack), BUDGET_BYTES
            follower: Follower = written
            if self._has_window:
                server, budget_bytes = self._served(script, stack)
                follower = Both(written, server) if self._outputs.are_any else server
            following = Following(script, follower, capture=self._capture, budget_bytes=budget_bytes)
            given.tell(following.found)
            following.gradient_calls.expect_left_over()
            taps = Taps(following)
            stack.callback(taps.remove)
            taps.install()
            taps.find_imported()
            stack.pop_all()
        self._taps, Watch._active = taps, self
        if self._is_gone:
            taps.switch_off()
        atexit.register(self.detach)

    def _served(self, script: Script, stack: contextlib.ExitStack) -> tuple[KernelServer, int]:
        """The window, and how many bytes its settings allow for copies."""
        connection, decoder = app_window.connect()
        server = KernelServer(script, connection, decoder, on_let_go=self._let_go)
        stack.callback(server.close)
        wanted = server.begin(str(torch.__version__), numpy.__version__)
        return server, wanted.budget_bytes

    def _let_go(self, sentence: str) -> None:
        """In any thread: the window is gone."""
        if self._outputs.are_any:
            # The files go on.
            return
        self._is_gone = True
        taps = self._taps
        if taps is not None:
            taps.switch_off()

    def _written(self, stack: contextlib.ExitStack) -> ScriptOutputs:
        outputs = self._outputs
        check_outputs(export=outputs.export, tensorboard=outputs.tensorboard, prefix="gradscope.watch: ")
        out = self._files.enter_context(opened(outputs.jsonl, sys.stdout, option="gradscope.watch: jsonl"))
        stack.callback(self._files.close)
        return _Written(self, out, outputs)

    def errors(self) -> Iterable[str]:
        """What has failed in following the training."""
        return () if self._taps is None else self._taps.errors

    def _leave(self, error: BaseException | None) -> None:
        taps = self._taps
        if taps is None or os.getpid() != self._pid:
            return
        following = taps.following
        try:
            taps.safely(taps.hand.settle)
        finally:
            taps.remove()
            atexit.unregister(self.detach)
            end = ScriptEnd(0) if error is None else end_of(error)
            rest = Passage(stations=following.journal.take())
            try:
                taps.safely(following.follower.script_ended, following.session, end, rest)
                if following.session is not None:
                    following.session.close()
                self._files.close()
            except GradscopeError as unwritten:
                tell(str(unwritten))
            finally:
                self._taps, Watch._active = None, None


class _Written(ScriptOutputs):
    """The outputs of a watch."""

    def __init__(self, watch: Watch, out: TextIO | None, outputs: _Outputs) -> None:
        super().__init__(out, export=outputs.export, tensorboard=outputs.tensorboard)
        self._watch = watch

    def phase_ended(self, session: ScriptSession, report: PhaseReport, passage: Passage) -> None:
        super().phase_ended(session, report, passage)
        if report.phase is Phase.STEP:
            # Whoever reads it while it grows sees whole steps.
            self.flush()
