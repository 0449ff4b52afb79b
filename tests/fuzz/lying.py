"""An app, without an engine, that is told lies: what it is told, what it makes of it, and a window that shows it."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PySide6.QtWidgets import QApplication

from gradscope.protocol import messages as m
from gradscope.protocol.answers import check_answer
from gradscope.protocol.codec import MAX_FRAME_BYTES, Decoder, ProtocolError, encode
from gradscope.protocol.limits import Unfit
from gradscope.protocol.messages.why import CheckGradient, Explain, Explained, ExplainedFactor, ExplainedTerm
from gradscope.protocol.phases import Phase
from gradscope.state.app_state import AppState
from gradscope.state.engine import EngineState, EngineStatus
from gradscope.state.selection import Selection
from gradscope.state.topics import Topic
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.window.main_window import MainWindow
from tests.fuzz.mutations import change_frame
from tests.protocol.test_codec import EXAMPLES
from tests.ui.fakes import FakeTraining, answer_fetch, bare_training, full_training, small_training
from tests.ui.shell_fakes import ShellController, with_places

INPUTS_PER_STATE = 40


def _conversation(training: FakeTraining) -> list[object]:
    told = [*training.opened(), *with_places(training.steps(3))]
    return [*told, training.validated(), *with_places(training.forward())]


class Liar:
    """Says what an engine could say, and changes something of it."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._conversations = [_conversation(make()) for make in (small_training, full_training, bare_training)]
        self._frames = [[encode(message) for message in told] for told in self._conversations]
        self._examples = [encode(message) for message in EXAMPLES]
        self._which = 0

    def state(self) -> AppState:
        """An app that has been told the truth so far."""
        self._which = self._random.randrange(len(self._conversations))
        state = AppState()
        state.set_engine(EngineState(status=EngineStatus.READY))
        for message in self._conversations[self._which]:
            state.apply(message)
        return state

    def lie(self) -> bytes:
        frames = self._frames[self._which] if self._random.random() < 0.75 else self._examples
        return change_frame(self._random, self._random.choice(frames))

    def reply(self, request: Any, truth: object) -> Any:
        """A reply that has something changed, or the truth where the app would not take it."""
        try:
            (frame,) = Decoder().feed(change_frame(self._random, encode(truth, number=1)))
            check_answer(request, frame.message)
        except (ProtocolError, Unfit, ValueError):
            return truth
        return frame.message


def told_of(state: AppState) -> tuple[object, ...]:
    """Changes with whatever a message changes."""
    history = state.history
    return (
        *(id(state.session), id(state.tree), state.position, id(history), len(history.rows), len(state.places)),
        *(tuple(id(report) for report in state.reports.values()), id(state.schedule), tuple(state.edits.made)),
        *(id(state.validation), id(state.best), state.cleared, state.revision, state.failure, state.log.total),
        *(state.skipped_reports, len(history.loss), len(history.newest()), history.skipped_steps),
        *(tuple(len(block.steps) for block in history.blocks.values()), state.engine, tuple(state.pins)),
        *(id(state.findings.known), state.findings.is_watching, state.findings.progress, state.findings.is_checking),
    )


def take_in(state: AppState, data: bytes) -> int:
    """How many messages the app takes of it. Raises ProtocolError, and then the state is as it was before that one."""
    taken = 0
    for frame in Decoder().feed(data):
        before = told_of(state)
        try:
            state.apply(frame.message)
        except ProtocolError:
            assert told_of(state) == before, f"{type(frame.message).__name__} was refused when it had changed something"
            raise
        taken += 1
    return taken


class LyingController(ShellController):
    """Answers what the window asks for with lies."""

    def __init__(self, folder: Path, liar: Liar) -> None:
        super().__init__(folder)
        self._liar = liar
        self.answer = lambda request: liar.reply(request, _truth(request))

    def ask(self, message: object, on_reply: Callable[[object], None]) -> None:
        on_reply(self._liar.reply(message, _truth(message)))


def _truth(request: Any) -> object:
    match request:
        case Explain(parameter=name):
            term = ExplainedTerm(name="gradient", formula="g", sentence="s", l2=0.5, share=1.0, value=-0.25)
            factor = ExplainedFactor(name="rate", formula="lr", sentence="s", low=0.1, middle=0.1, high=0.1)
            told = {"optimizer": "SGD", "terms": (term,), "factors": (factor,), "delta_l2": 0.5, "index": (0, 1)}
            numbers = {"residual": 0.0, "lost": 3, "with_gradient": 9, "elements": 12, "before": 1.0, "delta": -0.25}
            return Explained(parameter=name, step=2, gradient=0.5, **told, **numbers)  # type: ignore[arg-type]
        case CheckGradient():
            return next(example for example in EXAMPLES if type(example).__name__ == "GradientChecked")
        case m.FetchDifferencePicture(subject=subject, index=index):
            return answer_fetch(m.FetchPicture(subject=subject, index=index))
    return answer_fetch(request)


