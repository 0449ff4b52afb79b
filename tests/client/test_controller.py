"""The glue: what a person does becomes a request, what the engine says becomes state. A fake client; the real one is in
tests/e2e."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PySide6.QtCore import QObject, Signal
from pytestqt.qtbot import QtBot

from gradscope.client.engine_client import EngineClient
from gradscope.protocol import messages as m
from gradscope.protocol.capture import Capture, CaptureLevel
from gradscope.protocol.codec import MAX_FRAME_BYTES, encode
from gradscope.protocol.failure import Failure, FailureKind
from gradscope.protocol.messages.export import ATTACHED_PIECE_BYTES
from gradscope.protocol.parts import EVERYTHING, Part
from gradscope.protocol.phases import Phase, Position, Rest, RunUntil, Verb
from gradscope.protocol.scripts import Script
from gradscope.protocol.subjects import COLUMNS, HISTOGRAM_BINS, SubjectKey, SubjectKind, SubjectRow
from gradscope.state.app_state import AppState
from gradscope.state.engine import EngineState, EngineStatus
from gradscope.state.log import Source
from gradscope.state.selection import Selection
from gradscope.state.topics import Topic
from gradscope.ui.actions.controller import Controller
from gradscope.ui.look.settings import Setting, Settings
from tests.session_info import session_info

SESSION = session_info(modules=(m.ModuleInfo(name="", type="Net", description=""),))
KEY = SubjectKey(SubjectKind.ACTIVATION, "a")
FAILURE = Failure(kind=FailureKind.BAD_INPUT, sentence="It cannot be compiled")


class FakeClient(QObject):
    message_received = Signal(object)
    state_changed = Signal(object)
    output_received = Signal(str, object)

    def __init__(self) -> None:
        super().__init__()
        self.started: list[str] = []
        self.script: Script | None = None
        self.requests: list[Any] = []
        self.replies: list[Callable[[Any], None] | None] = []
        self.sent: list[Any] = []

    def start(self, executable: str, script: Script | None = None) -> None:
        self.started.append(executable)
        self.script = script
        self.become(EngineStatus.STARTING)

    def request(self, message: Any, *, on_reply: Callable[[Any], None] | None = None) -> int:
        self.requests.append(message)
        self.replies.append(on_reply)
        return len(self.requests)

    def send(self, message: Any) -> None:
        self.sent.append(message)

    def become(self, status: EngineStatus, text: str = "") -> None:
        self.state_changed.emit(EngineState(status=status, text=text, script=self.script))

    def open(self, session: m.SessionInfo = SESSION) -> None:
        self.message_received.emit(m.Opened(session=session, position=Position(rest=Rest.READY)))


class Lab:
    def __init__(self, tmp_path: Path) -> None:
        self.client = FakeClient()
        self.settings = Settings(tmp_path / "settings.ini")
        self.controller = Controller(AppState(), cast(EngineClient, self.client), self.settings)
        self.state = self.controller.state
        self.refreshed: list[set[Topic]] = []
        self.failed: list[Failure] = []
        self.controller.refreshed.connect(self.refreshed.append)
        self.controller.failed.connect(self.failed.append)

    def ready(self) -> "Lab":
        self.controller.start_engine()
        self.client.become(EngineStatus.READY)
        return self

    def opened(self) -> "Lab":
        self.ready()
        self.controller.open_recipe("/a.py")
        self.client.open()
        self.client.requests.clear()
        self.client.replies.clear()
        return self

    def said(self) -> list[str]:
        """The log without the lines between sessions."""
        return [line.text for line in self.state.log.lines if not line.is_divider]


@pytest.fixture
def lab(qtbot: QtBot, tmp_path: Path) -> Lab:
    return Lab(tmp_path)


# ----------------------------------------------------------------------------------------------- opening


def test_a_recipe_opened_early_waits_for_the_engine(lab: Lab) -> None:
    lab.controller.open_recipe("/a.py", seed=3, device="cuda:0")
    assert lab.client.started, "an engine that does not run is started"
    assert lab.state.opening == "/a.py"
    assert lab.client.requests == []
    lab.client.become(EngineStatus.READY)
    assert lab.client.requests == [m.Open(path="/a.py", seed=3, device="cuda:0", findings=True, timeline_bytes=2**30)]
    lab.client.become(EngineStatus.READY, "some text")
    assert len(lab.client.requests) == 1, "once"


def test_a_session_begins_as_the_settings_say(lab: Lab) -> None:
    lab.ready()
    lab.settings.set(Setting.CAPTURE, CaptureLevel.NORMS)
    lab.settings.set(Setting.BUDGET_MB, 3)
    lab.controller.open_recipe("/a.py")
    request = lab.client.requests[-1]
    assert (request.capture, request.budget_bytes) == ("norms", 3 * 1024 * 1024)


def test_the_command_line_s_level_is_the_first_file_s_only(lab: Lab) -> None:
    lab.ready()
    lab.controller.capture_first_file("layers:head")
    for path in ("/a.py", "/b.py", "/a.py"):
        lab.controller.open_recipe(path)
    assert [request.capture for request in lab.client.requests] == ["layers:head", "full", "layers:head"]


def test_reset_keeps_what_the_session_captures(lab: Lab) -> None:
    lab.opened()
    lab.client.message_received.emit(m.SessionChanged(session=replace(SESSION, capture="layers:net.0")))
    lab.controller.reset()
    assert lab.client.requests[-1].capture == "layers:net.0"


def test_the_level_is_changed_between_two_steps_and_only_to_another(lab: Lab) -> None:
    lab.opened()
    lab.controller.set_capture(Capture(CaptureLevel.FULL))
    assert lab.client.requests == []
    lab.controller.set_capture(Capture(CaptureLevel.LAYERS, ("a", "b.*")))
    assert lab.client.requests == [m.SetCapture(capture="layers:a,b.*")]
    lab.client.message_received.emit(m.Moved(position=Position(rest=Rest.FORWARD)))
    lab.controller.set_capture(Capture(CaptureLevel.OFF))
    assert len(lab.client.requests) == 1


def test_a_level_that_is_taken_ends_the_failure_of_one_that_was_not(lab: Lab) -> None:
    lab.opened()
    lab.controller.set_capture(Capture(CaptureLevel.LAYERS, ("nothing",)))
    failed = m.Failed(
        failure=Failure(kind=FailureKind.BAD_INPUT, sentence="No such layer"), position=Position(rest=Rest.READY)
    )
    lab.client.message_received.emit(failed)
    lab.client.replies[-1](failed)
    assert lab.state.failure is not None
    lab.controller.set_capture(Capture(CaptureLevel.NORMS))
    lab.client.replies[-1](m.Pong())
    assert lab.state.failure is None


def test_only_the_last_of_several_early_recipes_is_opened(lab: Lab) -> None:
    lab.controller.open_recipe("/a.py")
    lab.controller.open_recipe("/b.py")
    lab.client.become(EngineStatus.READY)
    assert [request.path for request in lab.client.requests] == ["/b.py"]
    assert len(lab.client.started) == 1


def test_seed_and_device_come_from_the_settings_unless_given(lab: Lab) -> None:
    lab.ready()
    lab.settings.set(Setting.SEED, 41)
    lab.settings.set(Setting.DEVICE, "mps")
    lab.controller.open_recipe("/a.py")
    lab.controller.open_recipe("/a.py", seed=0, device="cpu")
    assert [(request.seed, request.device) for request in lab.client.requests] == [(41, "mps"), (0, "cpu")]


def test_an_engine_that_cannot_be_started_ends_the_opening(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab.client, "start", lambda _: lab.client.become(EngineStatus.DEAD, "no such file"))
    lab.controller.open_recipe("/a.py")
    assert lab.state.opening is None
    lab.client.become(EngineStatus.STARTING)
    lab.client.become(EngineStatus.READY)
    assert lab.client.requests == [], "nothing is run that was given up"


def test_a_failed_open_keeps_the_session_and_is_told(lab: Lab) -> None:
    lab.opened()
    lab.controller.open_recipe("/b.py")
    assert lab.state.refusal(Verb.FORWARD) == "A recipe is being opened"
    failure = Failure(kind=FailureKind.BAD_INPUT, sentence="b.py has no recipe()")
    failed = m.Failed(failure=failure, position=Position(rest=Rest.FORWARD))
    lab.client.message_received.emit(failed)
    on_reply = lab.client.replies[-1]
    assert on_reply is not None
    on_reply(failed)
    assert lab.failed == [failure]
    assert lab.state.session is SESSION
    assert lab.state.opening is None
    assert lab.state.refusal(Verb.BACKWARD) is None


# ----------------------------------------------------------------------------------------------- verbs


def test_verbs_go_where_the_phase_table_allows_them(lab: Lab) -> None:
    lab.controller.go(Verb.FORWARD)
    lab.opened()
    lab.controller.go(Verb.BACKWARD)
    lab.controller.pause()
    assert lab.client.requests == []
    assert lab.client.sent == []
    lab.controller.go(Verb.FORWARD)
    lab.controller.go(Verb.FORWARD)
    assert lab.client.requests == [m.Go(verb=Verb.FORWARD)], "a double click is one forward"
    lab.controller.pause()
    lab.controller.interrupt()
    assert lab.client.sent == [m.Pause(), m.Interrupt()]
    lab.client.message_received.emit(m.Done(position=Position(rest=Rest.FORWARD)))
    lab.controller.run(RunUntil.STEPS, 7)
    assert lab.client.requests[1:] == [m.Go(verb=Verb.RUN, until=RunUntil.STEPS, steps=7)]


# ----------------------------------------------------------------------------------------------- death and restart


def test_a_restart_leaves_the_plots_and_no_session(lab: Lab) -> None:
    """Also of an engine that is well: it is ended without dying, and what it had open is gone all the same."""
    lab.opened()
    lab.client.message_received.emit(m.Moved(position=Position(rest=Rest.FORWARD, step=5, running=True)))
    history = lab.state.history
    lab.controller.restart_engine()
    lab.client.become(EngineStatus.READY)
    assert lab.state.position == Position(step=5)
    assert lab.state.refusal(Verb.BACKWARD) == "Open a script or a recipe first"
    assert lab.state.history is history
    assert lab.client.requests == [], "the user's code is not run again by itself"
    lab.controller.reset()
    assert [request.path for request in lab.client.requests] == ["/a.py"]


def test_a_death_is_logged_once_and_reset_starts_another_engine(lab: Lab) -> None:
    lab.opened()
    lab.client.output_received.emit("half a li", Source.STDOUT)
    lab.client.become(EngineStatus.DEAD, "It was killed. Last error output: x\nx\ny")
    assert lab.said() == ["half a li", "It was killed. Last error output: x"]
    assert lab.state.session is SESSION
    lab.controller.reset()
    assert len(lab.client.started) == 2
    lab.client.become(EngineStatus.READY)
    assert [request.path for request in lab.client.requests] == ["/a.py"]


def test_output_of_two_engines_is_not_glued_together(lab: Lab) -> None:
    lab.ready()
    lab.client.output_received.emit("old", Source.STDOUT)
    lab.controller.restart_engine()
    lab.client.output_received.emit("new\n", Source.STDOUT)
    assert [line.text for line in lab.state.log.lines] == ["old", "new"]


def test_an_engine_that_falls_silent_is_told_once(lab: Lab) -> None:
    lab.opened()
    for seconds in (10, 12, 14):
        lab.client.become(EngineStatus.READY, f"The engine has not answered for {seconds} s")
    assert lab.said() == ["The engine has not answered for 10 s"]
    assert lab.state.position.rest is Rest.READY


def test_the_interpreter_is_the_settings_or_the_given_one(lab: Lab) -> None:
    lab.settings.set(Setting.PYTHON, "/env/python")
    lab.controller.start_engine()
    lab.controller.start_engine("/given/python")
    lab.controller.restart_engine()
    assert lab.client.started == ["/env/python", "/given/python", "/given/python"]


# ----------------------------------------------------------------------------------------------- selection, values


def test_the_selected_subject_is_watched(lab: Lab) -> None:
    lab.controller.select(Selection.of_subject(KEY))
    assert lab.client.requests == [], "there is nobody to watch it"
    lab.opened()
    lab.controller.select(Selection.of_subject(KEY))
    lab.controller.select(Selection.of_subject(KEY))
    assert lab.client.requests == [m.Watch(subjects=(KEY,))]
    lab.client.open()
    assert lab.client.requests[1:] == [m.Watch(subjects=(KEY,))], "the new session does not know of it"
    lab.controller.select(Selection())
    assert lab.client.requests[2:] == [m.Watch(subjects=())]


def test_pinned_subjects_are_watched_too(lab: Lab) -> None:
    other = SubjectKey(SubjectKind.ACTIVATION_GRAD, "b")
    lab.controller.toggle_pin(other)
    assert lab.client.requests == [], "there is nobody to watch it"
    lab.controller.toggle_pin(other)
    lab.opened()
    lab.controller.toggle_pin(other)
    lab.controller.select(Selection.of_subject(KEY))
    assert lab.client.requests == [m.Watch(subjects=(other,)), m.Watch(subjects=(KEY, other))]
    lab.client.requests.clear()
    lab.client.become(EngineStatus.DEAD, "gone")
    lab.ready()
    assert lab.client.requests == []
    lab.client.open()
    assert lab.client.requests == [m.Watch(subjects=(KEY, other))], "the new engine does not know of it"
    lab.controller.unpin_all()
    assert lab.client.requests[1:] == [m.Watch(subjects=(KEY,))]
    lab.client.open(replace(SESSION, path="/b.py"))
    assert lab.client.requests[2:] == [], "nothing is selected or pinned of another recipe"


def test_what_a_structured_output_turns_out_to_be_is_watched(lab: Lab) -> None:
    lab.opened()
    first = replace(KEY, leaf="[0]")
    lab.controller.select(Selection.of_subject(KEY))
    lab.client.message_received.emit(m.Subjects(first=0, rows=(SubjectRow(first, (1,), "float32"),)))
    lab.client.message_received.emit(report_of_one())
    assert lab.client.requests == [m.Watch(subjects=(KEY,)), m.Watch(subjects=(first,))]
    lab.client.message_received.emit(report_of_one())
    assert len(lab.client.requests) == 2


def report_of_one() -> m.Report:
    return m.Report(
        phase=Phase.FORWARD,
        step=0,
        epoch=0,
        batch=0,
        loss=1.0,
        lr=(0.1,),
        subjects=np.zeros(1, dtype=np.int64),
        summaries=np.ones((1, len(COLUMNS))),
        histograms=np.zeros((1, HISTOGRAM_BINS), dtype=np.int32),
        sampled=np.ones(1, dtype=np.int64),
        places=np.zeros(0, dtype=np.int64),
        times=np.zeros((0, 3)),
    )


def test_values_are_asked_for_while_there_is_a_session(lab: Lab) -> None:
    replies: list[object] = []
    lab.controller.fetch(m.FetchPage(subject=KEY), replies.append)
    assert [type(reply) for reply in replies] == [m.Unavailable]
    lab.opened()
    lab.controller.fetch(m.FetchPage(subject=KEY), replies.append)
    assert lab.client.requests == [m.FetchPage(subject=KEY)]
    assert lab.client.replies == [replies.append]


def test_without_a_session_an_export_is_refused(lab: Lab) -> None:
    replies: list[m.Failed] = []
    lab.controller.export_snapshot("/s", EVERYTHING, (), replies.append)
    lab.controller.measure_snapshot(replies.append)
    assert [reply.failure.kind for reply in replies] == [FailureKind.BAD_INPUT] * 2
    assert lab.client.requests == []


def test_an_export_is_sent_in_pieces_that_fit_a_frame(lab: Lab) -> None:
    lab.opened()
    data = np.arange(2 * ATTACHED_PIECE_BYTES + 5, dtype=np.uint32).astype(np.uint8)
    attachments = (m.Attachment(name="plots/a.png", data=data), m.Attachment(name="empty", data=data[:0]))
    replies: list[object] = []
    lab.controller.export_snapshot("/s", frozenset({Part.PLOTS, Part.GRADIENTS}), attachments, replies.append)
    *pieces, export = lab.client.requests
    assert [piece.attachment.name for piece in pieces] == ["plots/a.png"] * 3 + ["empty"]
    np.testing.assert_array_equal(np.concatenate([piece.attachment.data for piece in pieces]), data)
    assert all(len(encode(piece)) < MAX_FRAME_BYTES for piece in pieces)
    assert export == m.Export(path="/s", parts=(Part.GRADIENTS, Part.PLOTS))
    assert lab.client.replies[:-1] == [None] * 4 and lab.client.replies[-1] == replies.append


def test_the_progress_of_an_export_is_no_state(lab: Lab) -> None:
    lab.opened()
    seen: list[object] = []
    lab.controller.export_progressed.connect(seen.append)
    progress = m.ExportProgress(done_bytes=1, total_bytes=2)
    lab.client.message_received.emit(progress)
    assert seen == [progress]
    lab.controller.cancel_export()
    assert lab.client.sent == [m.CancelExport()]


# ----------------------------------------------------------------------------------------------- redraws


def test_redraws_are_gathered_and_messages_are_not(qtbot: QtBot, lab: Lab) -> None:
    lab.opened()
    lab.controller.flush()
    lab.refreshed.clear()
    for step in range(500):
        lab.client.message_received.emit(m.Moved(position=Position(rest=Rest.READY, step=step)))
        assert lab.state.position.step == step
    lab.client.output_received.emit("a\n", Source.STDOUT)
    assert lab.refreshed == []
    qtbot.waitUntil(lambda: bool(lab.refreshed))
    qtbot.wait(80)
    assert lab.refreshed == [{Topic.POSITION, Topic.LOG}]


def test_flush_is_at_once_and_silent_without_changes(lab: Lab) -> None:
    lab.opened()
    lab.controller.flush()
    count = len(lab.refreshed)
    lab.controller.flush()
    assert len(lab.refreshed) == count


def test_at_most_thirty_redraws_a_second(qtbot: QtBot, lab: Lab) -> None:
    lab.opened()
    lab.controller.flush()
    lab.refreshed.clear()
    for step in range(50):
        lab.client.message_received.emit(m.Moved(position=Position(rest=Rest.READY, step=step)))
        qtbot.wait(10)
    assert 3 <= len(lab.refreshed) <= 30


def test_the_log_has_a_line_between_sessions(lab: Lab) -> None:
    lab.opened()
    lab.client.output_received.emit("half a li", Source.STDOUT)
    lab.controller.open_recipe("/b.py", seed=3, device="cuda:0")
    lab.client.output_received.emit("printed\n", Source.STDOUT)
    failure = Failure(kind=FailureKind.BAD_INPUT, sentence="b.py cannot be compiled")
    failed = m.Failed(failure=failure, position=replace(lab.state.position, step=5))
    lab.client.message_received.emit(failed)
    reply = lab.client.replies[-1]
    assert reply is not None
    reply(failed)
    rule = "────────"
    assert [line.text for line in lab.state.log.lines] == [
        f"{rule} /a.py, seed 0, cpu {rule}",
        "half a li",
        f"{rule} /b.py, seed 3, cuda:0 {rule}",
        "printed",
        "b.py cannot be compiled",
        f"{rule} {SESSION.name} goes on at step 5 {rule}",
    ]
    assert [line.is_divider for line in lab.state.log.lines] == [True, False, True, False, False, True]


def test_a_recipe_that_could_not_be_opened_is_kept_in_mind(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "b.py"
    path.write_text("def f(:")
    lab.opened()
    lab.controller.open_recipe(str(path))
    earlier, failed = lab.client.replies[-1], m.Failed(failure=FAILURE, position=lab.state.position)
    lab.controller.open_recipe(str(path))
    assert earlier is not None
    earlier(failed)
    assert lab.state.unopened is None, "another attempt is under way"
    assert lab.state.opening == str(path)
    later = lab.client.replies[-1]
    assert later is not None
    later(failed)
    assert lab.state.unopened is not None
    assert lab.state.unopened.path == str(path)
    assert lab.state.unopened.digest == hashlib.sha256(b"def f(:").hexdigest()
    lab.controller.open_again()
    assert lab.client.requests[-1].path == str(path)
    lab.client.open()
    assert lab.state.unopened is None


def test_what_could_not_be_opened_is_forgotten_for_the_session_that_goes_on(lab: Lab) -> None:
    lab.opened()
    lab.controller.open_recipe("/b.py")
    reply = lab.client.replies[-1]
    assert reply is not None
    reply(m.Failed(failure=FAILURE, position=lab.state.position))
    assert lab.state.unopened is not None
    lab.controller.dismiss_failure()
    assert lab.state.unopened is None


def test_a_recipe_whose_engine_is_restarted_can_be_tried_again(lab: Lab) -> None:
    lab.opened()
    lab.controller.open_recipe("/hangs.py")
    lab.controller.restart_engine()
    assert lab.state.unopened is not None and lab.state.unopened.path == "/hangs.py"
    assert not any("goes on" in line.text for line in lab.state.log.lines), "nothing does"
    lab.client.become(EngineStatus.READY)
    lab.controller.open_again()
    assert lab.client.requests[-1].path == "/hangs.py"
