"""The outbox before an app that reads slowly, or not at all: everything arrives, in order, and memory is bounded."""

import errno
import io
import select
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from gradscope.engine.serving import outbox as outbox_module
from gradscope.engine.serving import spill as spill_module
from gradscope.engine.serving.outbox import Outbox
from gradscope.engine.serving.spill import Spill
from gradscope.protocol.codec import Decoder
from gradscope.protocol.messages import Done, Note, Report, Reports, Skipped
from gradscope.protocol.phases import Phase, Position
from gradscope.protocol.stacks import unstacked
from tests.patience import patient
from tests.protocol.test_stacks import assert_same, report

PHASES = (Phase.FORWARD, Phase.BACKWARD, Phase.STEP)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    engine, app = socket.socketpair()
    app.settimeout(20)
    yield engine, app
    engine.close()
    app.close()


def receive(app: socket.socket, *until: type) -> list[object]:
    """All messages until there was one of each type, and nothing is on its way any more."""
    decoder, received = Decoder(), list[object]()
    while not all(any(isinstance(message, one) for message in received) for one in until) or _has_more(app):
        received += [frame.message for frame in decoder.feed(app.recv(1 << 16))]
    return received


def _has_more(app: socket.socket) -> bool:
    return bool(select.select([app], [], [], 0.5)[0])


def reports_of(received: list[object]) -> list[Report]:
    found: list[Report] = []
    for message in received:
        if isinstance(message, Reports):
            found += unstacked(message)
        elif isinstance(message, Report):
            found.append(message)
    return found


def fill(outbox: Outbox, steps: int, subjects: int) -> list[Report]:
    sent = [report(step, phase, subjects) for step in range(steps) for phase in PHASES]
    for i, one in enumerate(sent):
        if i == len(sent) // 2:
            outbox.put(Note(text="half"))
        outbox.put(one)
    outbox.put(Done(position=Position()), number=3)
    return sent


@pytest.mark.parametrize(("steps", "subjects"), [(3, 3), (2000, 5), (60, 3000)])
def test_nothing_is_left_out_before_an_app_that_does_not_read(
    ends: tuple[socket.socket, socket.socket], steps: int, subjects: int
) -> None:
    engine, app = ends
    outbox = Outbox(engine, on_failure=print)
    sent = fill(outbox, steps, subjects)
    received = receive(app, Done)
    found = reports_of(received)
    assert len(found) == len(sent)
    for one, other in zip(found, sent, strict=True):
        assert_same(one, other)
    assert len(found[-1].histograms) == subjects, "the newest is whole"
    half = next(i for i, message in enumerate(received) if isinstance(message, Note))
    assert len(reports_of(received[:half])) == len(sent) // 2, "nothing overtakes"
    assert not any(isinstance(message, Skipped) for message in received)
    if steps > 100:
        assert len(received) < len(sent) // 10
    outbox.close()


