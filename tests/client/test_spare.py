"""The engine in reserve: unseen until it is taken, gone with the app. Real processes without torch."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from gradscope.client import spare as spare_module
from gradscope.client.engine_client import EngineClient
from gradscope.state.engine import EngineState, EngineStatus
from gradscope.ui.actions import spare_keeper
from gradscope.ui.actions.spare_keeper import SpareKeeper
from gradscope.ui.look.settings import Setting, Settings

FakeEngine = Callable[[str], str]

GOOD = """
    in_reserve = os.environ.get("GRADSCOPE_RESERVE") == "1"
    print("printed by", os.getpid(), flush=True)
    c = connect(); c.sendall(hello())
    for frame in frames(c):
        if isinstance(frame.message, m.Welcome):
            ready(c)
    """


@pytest.fixture
def client(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineClient]:
    monkeypatch.setattr(spare_module, "DELAY_SECS", 0.05)
    client = EngineClient()
    client.spare.want(True)
    yield client
    client.shut_down()


def start(qtbot: QtBot, client: EngineClient, python: str) -> int:
    """Returns the engine's process id, once it is ready."""
    client.start(python)
    qtbot.waitUntil(lambda: client.state.status is EngineStatus.READY, timeout=15_000)
    return client.pid


def wait_for_spare(qtbot: QtBot, client: EngineClient) -> int:
    qtbot.waitUntil(lambda: client.spare.is_waiting, timeout=15_000)
    return client.spare.pid


def wait_until_gone(qtbot: QtBot, pid: int) -> None:
    qtbot.waitUntil(lambda: not _is_alive(pid), timeout=10_000)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_takes_the_place_of_an_engine_that_was_killed(
    qtbot: QtBot, client: EngineClient, fake_engine: FakeEngine
) -> None:
    output: list[str] = []
    states: list[EngineState] = []
    client.output_received.connect(lambda text, source: output.append(text))
    client.state_changed.connect(states.append)
    first = start(qtbot, client, fake_engine(GOOD))
    spare = wait_for_spare(qtbot, client)
    qtbot.wait(100)
    assert client.pid == first and spare not in (0, first)
    assert f"printed by {spare}" not in "".join(output), "it is nobody's engine yet"
    assert states[-1].status is EngineStatus.READY
    os.kill(first, signal.SIGKILL)
    qtbot.waitUntil(lambda: client.state.status is EngineStatus.DEAD)
    client.restart()
    qtbot.waitUntil(lambda: client.state.status is EngineStatus.READY)
    assert client.pid == spare
    assert f"printed by {spare}" in "".join(output)
    assert wait_for_spare(qtbot, client) != spare, "another one is in reserve"


def test_one_that_is_not_far_enough_is_a_start_all_the_same(
    qtbot: QtBot, client: EngineClient, fake_engine: FakeEngine, tmp_path: Path
) -> None:
    goes_on = tmp_path / "goes on"
    held_up = f"while in_reserve and not os.path.exists({str(goes_on)!r}): time.sleep(0.01)\n    c = connect()"
    start(qtbot, client, fake_engine(GOOD.replace("c = connect()", held_up)))
    qtbot.waitUntil(lambda: client.spare.pid != 0)
    spare = client.spare.pid
    assert not client.spare.is_waiting
    client.start("")
    goes_on.touch()
    qtbot.waitUntil(lambda: client.state.status is EngineStatus.READY)
    assert client.pid == spare


def test_it_ends_with_the_app(qtbot: QtBot, client: EngineClient, fake_engine: FakeEngine) -> None:
    start(qtbot, client, fake_engine(GOOD))
    spare = wait_for_spare(qtbot, client)
    client.shut_down()
    assert not _is_alive(spare)
    assert client.spare.pid == 0


def test_another_interpreter_has_another_spare(
    qtbot: QtBot, client: EngineClient, fake_engine: FakeEngine, tmp_path: Path
) -> None:
    python = fake_engine(GOOD)
    start(qtbot, client, python)
    spare = wait_for_spare(qtbot, client)
    other = tmp_path / "python"
    # Not a link: from Python 3.13 on, one that lies outside of its environment does not find that.
    other.write_text(f'#!/bin/sh\nexec "{python}" "$@"\n', encoding="utf-8")
    other.chmod(0o700)
    assert start(qtbot, client, str(other)) != spare
    wait_until_gone(qtbot, spare)
    assert wait_for_spare(qtbot, client) != spare


def test_one_that_dies_is_replaced_but_not_for_ever(
    qtbot: QtBot, client: EngineClient, fake_engine: FakeEngine
) -> None:
    start(qtbot, client, fake_engine(GOOD))
    pids = set()
    for _ in range(spare_module.MAX_DEATHS):
        pids.add(wait_for_spare(qtbot, client))
        os.kill(client.spare.pid, signal.SIGKILL)
        qtbot.waitUntil(lambda: not client.spare.is_waiting)
    qtbot.wait(300)
    assert len(pids) == spare_module.MAX_DEATHS
    assert client.spare.pid == 0
    assert client.state.status is EngineStatus.READY


@pytest.mark.parametrize("end", ["sys.exit(3)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_one_that_is_of_no_use_any_more_is_not_seen(
    qtbot: QtBot, client: EngineClient, fake_engine: FakeEngine, end: str
) -> None:
    states: list[EngineState] = []
    client.state_changed.connect(states.append)
    start(qtbot, client, fake_engine(GOOD.replace("ready(c)", f"{end} if in_reserve else ready(c)")))
    spare = wait_for_spare(qtbot, client)
    assert start(qtbot, client, "") != spare
    assert all(state.status is not EngineStatus.DEAD for state in states)


def test_it_waits_while_the_engine_is_at_work(qtbot: QtBot, client: EngineClient, fake_engine: FakeEngine) -> None:
    python = fake_engine(GOOD)
    busy = True
    client.spare._is_busy = lambda: busy
    start(qtbot, client, python)
    qtbot.wait(200)
    assert client.spare.pid == 0
    busy = False
    wait_for_spare(qtbot, client)


@pytest.mark.parametrize("memory", [None, 8_000_000_000, 3_900_000_000])
def test_the_setting_and_the_memory_decide(
    qtbot: QtBot,
    client: EngineClient,
    fake_engine: FakeEngine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    memory: int | None,
) -> None:
    monkeypatch.setattr(spare_keeper, "memory_bytes", lambda: memory)
    settings = Settings(tmp_path / "settings.ini")
    client.spare.want(False)
    SpareKeeper(client.spare, settings, client)
    start(qtbot, client, fake_engine(GOOD))
    if memory is not None and memory < 4_000_000_000:
        qtbot.wait(300)
        assert client.spare.pid == 0
        return
    spare = wait_for_spare(qtbot, client)
    settings.set(Setting.SPARE_ENGINE, False)
    wait_until_gone(qtbot, spare)
    settings.set(Setting.SPARE_ENGINE, True)
    wait_for_spare(qtbot, client)
