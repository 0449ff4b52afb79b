"""The border: who is let in, and what comes of everybody else. Raw sockets play the engine."""

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from PySide6.QtCore import QTimer
from pytestqt.qtbot import QtBot

from gradscope.client.link import Link
from gradscope.protocol import messages as m
from gradscope.protocol.codec import Decoder, Frame, decode, encode
from gradscope.protocol.phases import Position
from gradscope.state.ahead import OpenedWithTree
from gradscope.state.app_state import AppState
from tests.session_info import session_info

Connect = Callable[[], socket.socket]


def _hello(token: str) -> m.Hello:
    return m.Hello(
        token=token, protocol_version=1, gradscope_version="0", python_version="3", executable="python", pid=1
    )


class Heard:
    def __init__(self, link: Link) -> None:
        self.hellos: list[m.Hello] = []
        self.frames: list[Frame] = []
        self.broken: list[str] = []
        link.hello.connect(self.hellos.append)
        link.received.connect(self.frames.append)
        link.broken.connect(self.broken.append)


@pytest.fixture
def link(qtbot: QtBot) -> Iterator[Link]:
    link = Link()
    yield link
    link.close()


@pytest.fixture
def heard(link: Link) -> Heard:
    return Heard(link)


@pytest.fixture
def connect(link: Link) -> Iterator[Connect]:
    opened: list[socket.socket] = []

    def make() -> socket.socket:
        opened.append(socket.create_connection(("127.0.0.1", link.port)))
        opened[-1].setblocking(False)
        return opened[-1]

    yield make
    for connection in opened:
        connection.close()


@pytest.fixture
def come_in(qtbot: QtBot, link: Link, heard: Heard, connect: Connect) -> Connect:
    """Connect as the engine does, and be let in."""

    def let_in() -> socket.socket:
        connection = connect()
        connection.sendall(encode(_hello(link.token)))
        qtbot.waitUntil(lambda: bool(heard.hellos))
        return connection

    return let_in


