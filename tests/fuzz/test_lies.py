"""An engine that lies to the real app: window, controller, client and socket are real, the process is not one.

Each lie is either refused in one sentence, the engine ended, and what was seen before is still there; or it is shown.
"""

from __future__ import annotations

import contextlib
import json
import math
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from gradscope import __version__
from gradscope.client import launch
from gradscope.client.engine_client import EngineClient
from gradscope.protocol import PROTOCOL_VERSION
from gradscope.protocol import messages as m
from gradscope.protocol.codec import encode
from gradscope.protocol.failure import Failure, FailureKind
from gradscope.protocol.findings import Curve, Evidence, Finding, Findings, Progress, Severity
from gradscope.protocol.messages.edits import EditMade
from gradscope.protocol.messages.evaluate import MAX_WATCHES, WatchValue
from gradscope.protocol.phases import Phase, Position, Rest, SubStep
from gradscope.protocol.source import SourceLine, StackFrame
from gradscope.protocol.stacks import without_histograms
from gradscope.protocol.stops.point import StopHit
from gradscope.protocol.subjects import COLUMNS, SubjectKey, SubjectKind, SubjectRow
from gradscope.protocol.what_if.tried import (
    AlongUpdate,
    Alternative,
    Directions,
    Measured,
    Mode,
    ProbeRecord,
    ProbeSetting,
    Standing,
    Surface,
    TrialProgress,
    Trials,
    Tried,
)
from gradscope.state.app_state import AppState
from gradscope.state.engine import EngineStatus
from gradscope.state.topics import Topic
from gradscope.ui.actions.controller import Controller
from gradscope.ui.look.settings import Settings
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.window.main_window import MainWindow
from tests.found import CHECKS, finding
from tests.fuzz.lying import report_of_nothing
from tests.ui.fakes import full_training
from tests.ui.shell_fakes import with_places

pytestmark = [
    # Numbers beyond float32, and beyond a plot: what they are drawn as does not matter.
    pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:All-NaN slice encountered:RuntimeWarning"),
    pytest.mark.timeout(600),
]
NOT_UNDERSTOOD = "The engine has sent something that gradscope does not understand: "


class FakeProcess(QObject):
    """Takes the place of EngineProcess: what the engine would send comes from this process."""

    output = Signal(str, object)
    ended = Signal(str)
    newest: FakeProcess

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.pid = 1
        self.is_running = False
        self._sender = ThreadPoolExecutor(1)
        FakeProcess.newest = self

    def start(self, executable: str, environment: dict[str, str], *, folder: str = "") -> None:
        self.is_running = True
        self.connection = socket.create_connection(("127.0.0.1", int(environment["GRADSCOPE_PORT"])))
        hello = m.Hello(
            token=environment["GRADSCOPE_TOKEN"],
            protocol_version=PROTOCOL_VERSION,
            gradscope_version=__version__,
            python_version="3",
            executable=executable,
            pid=1,
        )
        self.send(hello, m.EngineReady(torch_version="2", numpy_version="2", devices=()))

    def send(self, *messages: object) -> None:
        data = b"".join(message if isinstance(message, bytes) else encode(message) for message in messages)
        # What is large is not taken at once, and the app reads in this thread.
        self._sender.submit(self._send, data)

    def _send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self.connection.sendall(data)

    def set_ready(self, *, of_script: bool = False) -> None:
        pass

    def kill(self) -> None:
        if self.is_running:
            self.is_running = False
            # Wakes the thread, if it still sends.
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            self._sender.shutdown()
            self.connection.close()
            self.ended.emit("It was ended")

    def stop(self) -> None:
        self.kill()

    def kill_and_wait(self, _secs: float) -> None:
        self.kill()


