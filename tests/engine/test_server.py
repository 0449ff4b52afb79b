"""A real engine process: requests, the stream of events, and every way to stop it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from gate import Gate
from peer import TOKEN, Peer

from gradscope import Session, load_recipe
from gradscope.assets import sample_path
from gradscope.protocol import PROTOCOL_VERSION, messages
from gradscope.protocol.failure import FailureKind
from gradscope.protocol.messages import checkpoints, edits
from gradscope.protocol.messages.why import CheckGradient, Explain
from gradscope.protocol.parts import Part
from gradscope.protocol.phases import INSIDE, Phase, Rest, RunUntil, SubStep, Verb
from gradscope.protocol.subjects import EXPONENT_BINS, HISTOGRAM_BINS, SubjectKey, SubjectKind
from gradscope.snapshots.reader import open_snapshot
from tests.patience import patient

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

SLOW = """
import time, torch
from torch import nn
from gradscope import Recipe

class Slow(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.linear = nn.Linear(4, 2)
        self.trap = Trap()

    def forward(self, x):
        return self.trap(self.linear(self.norm(x)))

class Trap(nn.Module):
    def forward(self, x):
        {body}
        return x

def recipe():
    model = Slow()
    data = torch.utils.data.TensorDataset(torch.randn(24, 4), torch.randint(0, 2, (24,)))
    return Recipe(model=model, dataset=data, loss=nn.CrossEntropyLoss(), batch_size=8,
                  optimizer=torch.optim.Adam(model.parameters(), lr=0.01))
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[Peer]:
    """One engine for the tests that leave it alive; each opens its own recipe."""
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture
def own() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


@pytest.fixture
def mlp() -> Path:
    path = sample_path("digits_mlp")
    assert path is not None
    return path


@pytest.fixture
def slow(write_recipe: Callable[..., Path]) -> Callable[[str], Path]:
    return lambda body: write_recipe(SLOW.format(body=body))


def test_hello_and_ready(shared: Peer) -> None:
    assert shared.hello.token == TOKEN and shared.hello.protocol_version == PROTOCOL_VERSION
    assert shared.hello.pid == shared.process.pid
    assert shared.ready.torch_version == torch.__version__
    assert shared.ready.devices[0] == messages.DeviceInfo(name="cpu", label="CPU")


def test_without_a_session(own: Peer, mlp: Path, tmp_path: Path) -> None:
    for request in (messages.Go(verb=Verb.FORWARD), messages.Reset(), messages.Export(path=str(tmp_path / "x"))):
        failed = own.ask(request)
        assert isinstance(failed, messages.Failed) and failed.failure.kind is FailureKind.BAD_INPUT
        assert failed.position.rest is Rest.EMPTY
    key = SubjectKey(SubjectKind.PARAMETER, "w")
    assert own.ask(messages.FetchPage(subject=key)).reason == "No recipe is open"
    # An open that fails leaves it so.
    assert isinstance(own.open(mlp.parent), messages.Failed)
    assert isinstance(own.ask(messages.Reset()), messages.Failed)


def test_open_introduces_the_session(shared: Peer, mlp: Path) -> None:
    shared.drain()
    opened = shared.open(mlp, seed=3)
    assert isinstance(opened, messages.Opened)
    assert (opened.session.name, opened.session.seed) == ("Digits, a small MLP", 3)
    assert opened.position.rest is Rest.READY
    after = [type(message) for message in shared.drain()]
    after = after[after.index(messages.Opened) :]
    assert after[:4] == [messages.Opened, messages.Subjects, messages.InitialParameters, messages.Schedule]


def test_phases_and_the_order_of_events(shared: Peer, mlp: Path) -> None:
    shared.open(mlp)
    known = known_subjects(shared.drain())
    rests = []
    for verb in (Verb.FORWARD, Verb.BACKWARD, Verb.STEP, Verb.NEXT_BATCH):
        done = shared.go(verb)
        assert isinstance(done, messages.Done) and not done.paused and not done.position.running
        rests.append(done.position.rest)
    assert rests == [Rest.FORWARD, Rest.BACKWARD, Rest.READY, Rest.READY]
    reports = check_stream(shared.drain(), known)
    assert [(r.step, r.phase) for r in reports] == [(step, phase) for step in (0, 1) for phase in Phase]


def known_subjects(stream: list[object]) -> int:
    return sum(len(m.rows) for m in stream if isinstance(m, messages.Subjects))


def check_stream(stream: list[object], known: int = 0) -> list[messages.Report]:
    """Every row is told before a report uses it; rows are numbered without gaps."""
    places, reports = None, []
    for message in stream:
        if isinstance(message, messages.Subjects):
            assert message.first == known
            known += len(message.rows)
        elif isinstance(message, messages.Places):
            assert places is None or message.first == places
            places = message.first + len(message.rows)
        elif isinstance(message, messages.Report):
            assert message.subjects.max(initial=-1) < known
            assert message.summaries.shape == (len(message.subjects), 9)
            assert message.histograms.shape == (len(message.subjects), HISTOGRAM_BINS)
            assert message.places.max(initial=-1) < (places or 0)
            reports.append(message)
    return reports


def test_the_stream_is_the_same_as_a_session_in_this_process(shared: Peer, mlp: Path) -> None:
    shared.open(mlp, seed=1)
    shared.drain()
    shared.run_steps(3)
    reports = [m for m in shared.drain() if isinstance(m, messages.Report)]
    with Session(load_recipe(mlp, 1)) as session:
        session.initial_parameters()
        expected = [report.raw for _ in range(3) for report in session.next_batch()]
    for found, raw in zip(reports, expected, strict=True):
        assert (found.loss, found.lr) == (raw.loss, raw.lr)
        np.testing.assert_array_equal(found.subjects, raw.subjects)
        np.testing.assert_array_equal(found.summaries, raw.summaries)
        # Of reports that had to wait for each other, which are sent together then, only the newest has them.
        if len(found.histograms) or found is reports[-1]:
            np.testing.assert_array_equal(found.histograms, raw.histograms)


def test_refused_verbs(shared: Peer, mlp: Path) -> None:
    shared.open(mlp)
    failed = shared.go(Verb.STEP)
    assert failed.failure.sentence == "Step needs gradients: press Forward, then Backward"
    assert failed.position.rest is Rest.READY
    assert isinstance(shared.go(Verb.RUN, until=RunUntil.STEPS, steps=0), messages.Failed)
    for verb in (Verb.PAUSE, Verb.RESET):
        assert isinstance(shared.go(verb), messages.Failed)


def test_run_to_the_end_of_the_epoch(shared: Peer, mlp: Path) -> None:
    opened = shared.open(mlp)
    shared.go(Verb.NEXT_BATCH)
    shared.drain()
    done = shared.go(Verb.RUN, until=RunUntil.EPOCH)
    assert (done.position.epoch, done.position.batch) == (1, 0)
    assert done.position.step == opened.session.batches_per_epoch
    told = shared.drain()
    reports = [m for m in told if isinstance(m, messages.Report)]
    assert len(reports) == 3 * (opened.session.batches_per_epoch - 1)
    assert not any(isinstance(m, messages.Skipped) for m in told)


def test_pause_and_go_on(shared: Peer, mlp: Path) -> None:
    shared.open(mlp)
    number = shared.send(messages.Go(verb=Verb.RUN))
    shared.event(messages.Report)
    assert isinstance(shared.ask(messages.Pause()), messages.Pong)
    done = shared.reply(number)
    assert isinstance(done, messages.Done) and done.paused and not done.position.running
    done = shared.go(Verb.NEXT_BATCH)
    assert done.position.rest is Rest.READY


def test_a_pause_right_behind_the_go_is_not_lost(shared: Peer, mlp: Path) -> None:
    shared.open(mlp)
    for _ in range(3):
        last = shared.send(messages.Go(verb=Verb.RUN), messages.Pause())
        assert shared.reply(last - 1).paused
        shared.drain()


def test_a_pause_while_nothing_runs_does_not_stop_the_next_go(shared: Peer, mlp: Path) -> None:
    shared.open(mlp)
    shared.ask(messages.Pause())
    assert not shared.run_steps(2).paused


def test_stopped_inside_a_phase(shared: Peer, slow: Callable[[str], Path], gate: Gate) -> None:
    shared.open(slow(gate.code))
    number = shared.send(messages.Go(verb=Verb.FORWARD))
    gate.wait()
    shared.ask(messages.Pause())
    gate.open()
    done = shared.reply(number)
    assert done.paused and done.position.rest is Rest.IN_FORWARD
    moment = done.position.moment
    assert (moment.substep, moment.event, moment.layer) == (SubStep.FORWARD, "leave", "trap")
    # The partial report and the values are there while it is stopped.
    page = shared.ask(messages.FetchPage(subject=SubjectKey(SubjectKind.ACTIVATION, "linear")))
    assert isinstance(page, messages.Page) and page.values.shape == (8, 2)
    assert shared.go(Verb.BACKWARD).failure.kind is FailureKind.BAD_INPUT
    done = shared.go(Verb.FORWARD)
    assert not done.paused and done.position.rest is Rest.FORWARD
    assert shared.go(Verb.BACKWARD).position.rest is Rest.BACKWARD


def test_stopped_inside_and_gone_on_is_the_same_training(shared: Peer, slow: Callable[[str], Path]) -> None:
    path = slow("time.sleep(0.02)")
    shared.open(path)
    number = shared.send(messages.Go(verb=Verb.RUN))
    for _ in range(3):
        shared.event(messages.Report)
        shared.ask(messages.Pause())
        shared.reply(number)
        number = shared.send(messages.Go(verb=Verb.RUN))
    shared.ask(messages.Pause())
    done = shared.reply(number)
    if done.position.rest is not Rest.READY:
        done = shared.go(Verb.NEXT_BATCH)
    with Session(load_recipe(path)) as session:
        while session.position.step < done.position.step:
            session.advance()
        page = shared.ask(messages.FetchPage(subject=SubjectKey(SubjectKind.PARAMETER, "linear.weight")))
        expected = session.values(SubjectKey(SubjectKind.PARAMETER, "linear.weight"))
        np.testing.assert_array_equal(page.values, expected.double().numpy())


LOST_GPU = """
import torch
from torch import nn
from gradscope import Recipe
from gradscope.engine.surroundings import devices

class Net(nn.Linear):
    calls = 0

    def forward(self, x):
        Net.calls += 1
        if Net.calls == 3:
            # What torch says; from then on nothing works on this device.
            devices.still_answers = lambda device: False
            raise torch.AcceleratorError("CUDA error: device-side assert triggered")
        return super().forward(x)

def recipe():
    model = Net(3, 2)
    data = [(torch.randn(3), torch.randn(2)) for _ in range(16)]
    return Recipe(model=model, dataset=data, loss=nn.MSELoss(), batch_size=4,
                  optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
"""


def test_a_device_that_is_lost_ends_the_engine_in_words(write_recipe: Callable[..., Path]) -> None:
    peer = Peer()
    try:
        peer.open(write_recipe(LOST_GPU))
        failed = peer.run_steps(10)
        assert isinstance(failed, messages.Failed) and "device-side assert" in failed.failure.sentence
        lost = peer.event(messages.DeviceLost)
        assert "cannot be used any more" in lost.reason and "started again" in lost.reason
        assert peer.process.wait(patient(10)) == 0
    finally:
        peer.close()


def test_a_device_that_is_lost_while_stopped_inside_a_phase_ends_the_engine(
    write_recipe: Callable[..., Path], gate: Gate
) -> None:
    peer = Peer()
    try:
        lost = SLOW_AND_LOST.format(wait=gate.code)
        peer.open(write_recipe(LOST_GPU.replace("Net.calls == 3", "False").replace("return super", lost)))
        number = peer.send(messages.Go(verb=Verb.RUN))
        gate.wait()
        peer.ask(messages.Pause())
        gate.open()
        assert peer.reply(number).position.rest is Rest.IN_FORWARD
        assert isinstance(peer.ask(messages.SetCapture(capture="nonsense")), messages.Failed)
        assert peer.process.wait(patient(10)) == 0
    finally:
        peer.close()


SLOW_AND_LOST = """{wait}
        devices.still_answers = lambda device: False
        return super"""


def test_reset_and_open_while_stopped_inside(
    shared: Peer, slow: Callable[[str], Path], mlp: Path, tmp_path: Path
) -> None:
    for i, request in enumerate((messages.Reset(), messages.Open(path=str(mlp)))):
        (tmp_path / str(i)).mkdir()
        gate = Gate(tmp_path / str(i))
        shared.open(slow(gate.code))
        number = shared.send(messages.Go(verb=Verb.RUN))
        gate.wait()
        shared.ask(messages.Pause())
        gate.open()
        assert shared.reply(number).position.rest is Rest.IN_FORWARD
        opened = shared.ask(request)
        assert isinstance(opened, messages.Opened) and opened.position.rest is Rest.READY


def test_reset_while_running(shared: Peer, mlp: Path) -> None:
    shared.open(mlp)
    number = shared.send(messages.Go(verb=Verb.RUN))
    shared.event(messages.Report)
    reset = shared.send(messages.Reset())
    assert shared.reply(number).paused
    assert isinstance(shared.reply(reset), messages.Opened)
    assert shared.go(Verb.NEXT_BATCH).position.step == 1


def test_reset_reads_the_file_again(shared: Peer, slow: Callable[[str], Path]) -> None:
    path = slow("pass")
    shared.open(path, seed=4)
    shared.run_steps(2)
    path.write_text(path.read_text().replace("lr=0.01", "lr=0.5"))
    opened = shared.ask(messages.Reset())
    assert opened.session.groups[0].options["lr"] == "0.5" and opened.session.seed == 4
    assert opened.position.step == 0


@pytest.mark.parametrize("body", ["while True: pass", "time.sleep(600)", "[i for i in iter(int, 1)]"])
def test_interrupt(body: str, shared: Peer, slow: Callable[[str], Path], gate: Gate) -> None:
    gate.open()
    shared.open(slow(f"{gate.code}\n        {body}"))
    number = shared.send(messages.Go(verb=Verb.FORWARD))
    gate.wait()
    # The reader thread answers all the while.
    assert isinstance(shared.ask(messages.Ping()), messages.Pong)
    started = time.monotonic()
    shared.ask(messages.Interrupt())
    failed = shared.reply(number)
    assert time.monotonic() - started < patient(3)
    assert failed.failure.kind is FailureKind.CANCELLED
    assert failed.position.rest is Rest.READY and failed.position.moment is None
    # The session is usable, and batch normalisation did not move.
    page = shared.ask(messages.FetchPage(subject=SubjectKey(SubjectKind.PARAMETER, "norm.weight")))
    assert isinstance(page, messages.Page)


def test_an_interrupt_while_nothing_runs_does_nothing(shared: Peer, mlp: Path) -> None:
    shared.open(mlp)
    assert isinstance(shared.ask(messages.Interrupt()), messages.Pong)
    assert isinstance(shared.run_steps(2), messages.Done)


def test_interrupt_a_recipe_that_loads_for_ever(
    shared: Peer, mlp: Path, write_recipe: Callable[..., Path], gate: Gate
) -> None:
    shared.open(mlp)
    number = shared.send(messages.Open(path=str(write_recipe(f"{gate.code}\n"))))
    gate.wait()
    shared.ask(messages.Interrupt())
    assert shared.reply(number).failure.kind is FailureKind.CANCELLED
    assert shared.run_steps(1).position.step == 1


def test_a_failed_open_keeps_the_session(shared: Peer, mlp: Path, write_recipe: Callable[..., Path]) -> None:
    shared.open(mlp, seed=2)
    shared.run_steps(2)
    before = shared.ask(messages.FetchPage(subject=SubjectKey(SubjectKind.PARAMETER, "output.bias")))
    for path in (write_recipe("1 / 0\n"), mlp.parent / "nowhere.py"):
        failed = shared.open(path)
        assert isinstance(failed, messages.Failed) and failed.failure.kind is FailureKind.BAD_INPUT
        assert (failed.position.rest, failed.position.step) == (Rest.READY, 2)
    assert isinstance(shared.open(mlp, device="cuda:99"), messages.Failed)
    after = shared.ask(messages.FetchPage(subject=SubjectKey(SubjectKind.PARAMETER, "output.bias")))
    np.testing.assert_array_equal(before.values, after.values)
    # And training goes on as if nothing had been.
    shared.run_steps(2)
    found = shared.ask(messages.FetchPage(subject=SubjectKey(SubjectKind.PARAMETER, "output.bias")))
    with Session(load_recipe(mlp, 2)) as session:
        for _ in range(4):
            session.next_batch()
        expected = session.values(SubjectKey(SubjectKind.PARAMETER, "output.bias"))
    np.testing.assert_array_equal(found.values[:, 0], expected.double().numpy())


def test_user_code_that_fails(shared: Peer, slow: Callable[[str], Path]) -> None:
    shared.open(slow("raise ValueError('in the trap')"))
    shared.drain()
    failed = shared.go(Verb.RUN)
    assert failed.failure.kind is FailureKind.USER_CODE and failed.failure.layer == "trap"
    (report,) = [m for m in shared.drain() if isinstance(m, messages.Report)]
    # Two outputs, and the three buffers of the normalisation as they were put back.
    assert not report.complete and len(report.subjects) == 2 + 3


def test_pages_pictures_and_histograms(shared: Peer, mlp: Path, tmp_path: Path) -> None:
    shared.open(mlp)
    shared.go(Verb.FORWARD)
    with Session(load_recipe(mlp)) as session:
        session.forward()
        for key in (SubjectKey(SubjectKind.ACTIVATION, "hidden"), SubjectKey(SubjectKind.PARAMETER, "hidden.weight")):
            live = session.values(key).double().numpy()
            page = shared.ask(messages.FetchPage(subject=key, row=3, rows=5, column=200, columns=1000))
            np.testing.assert_array_equal(page.values, live[3:8, 200:712])
            assert (page.shape, page.dtype, page.row, page.column) == (live.shape, "float32", 3, 200)
            assert not page.integer
            beyond = shared.ask(messages.FetchPage(subject=key, row=10**6, column=-5))
            assert beyond.values.shape == (0, 64)

            picture = shared.ask(messages.FetchPicture(subject=key, side=50))
            rows, columns = picture.block
            assert max(picture.values.shape) <= 50
            expected = np.abs(live[:rows, :columns]).max()
            assert abs(picture.values[0, 0]) == pytest.approx(expected, rel=1e-6)
            # The last pixel is of what is left there.
            last = live[(live.shape[0] - 1) // rows * rows :, (live.shape[1] - 1) // columns * columns :]
            assert abs(picture.values[-1, -1]) == pytest.approx(np.abs(last).max(), rel=1e-6)

            histogram = shared.ask(messages.FetchHistogram(subject=key, bins=37))
            counts, edges = np.histogram(live, 37)
            np.testing.assert_array_equal(histogram.counts, counts)
            np.testing.assert_allclose(histogram.edges, edges)
            assert (histogram.nan, histogram.inf) == (0, 0)
        bias = shared.ask(messages.FetchPage(subject=SubjectKey(SubjectKind.PARAMETER, "output.bias")))
        assert bias.values.shape == (10, 1)
    gone = shared.ask(messages.FetchPage(subject=SubjectKey(SubjectKind.GRAD, "output.bias")))
    assert isinstance(gone, messages.Unavailable) and ".grad is None" in gone.reason
    exported = shared.ask(messages.Export(path=str(tmp_path / "shot")))
    assert Path(exported.path) == tmp_path / "shot" and "manifest.json" in exported.files
    assert isinstance(shared.ask(messages.Export(path=str(tmp_path / "shot"))), messages.Failed)
    assert EXPONENT_BINS * 2 == HISTOGRAM_BINS


def test_a_slice_of_many_dimensions(shared: Peer) -> None:
    path = sample_path("digits_cnn")
    assert path is not None
    shared.open(path)
    key = SubjectKey(SubjectKind.PARAMETER, "conv2.weight")
    with Session(load_recipe(path)) as session:
        live = session.values(key).double().numpy()
    page = shared.ask(messages.FetchPage(subject=key, index=(5, 7)))
    np.testing.assert_array_equal(page.values, live[5, 7])
    assert page.index == (5, 7)
    wild = shared.ask(messages.FetchPage(subject=key, index=(10**6, -3, 2, 2)))
    np.testing.assert_array_equal(wild.values, live[-1, 0])


def test_watched_values_are_kept_through_a_run(shared: Peer, mlp: Path) -> None:
    shared.open(mlp)
    key = SubjectKey(SubjectKind.ACTIVATION, "hidden")
    shared.ask(messages.Watch(subjects=(key,)))
    number = shared.send(messages.Go(verb=Verb.RUN))
    shared.event(messages.Report)
    shared.ask(messages.Pause())
    shared.reply(number)
    shared.go(Verb.NEXT_BATCH)
    assert isinstance(shared.ask(messages.FetchPage(subject=key)), messages.Page)


def test_a_message_that_is_no_request(shared: Peer) -> None:
    failed = shared.ask(messages.Pong())
    assert isinstance(failed, messages.Failed) and "does not answer Pong" in failed.failure.sentence


ENDINGS = [
    ("idle", "shutdown"),
    ("running", "close"),
    ("hanging", "shutdown"),
    ("hanging", "close"),
    ("stopped inside", "shutdown"),
    ("stopped inside", "close"),
    ("before ready", "close"),
]


@pytest.mark.parametrize(("state", "ending"), ENDINGS)
def test_shutdown_and_a_closed_socket_end_the_process(
    state: str, ending: str, slow: Callable[[str], Path], gate: Gate
) -> None:
    peer = Peer(welcome=state != "before ready")
    try:
        bring_to(peer, state, slow, gate)
        if ending == "shutdown":
            peer.send(messages.Shutdown())
            assert peer.process.wait(patient(8)) == 0
        else:
            peer.connection.close()
            assert peer.process.wait(patient(8)) != 0
    finally:
        peer.close()


def bring_to(peer: Peer, state: str, slow: Callable[[str], Path], gate: Gate) -> None:
    if state in ("idle", "before ready"):
        return
    body = {"running": "pass", "hanging": "while True: pass", "stopped inside": gate.code}[state]
    peer.open(slow(body))
    number = peer.send(messages.Go(verb=Verb.RUN))
    peer.position_when(lambda p: p.running)
    if state == "stopped inside":
        gate.wait()
        peer.ask(messages.Pause())
        gate.open()
        assert peer.reply(number).position.rest is Rest.IN_FORWARD


def test_a_malformed_frame_ends_the_engine(own: Peer) -> None:
    own.connection.sendall(b"\xff" * 64)
    assert own.process.wait(patient(8)) != 0
    assert own.process.stdout is not None
    assert b"connection to the app has failed" in own.process.stdout.read()


def test_started_by_hand_it_says_who_starts_it() -> None:
    import subprocess

    from peer import ENGINE

    environment = {k: v for k, v in os.environ.items() if not k.startswith("GRADSCOPE_")}
    done = subprocess.run(
        [sys.executable, str(ENGINE)], env=environment, capture_output=True, text=True, timeout=patient(30)
    )
    assert done.returncode == 3
    assert "the app starts the engine, people start the app" in done.stderr


WINDOW = """
import time, torch
from torch import nn
from gradscope import Recipe

def accuracy(output, target):
    {wait}
    return (output.argmax(1) == target).float().mean()

def recipe():
    model = nn.Linear(4, 2)
    data = torch.utils.data.TensorDataset(torch.randn(24, 4), torch.randint(0, 2, (24,)))
    return Recipe(model=model, dataset=data, loss=nn.CrossEntropyLoss(), batch_size=8, accumulate=2, zero_grad="manual",
                  validation=data, metrics={{"accuracy": accuracy}}, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
"""


def test_a_window_through_the_server(shared: Peer, write_recipe: Callable[..., Path]) -> None:
    opened = shared.open(write_recipe(WINDOW.format(wait="pass")))
    assert opened.session.accumulate == 2 and opened.session.zero_grad == "manual"
    shared.go(Verb.FORWARD)
    assert shared.go(Verb.BACKWARD).position.rest is Rest.ACCUMULATING
    assert shared.go(Verb.ZERO_GRAD).position.rest is Rest.ACCUMULATING
    shared.drain()
    assert shared.go(Verb.RUN, until=RunUntil.EPOCH).position.step == 2
    validated = [message for message in shared.drain() if isinstance(message, messages.Validated)]
    assert [(v.step, v.epoch, v.batches) for v in validated] == [(1, 0, 3)]
    done = shared.go(Verb.VALIDATE)
    assert done.position.rest is Rest.READY and done.position.step == 2
    (again,) = [message for message in shared.drain() if isinstance(message, messages.Validated)]
    assert again.loss == validated[0].loss and again.metrics == validated[0].metrics


def test_interrupt_a_validation(shared: Peer, write_recipe: Callable[..., Path], gate: Gate) -> None:
    shared.open(write_recipe(WINDOW.format(wait=gate.code)))
    number = shared.send(messages.Go(verb=Verb.VALIDATE))
    gate.wait()
    shared.send(messages.Interrupt())
    failed = shared.reply(number)
    assert failed.failure.kind is FailureKind.CANCELLED and "training is as before" in failed.failure.undone
    assert shared.go(Verb.FORWARD).position.rest is Rest.FORWARD


def test_what_cannot_be_validated(shared: Peer, mlp: Path) -> None:
    shared.open(mlp)
    assert "nothing to validate with" in shared.go(Verb.VALIDATE).failure.sentence


# -------------------------------------------------------------------------------------------------- edits


def test_an_edit_is_told_and_counts_and_is_undone(shared: Peer, mlp: Path) -> None:
    shared.open(mlp)
    shared.go(Verb.NEXT_BATCH)
    shared.drain()
    reply = shared.ask(edits.EditOption(group=0, option="lr", value="0.5"))
    assert isinstance(reply, edits.Edited) and "→ 0.5" in reply.text
    told = shared.drain()
    (made,) = [message for message in told if isinstance(message, edits.EditMade)]
    (changed,) = [message for message in told if isinstance(message, messages.SessionChanged)]
    (schedule,) = [message for message in told if isinstance(message, messages.Schedule)]
    assert (made.number, made.step, made.text, made.undone_at) == (0, 1, reply.text, None)
    assert changed.session.groups[0].options["lr"] == "0.5" and schedule.rates[0, 0] == 0.5
    shared.go(Verb.NEXT_BATCH)
    reports = [message for message in shared.drain() if isinstance(message, messages.Report)]
    assert reports[-1].lr[0] == 0.5
    assert shared.ask(edits.UndoEdit()).text.startswith("Undone: ")
    (made,) = [message for message in shared.drain() if isinstance(message, edits.EditMade)]
    assert (made.number, made.undone_at) == (0, 2)
    assert shared.ask(edits.UndoEdit()).failure.sentence == "There is no edit to undo"


def test_an_edit_that_makes_something_look_wrong_is_followed_by_a_warning(shared: Peer, mlp: Path) -> None:
    shared.open(mlp)
    shared.drain()
    shared.ask(edits.EditRequiresGrad(name="", is_parameter=False, requires_grad=False))
    notes = [message.text for message in shared.drain() if isinstance(message, messages.Note) and message.warning]
    assert any("frozen by requires_grad=False" in text for text in notes)


def test_edits_while_running_and_inside_a_phase(shared: Peer, slow: Callable[[str], Path]) -> None:
    edit = edits.EditOption(group=0, option="lr", value="0.5")
    shared.open(slow("time.sleep(0.01)"))
    number = shared.send(messages.Go(verb=Verb.RUN))
    assert shared.ask(edit).failure.sentence == "The session is running: press Pause first"
    shared.send(messages.Pause())
    rest = shared.reply(number).position.rest
    if rest in INSIDE.values():
        assert "finish that phase first" in shared.ask(edit).failure.sentence
        shared.go(Verb.NEXT_BATCH)
    assert isinstance(shared.ask(edit), edits.Edited)


def test_choices(shared: Peer, own: Peer, mlp: Path) -> None:
    assert "No recipe is open" in own.ask(edits.ListChoices()).failure.sentence
    assert "No recipe is open" in own.ask(edits.UndoEdit()).failure.sentence
    opened = shared.open(mlp)
    choices = shared.ask(edits.ListChoices())
    assert choices.turns[0].optimizer.name == opened.session.optimizer


# -------------------------------------------------------------------------------------------------- why, and is it right


def test_a_step_is_explained(shared: Peer, mlp: Path) -> None:
    opened = shared.open(mlp)
    name = opened.session.parameters[0].name
    assert "press Step" in shared.ask(Explain(parameter=name)).reason
    assert shared.ask(Explain(parameter="nonsense")).failure.kind is FailureKind.BAD_INPUT
    shared.go(Verb.NEXT_BATCH)
    explained = shared.ask(Explain(parameter=name))
    assert explained.step == 0 and explained.optimizer == opened.session.optimizer and explained.reason == ""
    assert explained.residual < 1e-5 and explained.lost < 0.01 * explained.with_gradient
    assert sum(term.share for term in explained.terms) == pytest.approx(1, abs=1e-5)
    assert sum(term.value for term in explained.terms) == pytest.approx(explained.delta, rel=1e-4)
    assert {factor.name for factor in explained.factors} >= {"rate"}
    other = shared.ask(Explain(parameter=name, index=(1, 2)))
    assert other.index == (1, 2) and abs(other.delta) <= abs(explained.delta)
    page = shared.ask(messages.FetchPage(subject=SubjectKey(SubjectKind.UPDATE, name)))
    assert page.values[1, 2] == other.delta
    assert shared.ask(Explain(parameter=name, index=(10**6, 0))).index == explained.index, "out of range: the default"


def test_a_gradient_is_checked(shared: Peer, mlp: Path) -> None:
    name = shared.open(mlp).session.parameters[0].name
    assert "press Forward" in shared.ask(CheckGradient(parameter=name)).failure.sentence
    shared.go(Verb.FORWARD)
    shared.go(Verb.BACKWARD)
    checked = shared.ask(CheckGradient(parameter=name, samples=5))
    assert checked.agrees and len(checked.samples) == 5 and checked.step == 0
    assert checked.samples[0].relative_error == max(sample.relative_error for sample in checked.samples) < 1e-4
    assert checked.actual_error < 1e-4
    assert shared.go(Verb.STEP).position.step == 1


def test_a_check_is_broken_off(shared: Peer, slow: Callable[[str], Path], gate: Gate) -> None:
    shared.open(slow(gate.code))
    gate.open()
    shared.go(Verb.FORWARD)
    gate.close()
    number = shared.send(CheckGradient(parameter="linear.weight"))
    gate.wait()
    shared.send(messages.Interrupt())
    assert shared.reply(number).failure.kind is FailureKind.CANCELLED
    assert shared.go(Verb.BACKWARD).position.rest is Rest.BACKWARD


def test_no_check_while_running_or_inside_a_phase(shared: Peer, slow: Callable[[str], Path], gate: Gate) -> None:
    shared.open(slow("time.sleep(0.5)"))
    number = shared.send(messages.Go(verb=Verb.RUN, until=RunUntil.PAUSED))
    shared.position_when(lambda p: p.running)
    check = shared.send(CheckGradient(parameter="linear.weight"))
    assert "press Pause first" in shared.reply(check).failure.sentence
    shared.send(messages.Interrupt())
    assert shared.reply(number).failure.kind is FailureKind.CANCELLED
    shared.open(slow(gate.code))
    number = shared.send(messages.Go(verb=Verb.FORWARD))
    gate.wait()
    shared.ask(messages.Pause())
    gate.open()
    assert shared.reply(number).position.rest is Rest.IN_FORWARD
    refused = shared.ask(CheckGradient(parameter="linear.weight"))
    assert "between two phases" in refused.failure.sentence
    assert "press Step" in shared.ask(Explain(parameter="linear.weight")).reason


def test_checkpoints(shared: Peer, mlp: Path, tmp_path: Path) -> None:
    """Saved, gone on, loaded: the session stands where it was saved, and what follows is told anew."""
    file = str(tmp_path / "c.pt")
    shared.open(mlp)
    shared.run_steps(3)
    shared.drain()
    saved = shared.ask(checkpoints.SaveCheckpoint(path=file))
    assert saved == checkpoints.CheckpointSaved(path=file, size_bytes=Path(file).stat().st_size)
    shared.run_steps(2)
    losses = [m.loss for m in shared.drain() if isinstance(m, messages.Report) and m.phase is Phase.STEP]
    loaded = shared.ask(checkpoints.LoadCheckpoint(path=file))
    assert isinstance(loaded, checkpoints.CheckpointLoaded) and loaded.is_continued and loaded.notes == ()
    assert (loaded.position.step, loaded.position.rest, loaded.left) == (3, Rest.READY, None)
    followed = [type(m) for m in shared.drain()]
    assert followed.index(messages.SessionChanged) < followed.index(messages.InitialParameters)
    assert messages.Schedule in followed
    shared.run_steps(2)
    again = [m.loss for m in shared.drain() if isinstance(m, messages.Report) and m.phase is Phase.STEP]
    assert losses == again and len(again) == 2

    shared.go(Verb.FORWARD)
    for request in (checkpoints.SaveCheckpoint(path=file), checkpoints.LoadCheckpoint(path=file)):
        refused = shared.ask(request)
        assert isinstance(refused, messages.Failed) and "between two steps" in refused.failure.sentence
    none = shared.ask(checkpoints.SaveCheckpoint(path=file, best=True))
    assert isinstance(none, messages.Failed) and "no best weights" in none.failure.sentence

    linear = sample_path("linear_regression")
    assert linear is not None
    shared.open(linear)
    mismatch = shared.ask(checkpoints.LoadCheckpoint(path=file))
    assert isinstance(mismatch, checkpoints.CheckpointMismatch) and mismatch.path == file
    assert mismatch.missing and mismatch.unexpected
    assert isinstance(shared.ask(checkpoints.LoadCheckpoint(path=str(tmp_path))), messages.Failed)


LOOKS_BACK = """
import time, torch
from gradscope import Recipe

class Data(torch.utils.data.IterableDataset):
    def __iter__(self):
        for i in range(8):
            {wait}
            yield torch.randn(2), torch.zeros(1)

def recipe():
    model = torch.nn.Linear(2, 1)
    return Recipe(model=model, dataset=Data(), loss=torch.nn.MSELoss(), batch_size=1,
                  optimizer=torch.optim.SGD(model.parameters(), lr=0.01))
"""


def test_going_through_the_data_again_can_be_interrupted(
    own: Peer, write_recipe: Callable[..., Path], tmp_path: Path, gate: Gate
) -> None:
    file = str(tmp_path / "c.pt")
    recipe = write_recipe(LOOKS_BACK.format(wait="pass"))
    own.open(recipe)
    own.run_steps(4)
    own.ask(checkpoints.SaveCheckpoint(path=file))
    content = torch.load(file, weights_only=True)
    write_recipe(LOOKS_BACK.format(wait=gate.code))
    opened = own.open(recipe)
    content["gradscope"]["recipe_sha256"] = opened.session.sha256
    torch.save(content, file)
    number = own.send(checkpoints.LoadCheckpoint(path=file))
    gate.wait()
    own.send(messages.Interrupt())
    broken_off = own.reply(number)
    assert isinstance(broken_off, messages.Failed) and broken_off.failure.kind is FailureKind.CANCELLED
    assert broken_off.position.step == 0


# ------------------------------------------------------------------------------------------------- snapshots


def test_a_snapshot_is_measured_attached_to_and_exported(shared: Peer, mlp: Path, tmp_path: Path) -> None:
    shared.open(mlp)
    shared.go(Verb.NEXT_BATCH)
    sizes = shared.ask(messages.MeasureSnapshot())
    assert {item.part for item in sizes.parts} == set(Part) - {Part.PLOTS, Part.HISTORY}
    for piece in (b"one", b"two"):
        data = np.frombuffer(piece, dtype=np.uint8)
        reply = shared.ask(messages.Attach(attachment=messages.Attachment(name="plots/a.svg", data=data)))
        assert isinstance(reply, messages.Pong)
    exported = shared.ask(messages.Export(path=str(tmp_path / "shot.zip")))
    snapshot = open_snapshot(tmp_path / "shot.zip")
    assert exported.size_bytes == (tmp_path / "shot.zip").stat().st_size
    assert snapshot.picture("plots/a.svg") == b"onetwo"
    assert any(isinstance(frame.message, messages.ExportProgress) for frame in shared.frames)


def test_an_export_that_waits_its_turn_can_be_cancelled(
    shared: Peer, slow: Callable[[str], Path], tmp_path: Path
) -> None:
    shared.open(slow("time.sleep(0.5)"))
    shared.drain()
    go, path = messages.Go(verb=Verb.FORWARD), str(tmp_path / "shot")
    export = shared.send(go, messages.Export(path=path), messages.CancelExport()) - 1
    assert isinstance(shared.reply(export), messages.Cancelled)
    assert sorted(p.name for p in tmp_path.iterdir() if p.name not in ("user", "project")) == []
    # What is asked for now is meant.
    assert isinstance(shared.ask(messages.Export(path=path)), messages.Exported)


FAILS_AT_40 = """
import torch
from torch import nn
from gradscope import Recipe

class Fails(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.calls = nn.Linear(4, 4), 0

    def forward(self, x):
        self.calls += 1
        if self.calls == 40:
            {body}
        return self.linear(x)

def recipe():
    model, x = Fails(), torch.randn(64, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    return Recipe(model=model, dataset=torch.utils.data.TensorDataset(x, x), loss=nn.MSELoss(), batch_size=16,
                  optimizer=optimizer, scheduler=torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9))
"""


@pytest.mark.parametrize("ending", ["done", "failed", "interrupted", "paused"])
def test_however_a_run_ends_the_rate_of_the_next_step_is_told(
    ending: str, shared: Peer, write_recipe: Callable[..., Path], gate: Gate
) -> None:
    body = {"failed": "raise RuntimeError('boom')", "interrupted": gate.code}.get(ending, "pass")
    shared.open(write_recipe(FAILS_AT_40.format(body=body)))
    number = shared.send(messages.Go(verb=Verb.RUN, until=RunUntil.STEPS, steps=39 if ending == "done" else 100_000))
    if ending == "interrupted":
        shared.until(lambda frame: isinstance(frame.message, messages.Report) and frame.message.step == 38)
        gate.wait()
        shared.send(messages.Interrupt())
    elif ending == "paused":
        shared.until(lambda frame: isinstance(frame.message, messages.Report) and frame.message.step == 50)
        shared.send(messages.Pause())
    step = shared.reply(number).position.step
    stream = shared.drain()
    schedule = [message for message in stream if isinstance(message, messages.Schedule)][-1]
    assert schedule.first_step in (step, step + 1)
    assert schedule.rates[0, 0] == pytest.approx(0.9**schedule.first_step)