def test_what_is_too_large_comes_without_histograms_and_that_is_said_once(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    engine, app = ends
    outbox = Outbox(engine, on_failure=print)
    for step in range(2):
        for phase in PHASES:
            sent = report(step, phase, 5 if phase is Phase.FORWARD else 40_000, complete=False)
            outbox.put(sent)
    outbox.put(report(2, Phase.STEP, 300_000))
    outbox.put(Done(position=Position()), number=3)
    received = receive(app, Done)
    found = [message for message in received if isinstance(message, Report)]
    assert [(one.step, one.phase) for one in found] == [(step, phase) for step in range(2) for phase in PHASES]
    for one in found:
        assert_same(one, report(one.step, one.phase, len(one.subjects), complete=False))
        assert len(one.histograms) == (5 if one.phase is Phase.FORWARD else 0)
    *lean, none = [message.text for message in received if isinstance(message, Note)]
    assert none.startswith("The report of the step could not be sent to the app: Report is ")
    assert lean == [
        f"The report of the {phase.value} came without histograms: 40,000 of them are too much for one message"
        for phase in (Phase.BACKWARD, Phase.STEP)
    ]
    outbox.close()


def test_what_does_not_fit_into_memory_waits_in_a_file(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, app = ends
    monkeypatch.setattr(outbox_module, "MAX_WAITING_BYTES", 1024 * 1024)
    outbox = Outbox(engine, on_failure=print)
    sent = fill(outbox, 300, 400)
    assert len(outbox._spill) > 5
    assert outbox._waiting_bytes < 2 * 1024 * 1024
    found = reports_of(receive(app, Done))
    assert [(one.step, one.phase) for one in found] == [(one.step, one.phase) for one in sent]
    assert len(outbox._spill) == 0
    outbox.close()


@pytest.mark.parametrize("limit", ["size", "disk"])
def test_without_any_room_the_oldest_reports_are_left_out_and_counted(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    engine, app = ends
    monkeypatch.setattr(outbox_module, "MAX_WAITING_BYTES", 1024 * 1024)
    if limit == "size":
        monkeypatch.setattr(spill_module, "MAX_SPILLED_BYTES", 3 * 1024 * 1024)
    else:

        def full(**_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(spill_module.tempfile, "TemporaryFile", full)
    outbox = Outbox(engine, on_failure=print)
    sent = fill(outbox, 300, 400)
    assert outbox._waiting_bytes < 2 * 1024 * 1024
    received = receive(app, Done, Skipped)
    found = reports_of(received)
    left_out = sum(message.reports for message in received if isinstance(message, Skipped))
    assert left_out > 0 and len(found) + left_out == len(sent)
    assert found[-1].step == sent[-1].step
    steps = [one.step for one in found]
    assert steps == sorted(steps)
    outbox.close()


def test_a_spill_gives_back_what_it_got_in_order() -> None:
    spill = Spill()
    for round_ in range(3):
        frames = [bytes([round_, i]) * (i + 1) for i in range(50)]
        for frame in frames:
            spill.put(frame)
        assert [spill.take() for _ in range(20)] == frames[:20]
        spill.put(b"last")
        assert [spill.take() for _ in range(len(spill))] == [*frames[20:], b"last"]
        assert not spill
    spill.close()


@pytest.mark.skipif(sys.platform == "win32", reason="RLIMIT_FSIZE is POSIX")
def test_a_spill_before_a_disk_that_is_full_for_a_while() -> None:
    """Whole frames, small and large, before, while, and after there was no room."""
    done = subprocess.run([sys.executable, "-c", FULL_FOR_A_WHILE], capture_output=True, text=True, timeout=patient(60))
    assert (done.returncode, done.stdout, done.stderr) == (0, "12 refused, 12 left\n", "")


FULL_FOR_A_WHILE = """
import resource
from gradscope.engine.serving.spill import Spill

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

spill, expected, refused = Spill(), [], 0
for round_ in range(3):
    for size, has_room in ((1000, True), (100_000, True), (1000, False), (100_000, False), (1000, True), (100_000, True)):
        for letter in b"ab":
            frame = bytes([letter + 2 * round_]) * size
            limit(resource.RLIM_INFINITY if has_room else spill._end + 500)
            try:
                spill.put(frame)
                expected.append(frame)
            except OSError:
                refused += 1
                assert spill.take() == expected.pop(0)
print(f"{refused} refused, {len(expected)} left")
assert [spill.take() for _ in range(len(spill))] == expected
"""


@pytest.mark.parametrize("size", [1000, 100_000])
def test_a_frame_that_cannot_be_read_takes_no_other_with_it(size: int) -> None:
    spill = Spill()
    for letter in b"abc":
        spill.put(bytes([letter]) * size)
    assert spill._file is not None
    whole, spill._file = spill._file, _Unreadable(spill._file.fileno(), closefd=False)
    with pytest.raises(OSError, match="Input/output"):
        spill.take()
    spill._file = whole
    assert spill.take() == b"b" * size
    whole.truncate(2 * size + 1)
    with pytest.raises(OSError, match=f"{size} bytes were written, 1 can be read"):
        spill.take()
    spill.put(b"d")
    assert spill.take() == b"d" and not spill
    spill.close()


class _Unreadable(io.FileIO):
    def read(self, size: int | None = -1, /) -> bytes:
        raise OSError(errno.EIO, "Input/output error")


def test_of_what_cannot_be_read_again_only_reports_are_lost(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, app = ends
    monkeypatch.setattr(outbox_module, "MAX_WAITING_BYTES", 1024 * 1024)

    def lose(spill: Spill) -> bytes:
        spill._lengths.popleft()
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Spill, "take", lose)
    outbox = Outbox(engine, on_failure=print)
    sent = fill(outbox, 300, 400)
    assert len(outbox._spill) > 5 and outbox._waiting_bytes < 2 * 1024 * 1024
    received = receive(app, Done, Skipped)
    left_out = sum(message.reports for message in received if isinstance(message, Skipped))
    assert left_out > 5 and len(reports_of(received)) + left_out == len(sent)
    assert any(isinstance(message, Note) for message in received)
    outbox.close()