class App:
    def __init__(self, folder: Path) -> None:
        settings = Settings(folder / "settings.ini")
        self.client = EngineClient()
        self.controller = Controller(AppState(), self.client, settings)
        self.state = self.controller.state
        self.themes = ThemeManager(settings)
        self.window = MainWindow(self.controller, self.themes)
        self.window.show()

    def restart(self, qtbot: QtBot) -> None:
        """Another engine, which tells the truth so far."""
        self.controller.start_engine()
        qtbot.waitUntil(lambda: self.state.engine.status is EngineStatus.READY)
        FakeProcess.newest.send(*TRUTH)
        qtbot.waitUntil(lambda: self.state.validation is not None and self.state.position == TRUTH[-1].position)

    def draw(self) -> None:
        """Everything that there is, each tab."""
        self.state.touch(*Topic)
        self.controller.flush()
        self.window.commands.what_ifs.wanted.emit()
        self.window.commands.what_ifs.probe_wanted.emit()
        for tabs in (self.window.workspace, self.window.inspector.tabs):
            for i in range(tabs.count()):
                if tabs.isTabVisible(i):
                    tabs.setCurrentIndex(i)
                    QApplication.processEvents()
                    self.window.grab()


@pytest.fixture
def app(qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    monkeypatch.setattr(launch, "EngineProcess", FakeProcess)
    app = App(tmp_path)
    qtbot.addWidget(app.window)
    yield app
    app.controller.shut_down()


TRAINING = full_training()
TRUTH: list[Any] = [*TRAINING.opened(), *with_places(TRAINING.steps(2)), TRAINING.validated()]
TRUTH.append(next(message for message in reversed(TRUTH) if isinstance(message, m.Moved)))
SESSION = TRUTH[0].session
REPORT = next(message for message in reversed(TRUTH) if isinstance(message, m.Report))
ROWS = sum(len(message.rows) for message in TRUTH if isinstance(message, m.Subjects))
SCHEDULE = next(message for message in TRUTH if isinstance(message, m.Schedule))
INITIAL = next(message for message in TRUTH if isinstance(message, m.InitialParameters))
HERE = TRUTH[-1].position


def changed(message: Any, **fields: Any) -> object:
    return replace(message, **fields)


def opened(**fields: Any) -> m.Opened:
    return m.Opened(session=replace(SESSION, **fields), position=HERE)


def headed(kind: str, body: object, buffers: object = (), data: bytes = b"") -> bytes:
    header = json.dumps({"type": kind, "number": 0, "body": body, "buffers": buffers}).encode()
    return struct.pack(">II", 4 + len(header) + len(data), len(header)) + header + data


def module(name: str) -> m.ModuleInfo:
    return m.ModuleInfo(name=name, type="Linear", description="")


def parameter(name: str, **fields: Any) -> m.ParameterInfo:
    values = {"shape": (2, 3), "dtype": "float32", "requires_grad": True, "group": 0}
    return m.ParameterInfo(name=name, **values | fields)  # type: ignore[arg-type]


def with_summaries(value: float, column: int | None = None) -> m.Report:
    summaries = REPORT.summaries.copy()
    summaries[:, slice(None) if column is None else column] = value
    return replace(REPORT, summaries=summaries)


def told(*found: Finding, steps: int = 9) -> m.FoundNow:
    return m.FoundNow(findings=Findings(findings=found, checks=CHECKS, steps=steps))


TRIED_ON = Measured(step=9, standing=Standing.BETWEEN, batch_step=8)
TRIALS = Trials(
    of=TRIED_ON,
    loss=math.nan,
    tried=tuple(
        Tried(alternative=Alternative(rate=1e300, optimizer="<b>"), loss=loss, predicted=loss, update_norm=loss)
        for loss in (math.nan, math.inf, -1e308, 0.0)
    ),
)
ALONG = AlongUpdate(
    of=TRIED_ON,
    alternative=Alternative(),
    at=np.array([-1e308, 1e308]),
    losses=np.ones(2),
    slope=1e308,
    update_norm=0.0,
)
SURFACE = Surface(
    of=TRIED_ON,
    directions=Directions.RANDOM,
    mode=Mode.EVAL,
    first="",
    second="<b>" * 999,
    x=np.array([-1e308, 1e308]),
    y=np.array([0.0, 5e-324]),
    losses=np.ones((2, 2)),
    path=np.zeros((1, 2)),
    path_shares=np.ones(1),
    path_steps=np.zeros(1),
)
PROBED = ProbeRecord(step=3, loss=0.5, output=np.ones((1, 9)), names=("nowhere",), layers=np.ones((1, 9)))


REFUSED: dict[str, object] = {
    "a schedule without dimensions": changed(SCHEDULE, rates=np.array(0.1)),
    "a schedule of three": changed(SCHEDULE, rates=np.zeros((1, 2, 3))),
    "a schedule of one": changed(SCHEDULE, rates=np.zeros(3)),
    "a schedule of another type": headed(
        "Schedule", {"first_step": 0, "rates": {"$": 0}}, [["int64", [1, 1]]], bytes(8)
    ),
    "momenta of another shape": changed(SCHEDULE, momenta=np.ones((5, 5))),
    "a schedule before the first step": changed(SCHEDULE, first_step=-1),
    "a schedule of a step that is no number": headed("Schedule", {"first_step": 1e3, "rates": {"$": 0}}),
    "summaries of one dimension": changed(REPORT, summaries=REPORT.summaries.reshape(-1)),
    "summaries without dimensions": changed(REPORT, summaries=np.array(1.0)),
    "a summary too few": changed(REPORT, summaries=REPORT.summaries[1:]),
    "a column too few": changed(REPORT, summaries=np.ascontiguousarray(REPORT.summaries[:, 1:])),
    "histograms of another width": changed(REPORT, histograms=np.zeros((len(REPORT.subjects), 7), dtype=np.int32)),
    "a histogram too many": changed(REPORT, histograms=np.zeros((len(REPORT.subjects) + 1, 96), dtype=np.int32)),
    "a histogram too few": changed(REPORT, histograms=REPORT.histograms[1:]),
    "a histogram that counts backwards": changed(REPORT, histograms=REPORT.histograms - 1000),
    "sampled too few": changed(REPORT, sampled=REPORT.sampled[1:]),
    "sampled less than nothing": changed(REPORT, sampled=REPORT.sampled - 10**6),
    "counts below zero": with_summaries(-1, 0),
    "counts that are none": with_summaries(math.nan, 1),
    "infinitely many": with_summaries(math.inf, 2),
    "a subject beyond the table": changed(REPORT, subjects=REPORT.subjects + ROWS),
    "a subject before the table": changed(REPORT, subjects=REPORT.subjects - ROWS),
    "subjects in a square": changed(REPORT, subjects=REPORT.subjects.reshape(1, -1)),
    "a place beyond the table": changed(REPORT, places=REPORT.places + 1000),
    "a place before the table": changed(REPORT, places=REPORT.places - 1000),
    "times of another width": changed(REPORT, times=np.zeros((len(REPORT.places), 2))),
    "a time too few": changed(REPORT, times=REPORT.times[1:]),
    "a step before the first": changed(REPORT, step=-1),
    "a step beyond counting": changed(REPORT, step=2**60),
    "a window of none": changed(REPORT, window=0),
    "an epoch before the first": changed(REPORT, epoch=-5),
    "rates of 200,001 groups": changed(REPORT, lr=(0.1,) * 200_001),
    "an optimizer that is none": changed(REPORT, optimizer="another"),
    "an unknown phase": headed("Report", {"phase": "dream"}),
    "initial subjects beyond the table": changed(INITIAL, subjects=INITIAL.subjects + 1000),
    "initial summaries too few": changed(INITIAL, summaries=INITIAL.summaries[1:]),
    "a gap in the subjects": m.Subjects(first=ROWS + 5, rows=()),
    "subjects before the table": m.Subjects(first=-1, rows=()),
    "other subjects than before": m.Subjects(first=0, rows=(SubjectRow(SubjectKey(SubjectKind.GRAD, "x"), (), ""),)),
    "a gap in the places": m.Places(first=99, rows=()),
    "other places than before": m.Places(first=0, rows=(m.Place(SubStep.LOSS, "no", 1, "", ""),)),
    "a stack of 201 lines": m.Whereabouts(stack=(StackFrame(SourceLine("/a.py", 1)),) * 201),
    "a line before the first": m.Whereabouts(stack=(StackFrame(SourceLine("/a.py", -1)),)),
    "fewer than no frames": m.Whereabouts(stack=(StackFrame(SourceLine("/a.py", 1), folded=-1),)),
    "a subject that is deep": m.Subjects(
        first=ROWS, rows=(SubjectRow(SubjectKey(SubjectKind.GRAD, "a." * 1100), (), ""),)
    ),
    "a shape beyond counting": m.Subjects(
        first=ROWS, rows=(SubjectRow(SubjectKey(SubjectKind.GRAD, "a"), (2**40, 2**40), ""),)
    ),
    "a shape below zero": m.Subjects(first=ROWS, rows=(SubjectRow(SubjectKey(SubjectKind.GRAD, "a"), (-7,), ""),)),
    "a call before the first": m.Subjects(
        first=ROWS, rows=(SubjectRow(SubjectKey(SubjectKind.GRAD, "a", -1), (), ""),)
    ),
    "a position before the first": m.Moved(position=replace(HERE, step=-1)),
    "a batch beyond counting": m.Moved(position=replace(HERE, batch=2**63)),
    "an unknown rest": headed("Moved", {"position": {"rest": "asleep"}}),
    "a model of 1,100 levels": opened(modules=tuple(module("a" + ".a" * n) for n in range(1100))),
    "a group that is not there": opened(parameters=(parameter("w", group=7),)),
    "a group before the first": opened(parameters=(parameter("w", group=-1),)),
    "no forward": opened(substeps=(SubStep.BACKWARD, SubStep.STEP)),
    "the step before the forward": opened(substeps=tuple(reversed(SubStep))),
    "windows of none": opened(accumulate=0),
    "an edit out of the row": EditMade(number=5, step=0, text="x"),
    "an edit before the first": EditMade(number=-1, step=0, text="x"),
    "a validation long before the first step": m.Validated(
        step=-2, epoch=0, loss=0.0, metrics={}, batches=1, samples=1, seconds=0.0
    ),
    "20,000 metrics": m.Validated(
        step=1, epoch=0, loss=0.0, metrics={str(n): 0.5 for n in range(20_000)}, batches=1, samples=1, seconds=0.0
    ),
    "more findings than there can be": told(*(finding(str(n)) for n in range(2001))),
    "a finding that was seen before itself": told(finding(step=3, first_step=4)),
    "a run of a million steps": told(finding(curves=(Curve(name="x", values=(0.5,) * 1_000_000),))),
    "a severity that is none": headed(
        "FoundNow", {"findings": {"findings": [{"severity": "doom"}]}, "is_watching": True}
    ),
    "more watched values than there can be": m.WatchValues(
        step=1, after_step=True, values=tuple(WatchValue(id=i) for i in range(MAX_WATCHES + 1))
    ),
    "watched values that took less than no time": m.WatchValues(step=1, after_step=True, values=(), seconds=-1.0),
    "a curve of no places": m.LossAlongDone(along=replace(ALONG, at=np.zeros(0), losses=np.zeros(0))),
    "a curve that goes back": m.LossAlongDone(along=replace(ALONG, at=ALONG.at[::-1].copy())),
    "losses of another curve": m.LossAlongDone(along=replace(ALONG, losses=np.zeros(9))),
    "a surface without an end": m.LossSurfaceDone(surface=replace(SURFACE, x=np.array([0.0, np.inf]))),
    "a surface of another shape": m.LossSurfaceDone(surface=replace(SURFACE, losses=np.zeros((9, 9)))),
    "a path to nowhere": m.LossSurfaceDone(surface=replace(SURFACE, path=np.full((1, 2), np.nan))),
    "a factor that is no number": m.WhatIfDone(
        trials=replace(TRIALS, tried=(Tried(alternative=Alternative(rate=math.nan)),))
    ),
    "a probe of layers without names": m.ProbeRecorded(record=replace(PROBED, names=())),
    "a probe that counts backwards": m.ProbeRecorded(record=replace(PROBED, output=-np.ones((1, 9)))),
    "no frame": b"\xff" * 64,
    "an unknown message": headed("Surprise", {}),
    "a text that is a list": headed("Note", {"text": ["a"] * 100_000}),
    "a request": headed("Go", {"verb": "fly"}),
    "a frame that ends early": headed("Note", {"text": ""}, [["float64", [5]]]),
}


@pytest.mark.parametrize("part", range(4))
def test_what_cannot_be_is_refused_in_words_and_nothing_is_lost(app: App, qtbot: QtBot, part: int) -> None:
    for name in list(REFUSED)[part::4]:
        app.restart(qtbot)
        steps, log = len(app.state.history.loss), app.state.log.total
        FakeProcess.newest.send(REFUSED[name])
        qtbot.waitUntil(lambda: app.state.engine.status is EngineStatus.DEAD, timeout=20_000)
        said = app.state.engine.text
        assert said.startswith(NOT_UNDERSTOOD), name
        assert "\n" not in said and len(said) < 700, name
        assert len(app.state.history.loss) == steps == 2, name
        assert app.state.session is not None
        assert app.state.log.total == log + 1, "it is said once"
    app.draw()


def keyed(*names: str) -> tuple[SubjectRow, ...]:
    return tuple(SubjectRow(SubjectKey(SubjectKind.ACTIVATION, name), (2**31, 2**30), "float32") for name in names)


FAILURE = Failure(kind=FailureKind.USER_CODE, sentence="no\n" * 10_000, traceback="line\n" * 100_000, layer="nowhere")
SHOWN: dict[str, tuple[object, ...]] = {
    "no modules, parameters or groups": (opened(modules=(), parameters=(), groups=()),),
    "no subjects": (report_of_nothing(Phase.STEP, 5),),
    "only NaN": (with_summaries(math.nan, 4), with_summaries(math.nan, 8)),
    "huge numbers": tuple(with_summaries(value, column) for column in (4, 5, 6, 7, 8) for value in (1e300, -1e300)),
    "infinite numbers": tuple(with_summaries(math.inf, column) for column in (4, 5, 6, 7, 8)),
    "all of it counted": (with_summaries(2.0**53 - 1, 0),),
    "the same subject again and again": (changed(REPORT, subjects=np.zeros_like(REPORT.subjects)),),
    "steps backwards": tuple(changed(REPORT, step=step) for step in (9, 4, 7, 0)),
    "a step far away": (changed(REPORT, step=2**53 - 1), m.Moved(position=replace(HERE, step=2**53 - 1))),
    "times backwards": (
        changed(REPORT, times=-REPORT.times),
        changed(REPORT, times=np.full_like(REPORT.times, math.inf)),
    ),
    "a step broken off": (changed(REPORT, complete=False, step=9), m.Moved(position=replace(HERE, step=9))),
    "infinite losses": tuple(changed(REPORT, loss=loss, step=5) for loss in (math.inf, -math.inf, 1e308, -1e308)),
    "rates of more groups": (changed(REPORT, lr=(0.1, math.nan, math.inf), momentum=(1e300,)),),
    "a schedule of more groups": (changed(SCHEDULE, rates=np.full((7, 9), math.inf), momenta=np.zeros((0, 0))),),
    "a schedule of no groups": (changed(SCHEDULE, rates=np.zeros((0, 5)), momenta=np.zeros((0, 5))),),
    "a schedule of no steps": (changed(SCHEDULE, rates=np.zeros((1, 0)), momenta=np.zeros((1, 0))),),
    "a schedule far ahead": (changed(SCHEDULE, first_step=2**53 - 1, horizon=0),),
    "a schedule of nothing but NaN": (changed(SCHEDULE, rates=np.full((1, 50), math.nan), momenta=np.zeros((0, 0))),),
    "modules twice": (opened(modules=SESSION.modules * 3, parameters=SESSION.parameters * 3),),
    "modules without parents": (opened(modules=(module("a.b.c"), module("a..c"), module("."), module("c.c.c.c"))),),
    "a parameter where a module is": (opened(parameters=(parameter("net.0"), parameter(""), parameter("net.0.x"))),),
    "names that are none": (
        opened(name="\ud800\0\n" * 9, description="<b>x" * 9000, modules=(module("\ud800"), module("x" * 99_999))),
    ),
    "a shape of many sides": (opened(parameters=(parameter("w", shape=(1,) * 64), parameter("v", shape=(-1, 2**60)))),),
    "each place many times": (
        changed(REPORT, places=np.repeat(REPORT.places, 40), times=np.repeat(REPORT.times, 40, axis=0)),
    ),
    "a note of millions of lines": (headed("Note", {"text": "\n" * 7_000_000}),),
    "a note of 16 MB": (headed("Note", {"text": "x" * 16_000_000}),),
    "a failure of many lines": (m.Failed(failure=FAILURE, position=HERE),),
    "thousands of notes": tuple(m.Note(text=f"note {n}\n" * 50) for n in range(500)),
    "half characters": (
        m.Note(text="\ud800 \udfff \0"),
        m.Failed(failure=replace(FAILURE, sentence="\udc80"), position=HERE),
    ),
    "a clipping that is none": tuple(
        changed(REPORT, clip=m.Clip(norm=norm, coefficient=norm, norm_after=-norm, dominant="?", dominant_share=norm))
        for norm in (math.nan, math.inf, -1.0, 1e300)
    ),
    "scales that are none": tuple(
        changed(REPORT, scale=scale, skipped=True) for scale in (math.nan, 0.0, -1.0, math.inf)
    ),
    "a validation of nothing": (
        m.Validated(step=-1, epoch=0, loss=math.nan, metrics={"": math.inf}, batches=0, samples=0, seconds=-1.0),
    ),
    "an edit far away": (EditMade(number=0, step=2**53 - 1, text="long " * 900, undone_at=0),),
    "progress of nothing": (m.ExportProgress(done_bytes=2**53 - 1, total_bytes=0),),
    "answers to nothing": (encode(m.Pong(), number=2**60), encode(m.Done(position=HERE), number=5)),
    "requests": (
        m.Ping(),
        m.Shutdown(),
        m.Reset(),
        m.Hello(
            **vars(m.Hello(token="", protocol_version=0, gradscope_version="", python_version="", executable="", pid=0))
        ),
    ),
    "a position beyond its window": (
        m.Moved(position=Position(rest=Rest.IN_STEP, step=3, batch=10**15, batches_per_epoch=0, micro=2**50, window=1)),
    ),
    "a model of 1,000 levels": (
        opened(modules=tuple(module(".".join(["inner"] * n)) for n in range(1001)), parameters=(), groups=()),
    ),
    "5,000 groups": (opened(groups=SESSION.groups * 5000), m.Schedule(first_step=0, rates=np.ones((5000, 100)))),
    "2,000 findings of odd places, each the root of the next": (
        told(
            *(
                finding(
                    f"id{n}", list(Severity)[n % 3], "a.b" * (n % 300), root=f"id{n + 1}", near=("\ud800\n",) * (n % 9)
                )
                for n in range(2000)
            )
        ),
    ),
    "findings far away, twice the same": (
        told(
            *[finding("x" * 2000, Severity.ERROR, "<b>\u202e", title="no\n" * 999, step=2**53 - 1)] * 30,
            steps=2**53 - 1,
        ),
    ),
    "runs of nothing that is finite": tuple(
        told(
            finding(
                curves=tuple(
                    Curve(name="<b>", values=values) for values in ((math.nan,) * 5, (math.inf, -1e308), (), ())
                )
            )
        )
        for _ in range(2)
    ),
    "evidence of nothing": (
        told(
            finding(
                "a",
                evidence=tuple(
                    Evidence(name="", value=v, threshold=-v, unit="%" * 99) for v in (math.nan, math.inf, 1e300)
                ),
            )
        ),
    ),
    "findings of no layer, and progress of no check-up": (
        told(finding(where="nowhere", subject=SubjectKey(SubjectKind.GRAD, "nowhere", 9, ".x"))),
        m.CheckUpProgress(progress=Progress(title="x" * 9000, done=2**53 - 1, planned=0)),
        m.CheckUpDone(findings=Findings(seconds=math.nan, forward=2**53 - 1)),
    ),
    "a script that nobody has asked for": (m.Reproduced(text="\0<b>\u202e", notes=("x" * 9000,)),),
    "what nobody has tried, and is no number": (
        m.WhatIfProgress(progress=TrialProgress(what="<b>" * 999, done=2**53 - 1, planned=0)),
        m.WhatIfDone(trials=TRIALS),
        m.LossAlongDone(along=replace(ALONG, losses=np.full(2, np.nan), slope=math.inf)),
        m.LossSurfaceDone(surface=replace(SURFACE, losses=np.array([[math.inf, -1e308], [1e308, math.nan]]))),
    ),
    "a probe that nobody has set, of no layer": (
        m.ProbeRecorded(record=replace(PROBED, step=2**53 - 1, loss=-math.inf)),
        m.ProbeRecorded(record=PROBED),
        m.ProbeSet(setting=ProbeSetting(batch_step=2**53 - 1, every=2**53 - 1, note="no\n" * 99)),
    ),
    "stops at points that nobody has set, of no layer": (
        m.Stopped(hits=()),
        m.Stopped(
            hits=tuple(
                StopHit(id=2**53 - 1, hits=n, step=2**53 - 1, moment=None, subject="<b>\u202e", sentence="no\n" * 99)
                for n in range(500)
            )
        ),
    ),
    "branches of nothing, and a replay that goes nowhere": (
        m.TimelineState(
            limit_bytes=0,
            used_bytes=2**53 - 1,
            checkpoints=(9, 2**53 - 1, 3, 3),
            earliest=2**53 - 1,
            branch=77,
            branches=tuple(
                m.Branch(id=n % 9, parent=n, from_step=2**53 - 1, until_step=0, change="<b>\u202e" * 99)
                for n in range(99)
            ),
            reason="no\n" * 99,
        ),
        m.ReplayProgress(step=2**53 - 1, start=9, until=0),
    ),
    "a training that went where nobody has been": (
        m.WentTo(position=Position(rest=Rest.READY, step=2**53 - 1), branch=2**53 - 1, verified=False),
        m.WeightsRestored(step=2**53 - 1, notes=("<b>\u202e",) * 100),
        m.WentTo(position=Position(rest=Rest.READY, step=0), branch=3, notes=("<b>\u202e",) * 100),
    ),
    "values of a step that nobody has asked for": (
        m.Recomputed(
            step=2**53 - 1,
            subject=SubjectKey(SubjectKind.UPDATE, "<b>\u202e"),
            shape=(2**53 - 1,),
            dtype="no\n",
            verified=False,
            notes=("<b>\u202e",) * 100,
        ),
    ),
    "values of what nobody watches, and not numbers": (
        m.WatchValues(
            step=2**53 - 1,
            after_step=True,
            values=(
                WatchValue(id=0, text="x" * 9000, number=math.nan),
                WatchValue(id=2**53 - 1, error="<b>" * 99, number=math.inf, is_off=True),
            ),
            seconds=1e9,
            note="y" * 9000,
        ),
    ),
    "reports without histograms": (without_histograms(REPORT), without_histograms(INITIAL)),
    "subjects of no layer": (
        m.Subjects(first=ROWS, rows=keyed("nowhere", "", "net.0.weight")),
        changed(
            REPORT,
            phase=Phase.FORWARD,
            subjects=np.arange(ROWS, ROWS + 3),
            summaries=np.zeros((3, len(COLUMNS))),
            histograms=np.zeros((3, 96), dtype=np.int32),
            sampled=np.zeros(3, dtype=np.int64),
        ),
    ),
}


@pytest.mark.parametrize("part", range(4))
def test_what_can_be_is_shown(app: App, qtbot: QtBot, part: int) -> None:
    for name in list(SHOWN)[part::4]:
        app.restart(qtbot)
        FakeProcess.newest.send(*SHOWN[name], m.Note(text=f"after {name}"))
        qtbot.waitUntil(lambda: any("after " in line.text for line in app.state.log.lines), timeout=20_000)
        app.draw()
        assert app.state.engine.status is EngineStatus.READY, app.state.engine.text
        FakeProcess.newest.kill()
        app.state.log.lines.clear()