def _is_dropped(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def _raw(header: dict[str, object]) -> bytes:
    data = json.dumps(header).encode()
    return struct.pack(">II", 4 + len(data), len(data)) + data


def _strangers() -> dict[str, bytes]:
    hello = {"token": "\ud800", "protocol_version": 1, "gradscope_version": "", "python_version": "", "executable": ""}
    return {
        "wrong token": encode(_hello("wrong")),
        "empty token": encode(_hello("")),
        "half a surrogate pair": _raw({"type": "Hello", "number": 0, "body": {**hello, "pid": 1}, "buffers": []}),
        "no Hello first": encode(m.Pong()),
        "a browser": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "a flood": b"\x00\x10\x00\x00" + b"x" * 100_000,
    }


@pytest.mark.parametrize("data", _strangers().values(), ids=_strangers().keys())
def test_a_stranger_is_dropped_and_the_engine_comes_in(
    qtbot: QtBot, link: Link, heard: Heard, connect: Connect, data: bytes
) -> None:
    stranger = connect()
    stranger.sendall(data)
    qtbot.waitUntil(lambda: _is_dropped(stranger))
    assert heard.hellos == []
    connect().sendall(encode(_hello(link.token)))
    qtbot.waitUntil(lambda: bool(heard.hellos))
    assert link.is_connected


def test_a_silent_stranger_is_dropped(
    qtbot: QtBot, link: Link, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradscope.client.candidate.HELLO_TIMEOUT_SECS", 0.05)
    stranger = connect()
    qtbot.waitUntil(lambda: _is_dropped(stranger))
    assert not link.is_connected


def test_silent_strangers_do_not_keep_the_engine_out(qtbot: QtBot, link: Link, heard: Heard, connect: Connect) -> None:
    waiting = [connect() for _ in range(5)]
    connect().sendall(encode(_hello(link.token)))
    qtbot.waitUntil(lambda: bool(heard.hellos))
    qtbot.waitUntil(lambda: all(_is_dropped(stranger) for stranger in waiting))


def test_many_strangers_do_not_keep_the_engine_out(
    qtbot: QtBot, link: Link, heard: Heard, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradscope.client.link.MAX_CANDIDATES", 20)
    waiting = []
    for i in range(300):
        waiting.append(connect())
        if i % 10 == 0:
            qtbot.wait(1)
    qtbot.waitUntil(lambda: sum(map(_is_dropped, waiting)) >= 280)
    assert not all(map(_is_dropped, waiting)), "the newest may still prove themselves"
    connect().sendall(encode(_hello(link.token)))
    qtbot.waitUntil(lambda: bool(heard.hellos))


def test_a_stranger_that_sends_without_end_takes_no_memory(
    qtbot: QtBot, link: Link, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    feed = Decoder.feed

    def measured(decoder: Decoder, data: bytes) -> Iterator[Frame]:
        sizes.append(len(data))
        return feed(decoder, data)

    monkeypatch.setattr(Decoder, "feed", measured)
    stranger, sent = connect(), 0
    stranger.sendall(b"\x00\xff\xff\xff")

    def is_dropped() -> bool:
        nonlocal sent
        try:
            sent += stranger.send(b"x" * 65536)
        except BlockingIOError:
            return False
        except ConnectionError:
            return True
        return False

    qtbot.waitUntil(is_dropped)
    assert sent < 2**26
    assert sum(sizes) < 5000


def test_a_byte_now_and_then_is_as_good_as_silence(
    qtbot: QtBot, link: Link, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradscope.client.candidate.HELLO_TIMEOUT_SECS", 0.3)
    stranger = connect()
    data = iter(encode(_hello(link.token)))

    def is_dropped() -> bool:
        with contextlib.suppress(ConnectionError):
            stranger.send(bytes([next(data)]))
        return _is_dropped(stranger)

    qtbot.waitUntil(is_dropped)
    assert not link.is_connected


def test_the_token_lets_one_in(qtbot: QtBot, link: Link, heard: Heard, connect: Connect) -> None:
    both = [connect(), connect()]
    for connection in both:
        connection.sendall(encode(_hello(link.token)))
    qtbot.waitUntil(lambda: any(map(_is_dropped, both)))
    qtbot.wait(20)
    assert len(heard.hellos) == 1
    assert not all(map(_is_dropped, both))


def test_once_the_engine_is_in_nobody_else_is(qtbot: QtBot, link: Link, heard: Heard, connect: Connect) -> None:
    connect().sendall(encode(_hello(link.token)))
    qtbot.waitUntil(lambda: bool(heard.hellos))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", link.port or 1), timeout=1)
    assert len(heard.hellos) == 1


def test_a_hello_in_pieces_and_with_company(qtbot: QtBot, link: Link, heard: Heard, connect: Connect) -> None:
    data = encode(_hello(link.token)) + encode(m.Note(text="one")) + encode(m.Note(text="two"))
    connection = connect()
    connection.sendall(data[:3])
    qtbot.wait(20)
    connection.sendall(data[3:-5])
    qtbot.waitUntil(lambda: bool(heard.hellos))
    connection.sendall(data[-5:])
    qtbot.waitUntil(lambda: len(heard.frames) == 2)
    assert [frame.message for frame in heard.frames] == [m.Note(text="one"), m.Note(text="two")]


def test_garbage_from_the_engine_is_said_once_and_ends_it(
    qtbot: QtBot, link: Link, heard: Heard, come_in: Connect
) -> None:
    connection = come_in()
    connection.sendall(encode(m.Pong(), number=3) + b"\0" * 400)
    qtbot.waitUntil(lambda: bool(heard.broken))
    qtbot.waitUntil(lambda: _is_dropped(connection))
    assert [frame.number for frame in heard.frames] == [3], "what came before the garbage counts"
    assert len(heard.broken) == 1
    assert not link.is_connected


def test_what_is_sent_arrives(qtbot: QtBot, link: Link, heard: Heard, come_in: Connect) -> None:
    link.send(m.Ping())
    connection = come_in()
    link.send(m.Welcome(app_version="1"))
    link.send(m.Reset(), number=7)
    decoder, frames = Decoder(), list[Frame]()

    def receive() -> bool:
        try:
            frames.extend(decoder.feed(connection.recv(65536)))
        except BlockingIOError:
            return False
        return len(frames) == 2

    qtbot.waitUntil(receive)
    assert frames == [Frame(0, m.Welcome(app_version="1")), Frame(7, m.Reset())]


def test_a_burst_is_worked_off_in_slices_and_in_order(
    qtbot: QtBot, link: Link, heard: Heard, come_in: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it lies ready at once; that the event loop has its turns in between is up to the link."""
    monkeypatch.setattr("gradscope.client.link.SLICE_SECS", 0.005)
    connection = come_in()
    link.received.connect(lambda _: time.sleep(0.001))
    beats = [0]
    beat = QTimer()
    beat.timeout.connect(lambda: beats.append(len(heard.frames)))
    beat.start(0)
    connection.sendall(b"".join(encode(m.Pong(), number=i) for i in range(300)))
    qtbot.waitUntil(lambda: len(heard.frames) == 300, timeout=20_000)
    beat.stop()
    assert [frame.number for frame in heard.frames] == list(range(300))
    assert max(after - before for before, after in pairwise(beats)) <= 10


def test_closing_from_inside_a_slot_stops_the_stream(qtbot: QtBot, link: Link, connect: Connect) -> None:
    frames: list[Frame] = []

    def take(frame: Frame) -> None:
        frames.append(frame)
        link.close()

    link.received.connect(take)
    connect().sendall(encode(_hello(link.token)) + encode(m.Pong()) * 5)
    qtbot.waitUntil(lambda: bool(frames))
    qtbot.wait(30)
    assert len(frames) == 1


def test_drain_takes_in_what_had_been_sent(qtbot: QtBot, link: Link, heard: Heard, come_in: Connect) -> None:
    connection = come_in()
    connection.sendall(encode(m.Note(text="x" * 100)) * 300)
    connection.close()
    link.drain()
    assert len(heard.frames) == 300
    link.drain()


@pytest.fixture
def slow_decoding(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """Decoding takes a while, as for a large model; in which threads it was done."""
    threads: list[threading.Thread] = []

    def decode_slowly(payload: bytes) -> Frame:
        threads.append(threading.current_thread())
        time.sleep(0.2 if len(payload) > 50_000 else 0)
        return decode(payload)

    monkeypatch.setattr("gradscope.client.link.decode", decode_slowly)
    return threads


LARGE = m.DeviceLost(reason="x" * 60_000)
SMALL, LAST = m.Pong(), m.Note(text="last")


def test_a_large_message_is_decoded_elsewhere_and_keeps_its_place(
    qtbot: QtBot, link: Link, heard: Heard, come_in: Connect, slow_decoding: list[threading.Thread]
) -> None:
    connection = come_in()
    turns: list[int] = []
    beat = QTimer()
    beat.timeout.connect(lambda: turns.append(len(heard.frames)))
    beat.start(0)
    connection.sendall(b"".join(encode(message) for message in (SMALL, LARGE, SMALL, LAST)))
    qtbot.waitUntil(lambda: len(heard.frames) == 4)
    beat.stop()
    assert [type(frame.message) for frame in heard.frames] == [m.Pong, m.DeviceLost, m.Pong, m.Note]
    main = threading.main_thread()
    assert [thread is main for thread in slow_decoding] == [True, False, True, True]
    assert turns.count(1) > 5, "the event loop stood still while the second was decoded"


def test_drain_waits_for_what_is_decoded_elsewhere(
    qtbot: QtBot, link: Link, heard: Heard, come_in: Connect, slow_decoding: list[threading.Thread]
) -> None:
    connection = come_in()
    connection.sendall(encode(LARGE) + encode(LAST))
    qtbot.waitUntil(lambda: bool(slow_decoding))
    connection.close()
    link.drain()
    assert [type(frame.message) for frame in heard.frames] == [m.DeviceLost, m.Note]
    qtbot.wait(30)
    assert len(heard.frames) == 2


def test_closing_while_a_large_message_is_decoded(
    qtbot: QtBot, link: Link, heard: Heard, come_in: Connect, slow_decoding: list[threading.Thread]
) -> None:
    connection = come_in()
    connection.sendall(encode(LARGE) + encode(LAST))
    qtbot.waitUntil(lambda: bool(slow_decoding))
    link.close()
    qtbot.wait(30)
    assert not heard.frames and not heard.broken


def test_a_large_message_that_is_wrong_ends_it(qtbot: QtBot, link: Link, heard: Heard, come_in: Connect) -> None:
    connection = come_in()
    connection.sendall(_raw({"type": "Pong", "number": 0, "body": {"x" * 60_000: 1}, "buffers": []}))
    qtbot.waitUntil(lambda: bool(heard.broken))
    assert "Pong has no field" in heard.broken[0]


def test_the_tree_of_a_large_model_is_made_beside_the_window(
    link: Link, heard: Heard, come_in: Connect, qtbot: QtBot
) -> None:
    modules = tuple(m.ModuleInfo(name=f"layer{i}", type="Linear", description="") for i in range(2000))
    connection = come_in()
    connection.sendall(encode(m.Opened(session=session_info(modules=modules), position=Position()), number=3))
    qtbot.waitUntil(lambda: bool(heard.frames))
    (frame,) = heard.frames
    assert frame.number == 3 and isinstance(frame.message, OpenedWithTree)
    state = AppState()
    state.apply(frame.message)
    assert state.tree is frame.message.tree
    assert state.tree.rows.names == ["", *(module.name for module in modules)]
