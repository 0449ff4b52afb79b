"""An engine that is started for a script: real processes without torch."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from gradscope.client import spare as spare_module
from gradscope.client.engine_client import EngineClient
from gradscope.protocol import messages as m
from gradscope.protocol.codec import from_json
from gradscope.protocol.scripts import Script, ScriptKind
from gradscope.state.engine import EngineState, EngineStatus

FakeEngine = Callable[[str], str]

GOOD = """
    print("begun by", os.getpid(), "in", os.getcwd(), flush=True)
    c = connect(); c.sendall(hello())
    for frame in frames(c):
        if isinstance(frame.message, m.Welcome):
            c.sendall(encode(m.Note(text=os.environ.get("GRADSCOPE_SCRIPT", "none"))))
            ready(c)
    """


class Heard:
    def __init__(self) -> None:
        self.client = EngineClient()
        self.states: list[EngineState] = []
        self.notes: list[str] = []
        self.output = ""
        self.client.state_changed.connect(self.states.append)
        self.client.message_received.connect(self._on_message)
        self.client.output_received.connect(self._on_output)

    def _on_message(self, message: object) -> None:
        if isinstance(message, m.Note):
            self.notes.append(message.text)

    def _on_output(self, text: str, _source: object) -> None:
        self.output += text

    @property
    def status(self) -> EngineStatus:
        return self.client.state.status


@pytest.fixture
def heard(qtbot: QtBot) -> Iterator[Heard]:
    heard = Heard()
    yield heard
    heard.client.shut_down()


def script_in(folder: Path, *arguments: str) -> Script:
    return Script(kind=ScriptKind.FILE, name="train.py", arguments=arguments, folder=str(folder))


def until(qtbot: QtBot, heard: Heard, status: EngineStatus) -> None:
    qtbot.waitUntil(lambda: heard.status is status, timeout=20_000)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_is_told_which_script_and_starts_in_its_folder(
    qtbot: QtBot, heard: Heard, fake_engine: FakeEngine, tmp_path: Path
) -> None:
    folder = tmp_path / "with spaces, é"
    folder.mkdir()
    script = script_in(folder, "--name", "first try", "漢字", "\udcff", "")
    heard.client.start(fake_engine(GOOD), script)
    assert heard.client.state.script == script
    until(qtbot, heard, EngineStatus.READY)
    assert from_json(Script, json.loads(heard.notes[0]), [], "script") == script
    qtbot.waitUntil(lambda: f"in {folder.resolve()}" in heard.output, timeout=5000)
    assert [state.script for state in heard.states] == [script] * len(heard.states)
    assert "The script is running" in [state.text for state in heard.states]
    heard.client.restart()
    assert heard.client.state.script is None, "a restart runs none of the user's code"
    until(qtbot, heard, EngineStatus.READY)
    assert heard.notes[-1] == "none"


def test_it_is_never_the_spare_and_has_none(
    qtbot: QtBot, heard: Heard, fake_engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spare_module, "DELAY_SECS", 0.05)
    python = fake_engine(GOOD)
    heard.client.spare.want(True)
    heard.client.start(python)
    until(qtbot, heard, EngineStatus.READY)
    qtbot.waitUntil(lambda: heard.client.spare.is_waiting, timeout=15_000)
    spare = heard.client.spare.pid
    heard.client.start(python, script_in(tmp_path))
    until(qtbot, heard, EngineStatus.READY)
    assert heard.client.pid not in (0, spare)
    assert heard.client.spare.pid == spare, "it stays, for a recipe"
    heard.client.start(python)
    until(qtbot, heard, EngineStatus.READY)
    assert heard.client.pid == spare


def test_it_begins_when_the_engine_before_has_ended(
    qtbot: QtBot, heard: Heard, fake_engine: FakeEngine, tmp_path: Path
) -> None:
    lock = tmp_path / "lock"
    python = fake_engine(f"""
        lock = {str(lock)!r}
        print("free" if not os.path.exists(lock) else "held by another", flush=True)
        open(lock, "w").close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        c = connect(); c.sendall(hello())
        for frame in frames(c):
            if isinstance(frame.message, m.Welcome):
                ready(c)
        time.sleep(0.5)
        print("the last words of the one before", flush=True)
        os.remove(lock)
        """)
    heard.client.start(python, script_in(tmp_path))
    until(qtbot, heard, EngineStatus.READY)
    first = heard.client.pid
    heard.client.start(python, script_in(tmp_path, "again"))
    assert heard.client.state.text == "Waiting for the engine before to end"
    assert heard.client.pid == 0
    until(qtbot, heard, EngineStatus.READY)
    assert not is_alive(first)
    assert heard.output == "free\nfree\n", "and what it had printed at last is not taken for the next one's"
    assert heard.client.state.script == script_in(tmp_path, "again")


def test_what_waits_can_be_ended_and_begun_again(
    qtbot: QtBot, heard: Heard, fake_engine: FakeEngine, tmp_path: Path
) -> None:
    python = fake_engine(GOOD + "\n    time.sleep(0.5)\n")
    heard.client.start(python, script_in(tmp_path))
    until(qtbot, heard, EngineStatus.READY)
    heard.client.start(python, script_in(tmp_path, "second"))
    heard.client.end()
    assert (heard.status, heard.client.pid) == (EngineStatus.DEAD, 0)
    assert heard.client.state.text == "The engine was ended, as you wished"
    heard.client.start(python, script_in(tmp_path, "third"))
    until(qtbot, heard, EngineStatus.READY)
    begun = [json.loads(note)["arguments"] for note in heard.notes]
    assert begun == [[], ["third"]]


def test_it_can_be_ended_before_it_has_come_to_torch(
    qtbot: QtBot, heard: Heard, fake_engine: FakeEngine, tmp_path: Path
) -> None:
    heard.client.start(
        fake_engine("""
        c = connect(); c.sendall(hello())
        next(frames(c))
        print("loading", flush=True)
        time.sleep(600)
        """),
        script_in(tmp_path),
    )
    qtbot.waitUntil(lambda: "loading" in heard.output, timeout=15_000)
    assert heard.status is EngineStatus.STARTING
    began = time.monotonic()
    heard.client.end()
    until(qtbot, heard, EngineStatus.DEAD)
    assert time.monotonic() - began < 10
    assert heard.client.state.text == "The engine was ended, as you wished"


@pytest.mark.parametrize("is_ready", [False, True])
def test_a_script_that_ends_its_process_is_told_of_as_such(
    qtbot: QtBot, heard: Heard, fake_engine: FakeEngine, tmp_path: Path, is_ready: bool
) -> None:
    heard.client.start(
        fake_engine(f"""
        c = connect(); c.sendall(hello())
        next(frames(c))
        if {is_ready}:
            ready(c); time.sleep(0.3)
        os._exit(7)
        """),
        script_in(tmp_path),
    )
    until(qtbot, heard, EngineStatus.DEAD)
    sentence = "The process of the script has ended with exit code 7, and its values are gone with it"
    assert heard.client.state.text == sentence


def test_an_interpreter_without_torch_is_not_the_script_s_fault(
    qtbot: QtBot, heard: Heard, fake_engine: FakeEngine, tmp_path: Path
) -> None:
    heard.client.start(fake_engine("sys.exit('gradscope engine: no numpy here')"), script_in(tmp_path))
    until(qtbot, heard, EngineStatus.DEAD)
    assert heard.client.state.text == "no numpy here"


def test_a_folder_that_is_gone_is_named(qtbot: QtBot, heard: Heard, fake_engine: FakeEngine, tmp_path: Path) -> None:
    heard.client.start(fake_engine(GOOD), script_in(tmp_path / "gone"))
    until(qtbot, heard, EngineStatus.DEAD)
    assert heard.client.state.text == f"The working directory {tmp_path / 'gone'} does not exist"
    heard.client.start(fake_engine(GOOD), script_in(tmp_path))
    until(qtbot, heard, EngineStatus.READY)