class Stage:
    """A window that shows one state after another, each from another side."""

    def __init__(self, folder: Path, liar: Liar, random: Random) -> None:
        self._random = random
        self.controller = LyingController(folder, liar)
        themes = ThemeManager(self.controller.settings, self.controller)
        self.window = MainWindow(self.controller, themes)  # type: ignore[arg-type]
        self.window.show()

    def show(self, state: AppState) -> float:
        """Draw everything that is to be seen; the seconds that it took."""
        started = time.perf_counter()
        controller, window, random = self.controller, self.window, self._random
        controller.state = state
        state.touch(*Topic)
        state.select(self._selection(state))
        controller.flush()
        window.workspace.setCurrentIndex(random.randrange(window.workspace.count()))
        window.inspector.tabs.setCurrentIndex(random.randrange(window.inspector.tabs.count()))
        for panel in random.sample(window.panels, 2):
            panel.show()
            panel.raise_()
        controller.refresh_all()
        QApplication.processEvents()
        window.grab()
        return time.perf_counter() - started

    def _selection(self, state: AppState) -> Selection:
        random, session = self._random, state.session
        if state.history.rows and random.random() < 0.7:
            return Selection.of_subject(random.choice(state.history.rows).key)
        if session is not None and session.modules and random.random() < 0.7:
            return Selection.of_node(random.choice(session.modules).name, is_parameter=False)
        return Selection()


# ---------------------------------------------------------------------------------------------- by hand


def raw(header: bytes, body: bytes = b"") -> bytes:
    """A frame of any header."""
    return struct.pack(">II", 4 + len(header) + len(body), len(header)) + header + body


def _headed(kind: str, body: object, buffers: object = (), data: bytes = b"", **more: object) -> bytes:
    return raw(json.dumps({"type": kind, "number": 0, "body": body, "buffers": buffers, **more}).encode(), data)


def bombs() -> Iterator[tuple[str, bytes]]:
    """Frames that are as large as they may be, and would take much more memory, or time, if they were believed."""
    room = MAX_FRAME_BYTES - 200
    yield "nested lists", raw(b'{"type":"Note","number":0,"buffers":[],"body":' + b"[" * room + b"}")
    yield "empty lists", raw(b'{"type":"Note","number":0,"buffers":[],"body":[' + b"[]," * (room // 3) + b"[]]}")
    yield "empty objects", raw(b'{"type":"Note","number":0,"buffers":[],"body":[' + b"{}," * (room // 3) + b"{}]}")
    yield "small numbers", raw(b'{"type":"Note","number":0,"buffers":[],"body":[' + b"1," * (room // 2) + b"1]}")
    yield "a deep list", raw(b'{"type":"Note","number":0,"buffers":[],"body":' + b"[" * 900 + b"]" * 900 + b"}")
    yield "a long number", raw(b'{"type":"Note","number":0,"buffers":[],"body":' + b"1" * room + b"}")
    yield "a text", _headed("Note", {"text": "x" * room})
    yield "line breaks", _headed("Note", {"text": "\n" * (room // 2)})
    yield "a name of a field", _headed("Note", {"x" * room: 1})
    yield "a name of a metric", _headed("Validated", {"metrics": {"x" * room: "y"}})
    yield "a type", _headed("x" * room, {})
    yield "a list instead of a text", _headed("Note", {"text": [0] * 900_000})
    yield "many dimensions", _headed("Schedule", {}, [["float64", [2**24] * 900_000]])
    yield "many buffers", _headed("Note", {"text": ""}, [["uint8", [0]]] * 300_000)


def reports(random: Random) -> list[m.Report]:
    """True ones, to be changed by hand."""
    return [message for message in _conversation(full_training()) if isinstance(message, m.Report)]


NO_SUBJECTS: dict[str, Any] = {
    "subjects": np.zeros(0, dtype=np.int64),
    "summaries": np.zeros((0, 9)),
    "histograms": np.zeros((0, 96), dtype=np.int32),
    "sampled": np.zeros(0, dtype=np.int64),
}


def report_of_nothing(phase: Phase, step: int) -> m.Report:
    none = {"places": np.zeros(0, dtype=np.int64), "times": np.zeros((0, 3)), **NO_SUBJECTS}
    return m.Report(phase=phase, step=step, epoch=0, batch=0, loss=None, lr=(), **none)
