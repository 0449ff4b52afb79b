"""The client against engines that misbehave in every way that we could think of."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from gradscope.client.engine_client import EngineClient
from gradscope.protocol import messages as m
from gradscope.state.engine import EngineState, EngineStatus

FakeEngine = Callable[[str], str]


class Heard:
    """A client, and everything it said."""

    def __init__(self) -> None:
        self.client = EngineClient()
        self.states: list[EngineState] = []
        self.messages: list[object] = []
        self.output: list[str] = []
        self.client.state_changed.connect(self.states.append)
        self.client.message_received.connect(self.messages.append)
        self.client.output_received.connect(lambda text, source: self.output.append(text))

    @property
    def status(self) -> EngineStatus:
        return self.client.state.status


@pytest.fixture
def heard(qtbot: QtBot) -> Iterator[Heard]:
    heard = Heard()
    yield heard
    heard.client.shut_down()


def _until(qtbot: QtBot, heard: Heard, status: EngineStatus, timeout_secs: float = 15) -> None:
    qtbot.waitUntil(lambda: heard.status is status, timeout=int(timeout_secs * 1000))


def test_a_good_engine_becomes_ready_and_answers(qtbot: QtBot, heard: Heard, fake_engine: FakeEngine) -> None:
    heard.client.start(
        fake_engine("""
        c = connect(); c.sendall(hello())
        for frame in frames(c):
            if isinstance(frame.message, m.Welcome):
                ready(c)
            else:
                c.sendall(encode(m.Note(text="before")) + encode(m.Pong(), number=frame.number))
        """)
    )
    _until(qtbot, heard, EngineStatus.READY)
    replies: list[object] = []
    heard.client.request(m.Watch(subjects=()), on_reply=replies.append)
    qtbot.waitUntil(lambda: bool(replies))
    assert replies == [m.Pong()]
    assert heard.messages[-2:] == [m.Note(text="before"), m.Pong()]


def test_strangers_are_dropped_and_the_engine_still_comes_in(
    qtbot: QtBot, heard: Heard, fake_engine: FakeEngine
) -> None:
    heard.client.start(
        fake_engine("""
        for data in (hello(token="wrong"), b"GET / HTTP/1.1\\r\\n\\r\\n", b"\\0" * 100_000):
            stranger = connect(); stranger.sendall(data)
            try:
                assert stranger.recv(1) == b""
            except ConnectionError:
                pass
        c = connect(); c.sendall(hello())
        for frame in frames(c):
            ready(c)
        """)
    )
    _until(qtbot, heard, EngineStatus.READY)


@pytest.mark.parametrize("change", ["protocol_version=99", "gradscope_version='9.9'"])
def test_a_version_mismatch_says_how_to_fix_it(
    qtbot: QtBot, heard: Heard, fake_engine: FakeEngine, change: str
) -> None:
    heard.client.start(
        fake_engine(f"""
        c = connect(); c.sendall(hello({change}))
        for frame in frames(c):
            assert isinstance(frame.message, m.Refused); sys.exit(3)
        """)
    )
    _until(qtbot, heard, EngineStatus.DEAD)
    assert "pip install gradscope-debugger==" in heard.client.state.text
    assert sys.executable in heard.client.state.text


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ("os._exit(7)", "exit code 7"),
        ("os._exit(0)", "has ended"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("faulthandler.disable(); ctypes.string_at(0)", "SIGSEGV"),
        ("os.abort()", "SIGABRT"),
        ("print('last words', file=sys.stderr); sys.exit(1)", "last words"),
        ("c.sendall(b'\\0' * 64); time.sleep(60)", "does not understand"),
    ],
)
def test_every_death_is_told_in_words(
    qtbot: QtBot, heard: Heard, fake_engine: FakeEngine, ending: str, said: str
) -> None:
    heard.client.start(
        fake_engine(f"""
        c = connect(); c.sendall(hello())
        for frame in frames(c):
            if isinstance(frame.message, m.Welcome):
                ready(c)
            else:
                {ending}
        """)
    )
    _until(qtbot, heard, EngineStatus.READY)
    heard.client.request(m.Watch(subjects=()))
    _until(qtbot, heard, EngineStatus.DEAD)
    assert said in heard.client.state.text


def test_an_unfit_interpreter_says_what_is_missing(qtbot: QtBot, heard: Heard, fake_engine: FakeEngine) -> None:
    heard.client.start(
        fake_engine("""
        c = connect(); c.sendall(hello())
        for frame in frames(c):
            c.sendall(encode(m.EngineUnfit(reason="torch is missing"))); os._exit(3)
        """)
    )
    _until(qtbot, heard, EngineStatus.DEAD)
    assert heard.client.state.text == "torch is missing"


def test_an_interpreter_that_does_not_exist(qtbot: QtBot, heard: Heard) -> None:
    heard.client.start("/nowhere/python")
    _until(qtbot, heard, EngineStatus.DEAD)
    assert "cannot be started with /nowhere/python" in heard.client.state.text


def test_an_old_engines_replies_are_dropped_after_a_restart(
    qtbot: QtBot, heard: Heard, fake_engine: FakeEngine
) -> None:
    python = fake_engine("""
        c = connect(); c.sendall(hello())
        for frame in frames(c):
            if isinstance(frame.message, m.Welcome):
                ready(c)
        """)
    heard.client.start(python)
    _until(qtbot, heard, EngineStatus.READY)
    replies: list[object] = []
    heard.client.request(m.Watch(subjects=()), on_reply=replies.append)
    first = heard.client.pid
    heard.client.restart()
    _until(qtbot, heard, EngineStatus.READY)
    assert heard.client.pid not in (0, first)
    qtbot.waitUntil(lambda: not _is_alive(first), timeout=8000)
    assert replies == []
    assert all(state.status is not EngineStatus.DEAD for state in heard.states), "a wanted end is no death"


def test_a_flood_of_output_does_not_hold_up_messages(qtbot: QtBot, heard: Heard, fake_engine: FakeEngine) -> None:
    heard.client.start(
        fake_engine("""
        c = connect(); c.sendall(hello())
        for frame in frames(c):
            if isinstance(frame.message, m.Welcome):
                ready(c)
            else:
                for i in range(20000): print("flood é", i)
                c.sendall(encode(m.Pong(), number=frame.number))
        """)
    )
    _until(qtbot, heard, EngineStatus.READY)
    replies: list[object] = []
    heard.client.request(m.Watch(subjects=()), on_reply=replies.append)
    qtbot.waitUntil(lambda: bool(replies) and "flood é 19999" in "".join(heard.output[-50:]), timeout=15000)
    assert "".join(heard.output).count("\n") == 20000


def test_shut_down_ends_an_engine_that_does_not_listen(qtbot: QtBot, heard: Heard, fake_engine: FakeEngine) -> None:
    heard.client.start(
        fake_engine("""
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, signal.SIG_IGN)
        child = os.fork()
        c = connect() if child else None
        if child:
            print("child", child, flush=True); c.sendall(hello())
            for frame in frames(c):
                if isinstance(frame.message, m.Welcome): ready(c)
        time.sleep(600)
        """)
    )
    _until(qtbot, heard, EngineStatus.READY)
    qtbot.waitUntil(lambda: "child" in "".join(heard.output))
    child = int("".join(heard.output).split()[1])
    pid = heard.client.pid
    heard.client.shut_down()
    qtbot.waitUntil(lambda: not _is_alive(pid) and not _is_alive(child), timeout=5000)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_last_words_before_a_death_are_heard(qtbot: QtBot, heard: Heard, fake_engine: FakeEngine) -> None:
    heard.client.start(
        fake_engine("""
        c = connect(); c.sendall(hello())
        for frame in frames(c):
            if isinstance(frame.message, m.Welcome):
                ready(c)
            else:
                c.sendall(b"".join(encode(m.Note(text=str(i))) for i in range(2000))); os._exit(1)
        """)
    )
    _until(qtbot, heard, EngineStatus.READY)
    heard.client.request(m.Watch(subjects=()))
    _until(qtbot, heard, EngineStatus.DEAD)
    assert heard.messages[-1] == m.Note(text="1999")


def test_silence_is_told_and_taken_back(qtbot: QtBot, heard: Heard, fake_engine: FakeEngine, tmp_path: Path) -> None:
    goes_on = tmp_path / "goes on"
    heard.client.start(
        fake_engine(f"""
        c = connect(); c.sendall(hello())
        for frame in frames(c):
            if isinstance(frame.message, m.Welcome):
                ready(c)
            elif isinstance(frame.message, m.Watch):
                while not os.path.exists({str(goes_on)!r}): time.sleep(0.01)
                c.sendall(encode(m.Pong(), number=frame.number))
        """)
    )
    _until(qtbot, heard, EngineStatus.READY)
    assert heard.client.state.text == ""
    heard.client._pings.setInterval(50)
    heard.client.request(m.Watch(subjects=()))
    qtbot.waitUntil(lambda: "has not answered" in heard.client.state.text)
    assert heard.status is EngineStatus.READY
    goes_on.touch()
    qtbot.waitUntil(lambda: heard.client.state.text == "")
    qtbot.waitUntil(lambda: not heard.client._pings.isActive())


def test_another_session_makes_what_was_asked_of_the_old_one_void(
    qtbot: QtBot, heard: Heard, fake_engine: FakeEngine
) -> None:
    heard.client.start(
        fake_engine("""
        from gradscope.protocol.phases import Position
        session = m.SessionInfo(name="n", description="", path="p", sha256="", seed=0, device="cpu", modules=(),
                                parameters=(), groups=(), optimizer="", scheduler=None, loss="", scheduler_unit="step",
                                batches_per_epoch=None)
        c = connect(); c.sendall(hello())
        asked = []
        for frame in frames(c):
            if isinstance(frame.message, m.Welcome):
                ready(c)
            elif isinstance(frame.message, m.Open):
                c.sendall(encode(m.Opened(session=session, position=Position()), number=frame.number))
                for number in asked:
                    c.sendall(encode(m.Pong(), number=number))
                c.sendall(encode(m.Note(text="end")))
            else:
                asked.append(frame.number)
        """)
    )
    _until(qtbot, heard, EngineStatus.READY)
    replies: list[object] = []
    heard.client.request(m.Watch(subjects=()), on_reply=replies.append)
    heard.client.request(m.Open(path="p"), on_reply=replies.append)
    qtbot.waitUntil(lambda: m.Note(text="end") in heard.messages)
    assert [type(reply) for reply in replies] == [m.Opened]
    assert m.Pong() not in heard.messages


def test_an_end_while_starting_is_not_blamed_on_the_user(qtbot: QtBot, heard: Heard, fake_engine: FakeEngine) -> None:
    heard.client.start(fake_engine("print('no libfoo.so', file=sys.stderr); sys.exit(1)"))
    _until(qtbot, heard, EngineStatus.DEAD)
    first = heard.client.state.text.splitlines()[0]
    expected = "The engine has ended while it was starting, with exit code 1. Last error output: no libfoo.so"
    assert first == expected


def test_requests_without_an_engine_are_dropped(qtbot: QtBot, heard: Heard) -> None:
    replies: list[object] = []
    heard.client.request(m.Watch(subjects=()), on_reply=replies.append)
    heard.client.send(m.Pause())
    heard.client.shut_down()
    heard.client.shut_down()
    assert replies == []
    assert heard.states == []


def test_impatient_restarts_leave_one_engine(qtbot: QtBot, heard: Heard, fake_engine: FakeEngine) -> None:
    python = fake_engine("""
        c = connect(); c.sendall(hello())
        for frame in frames(c):
            if isinstance(frame.message, m.Welcome):
                print("pid", os.getpid()); ready(c)
        """)
    heard.client.start(python)
    for _ in range(4):
        heard.client.restart()
        qtbot.wait(30)
    _until(qtbot, heard, EngineStatus.READY)
    qtbot.waitUntil(lambda: not heard.client._retired, timeout=8000)
    pids = [int(line.split()[1]) for line in "".join(heard.output).splitlines() if line.startswith("pid")]
    assert [pid for pid in pids if _is_alive(pid)] == [heard.client.pid]
    assert all(state.status is not EngineStatus.DEAD for state in heard.states)


def test_controls_and_requests_are_numbered_in_one_row(qtbot: QtBot, heard: Heard, fake_engine: FakeEngine) -> None:
    """The engine tells by the numbers whether a Pause is meant for the Go before it."""
    heard.client.start(
        fake_engine("""
        c = connect(); c.sendall(hello())
        for frame in frames(c):
            if isinstance(frame.message, m.Welcome):
                ready(c)
            else:
                c.sendall(encode(m.Note(text=f"{type(frame.message).__name__} {frame.number}")))
        """)
    )
    _until(qtbot, heard, EngineStatus.READY)
    first = heard.client.request(m.Watch(subjects=()))
    heard.client.send(m.Pause())
    third = heard.client.request(m.Watch(subjects=()))
    qtbot.waitUntil(lambda: sum(isinstance(message, m.Note) for message in heard.messages) == 3)
    said = [message.text for message in heard.messages if isinstance(message, m.Note)]
    assert said == [f"Watch {first}", f"Pause {first + 1}", f"Watch {third}"]
    assert third == first + 2


STUBBORN = """
    c = connect(); c.sendall(hello())
    asked = 0
    for frame in frames(c):
        if isinstance(frame.message, m.Welcome):
            ready(c)
        elif isinstance(frame.message, m.Watch):
            asked = frame.number
        elif isinstance(frame.message, m.Interrupt):
            {heard}
        elif isinstance(frame.message, m.Pause):
            c.sendall(encode(m.Pong(), number=asked))
    """


@pytest.mark.parametrize(
    ("heard_by_engine", "said"),
    [("c.sendall(encode(m.Pong(), number=frame.number))", "has heard it"), ("pass", "has not heard it")],
)
def test_an_interrupt_without_effect_is_told_until_it_has_one(
    qtbot: QtBot,
    heard: Heard,
    fake_engine: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
    heard_by_engine: str,
    said: str,
) -> None:
    monkeypatch.setattr("gradscope.client.engine_client.INTERRUPT_SECS", 0.3)
    heard.client.start(fake_engine(STUBBORN.format(heard=heard_by_engine)))
    _until(qtbot, heard, EngineStatus.READY)
    heard.client.send(m.Interrupt())
    qtbot.wait(500)
    assert heard.client.state.resistance == "", "there was nothing to interrupt"
    heard.client.request(m.Watch(subjects=()))
    heard.client.send(m.Interrupt())
    qtbot.waitUntil(lambda: said in heard.client.state.resistance)
    heard.client.send(m.Pause())
    qtbot.waitUntil(lambda: heard.client.state.resistance == "")
    assert heard.status is EngineStatus.READY


def test_a_pause_without_effect_is_told_until_it_has_one(
    qtbot: QtBot, heard: Heard, fake_engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradscope.client.engine_client.PAUSE_SECS", 0.2)
    # An Interrupt has an effect here, and a Pause has none.
    heard.client.start(
        fake_engine(STUBBORN.format(heard="c.sendall(encode(m.Pong(), number=asked))").replace("m.Pause", "m.Ping"))
    )
    _until(qtbot, heard, EngineStatus.READY)
    heard.client.send(m.Pause())
    qtbot.wait(300)
    assert heard.client.state.pause_ignored == "", "there was nothing to pause"
    heard.client.request(m.Watch(subjects=()))
    heard.client.send(m.Pause())
    qtbot.waitUntil(lambda: "has not answered Pause" in heard.client.state.pause_ignored)
    assert heard.client.state.resistance == ""
    heard.client.send(m.Interrupt())
    assert heard.client.state.pause_ignored == "", "it has been done what was offered"
    qtbot.wait(300)
    assert heard.client.state.pause_ignored == ""
    assert heard.status is EngineStatus.READY


def test_an_engine_that_is_ended_on_purpose_is_dead(qtbot: QtBot, heard: Heard, fake_engine: FakeEngine) -> None:
    heard.client.start(fake_engine(STUBBORN.format(heard="pass")))
    _until(qtbot, heard, EngineStatus.READY)
    pid = heard.client.pid
    heard.client.end()
    _until(qtbot, heard, EngineStatus.DEAD)
    assert heard.client.state.text == "The engine was ended, as you wished"
    assert not _is_alive(pid)
