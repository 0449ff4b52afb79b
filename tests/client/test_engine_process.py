"""One run of a process: its output in whole characters, its end in words, its children gone with it."""

import os
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

import gradscope
from gradscope.client import engine_process
from gradscope.client.engine_process import EngineProcess
from gradscope.engine.serving.guard import NICENESS
from gradscope.state.log import Source
from tests.patience import patient


class Run:
    def __init__(self, process: EngineProcess) -> None:
        self.process = process
        self.output: dict[Source, str] = {Source.STDOUT: "", Source.STDERR: ""}
        self.ended: list[str] = []
        process.output.connect(self._on_output)
        process.ended.connect(self.ended.append)

    def _on_output(self, text: str, source: Source) -> None:
        self.output[source] += text

    def printed_pid(self, qtbot: QtBot) -> int:
        qtbot.waitUntil(lambda: "\n" in self.output[Source.STDOUT])
        return int(self.output[Source.STDOUT].split()[0])


Start = Callable[..., Run]


@pytest.fixture
def start(qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    runs: list[Run] = []

    def make(body: str, *, is_ready: bool = True, **environment: str) -> Run:
        script = tmp_path / "script.py"
        script.write_text("import os, signal, subprocess, sys, time\n" + textwrap.dedent(body))
        monkeypatch.setattr(engine_process, "ENGINE_SCRIPT", script)
        runs.append(Run(EngineProcess()))
        runs[-1].process.start(sys.executable, environment)
        if is_ready:
            runs[-1].process.set_ready()
        return runs[-1]

    yield make
    for run in runs:
        run.process.kill_and_wait(0)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def niceness_of_session(pid: int) -> list[str]:
    """Empty where sessions share nothing out: the file is not there, or there is nothing in it, as in some containers."""
    autogroup = Path(f"/proc/{pid}/autogroup")
    return autogroup.read_text().split()[1:] if autogroup.is_file() else []


needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="looks processes up in /proc")


def test_output_comes_in_whole_characters(qtbot: QtBot, start: Start) -> None:
    run = start(r"""
        out = sys.stdout.buffer
        for byte in "é€🙂".encode():
            out.write(bytes([byte])); out.flush(); time.sleep(0.01)
        out.write(b"\xff\n\xe2\x82"); out.flush()
        sys.stderr.write("to stderr\n")
    """)
    qtbot.waitUntil(lambda: bool(run.ended))
    assert run.output[Source.STDOUT] == "é€🙂\ufffd\n\ufffd"
    assert run.output[Source.STDERR] == "to stderr\n"


def test_lines_that_come_in_pieces_are_told_whole(qtbot: QtBot, start: Start) -> None:
    run = start("""
        for part in ("out of", " che", "ese"):
            sys.stderr.write(part); sys.stderr.flush(); time.sleep(0.03)
        os._exit(3)
    """)
    qtbot.waitUntil(lambda: bool(run.ended))
    assert "exit code 3" in run.ended[0]
    assert run.ended[0].endswith("\nout of cheese")


def test_only_the_last_error_output_is_kept(qtbot: QtBot, start: Start) -> None:
    run = start("for i in range(5000): print('error', i, file=sys.stderr)\nsys.exit(1)")
    qtbot.waitUntil(lambda: bool(run.ended), timeout=10_000)
    kept = run.ended[0].splitlines()[1:]
    assert kept[-1] == "error 4999"
    assert len(kept) == 40


def test_a_crash_with_many_threads_is_told(qtbot: QtBot, start: Start) -> None:
    """Each of them is in the dump, below its first line."""
    run = start("""
        import ctypes, threading
        for _ in range(20):
            threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        ctypes.string_at(0)
    """)
    qtbot.waitUntil(lambda: bool(run.ended))
    assert "Last error output: Fatal Python error: Segmentation fault, in <module>" in run.ended[0]


def test_the_environment_is_added_to_and_the_command_line_is_not(qtbot: QtBot, start: Start) -> None:
    run = start("print(os.environ['SECRET'], 'PATH' in os.environ, sys.orig_argv[1:])", SECRET="s3cret")
    qtbot.waitUntil(lambda: bool(run.ended))
    secret, _, rest = run.output[Source.STDOUT].partition(" ")
    assert secret == "s3cret"
    assert rest.startswith("True ['-X', 'faulthandler', '-u'")
    assert "s3cret" not in rest


@pytest.mark.parametrize("make_executable", [False, True], ids=["missing", "not executable"])
def test_what_cannot_be_started(qtbot: QtBot, tmp_path: Path, make_executable: bool) -> None:
    path = tmp_path / "python"
    if make_executable:
        path.write_text("no program")
    run = Run(EngineProcess())
    run.process.start(str(path), {})
    qtbot.waitUntil(lambda: bool(run.ended))
    assert run.ended[0].startswith(f"The engine cannot be started with {path}: ")
    assert "execve" not in run.ended[0]


def test_an_end_before_it_was_ready(qtbot: QtBot, start: Start) -> None:
    run = start("sys.exit('gradscope engine: no cheese in this interpreter')", is_ready=False)
    qtbot.waitUntil(lambda: bool(run.ended))
    assert run.ended == ["no cheese in this interpreter"]


@needs_proc
def test_what_it_left_behind_is_ended(qtbot: QtBot, start: Start) -> None:
    run = start("""
        os.setsid()
        print(subprocess.Popen(["sleep", "600"]).pid, flush=True)
        os._exit(0)
    """)
    child = run.printed_pid(qtbot)
    qtbot.waitUntil(lambda: bool(run.ended) and not is_alive(child))


@needs_proc
def test_what_does_not_end_when_it_is_asked_is_made_to(qtbot: QtBot, start: Start) -> None:
    run = start("""
        os.setsid()
        stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(600)"
        child = subprocess.Popen([sys.executable, "-uSc", stubborn], stdout=subprocess.PIPE)
        child.stdout.readline()
        print(child.pid, flush=True)
        os._exit(0)
    """)
    child = run.printed_pid(qtbot)
    qtbot.waitUntil(lambda: bool(run.ended))
    assert is_alive(child), "it is asked first"
    qtbot.waitUntil(lambda: not is_alive(child))


@needs_proc
def test_kill_takes_the_group_along(qtbot: QtBot, start: Start) -> None:
    run = start("""
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, signal.SIG_IGN)
        child = os.fork()
        if child: print(child, flush=True)
        time.sleep(600)
    """)
    child = run.printed_pid(qtbot)
    run.process.kill()
    qtbot.waitUntil(lambda: bool(run.ended) and not is_alive(child))


@needs_proc
def test_kill_ends_also_what_was_stopped(qtbot: QtBot, start: Start) -> None:
    """The guard with it, which has to go on first: it alone knows of what has left the group."""
    run = start(
        """
        from gradscope.engine.serving import guard
        guard.begin(None)
        print(subprocess.Popen(["sleep", "600"], start_new_session=True).pid, flush=True)
        time.sleep(600)
        """,
        GRADSCOPE_GUARD="1",
        PYTHONPATH=str(Path(gradscope.__file__).parents[1]),
    )
    child = run.printed_pid(qtbot)
    os.killpg(run.process.pid, signal.SIGSTOP)
    run.process.kill()
    qtbot.waitUntil(lambda: bool(run.ended))
    assert "SIGKILL" in run.ended[0] and not is_alive(child)


@needs_proc
@pytest.mark.parametrize(("wanted", "is_told"), [("", NICENESS), ("0", 0), ("3", 3), ("much", NICENESS)])
def test_the_window_comes_first_and_the_user_s_niceness_is_as_it_was(
    qtbot: QtBot, start: Start, wanted: str, is_told: int
) -> None:
    run = start(
        """
        from gradscope.engine.serving import guard
        guard.begin(None)
        print(os.getpid(), flush=True)
        time.sleep(600)
        """,
        GRADSCOPE_GUARD="1",
        GRADSCOPE_NICENESS=wanted,
        PYTHONPATH=str(Path(gradscope.__file__).parents[1]),
    )
    engine = run.printed_pid(qtbot)
    assert niceness_of_session(engine) in ([], ["nice", str(is_told)])
    assert niceness_of_session(os.getpid()) in ([], ["nice", "0"])
    assert os.getpriority(os.PRIO_PROCESS, engine) == os.getpriority(os.PRIO_PROCESS, 0)
    run.process.kill()
    qtbot.waitUntil(lambda: bool(run.ended))


def test_kill_ends_what_has_no_guard_and_ignores_it(
    qtbot: QtBot, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_process, "STEP_SECS", 0.2)
    run = start("""
        if hasattr(os, "setsid"):
            os.setsid()
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        print(os.getpid(), flush=True)
        time.sleep(600)
    """)
    run.printed_pid(qtbot)
    run.process.kill()
    qtbot.waitUntil(lambda: bool(run.ended))


@needs_proc
def test_kill_spares_a_group_that_is_not_its_own(qtbot: QtBot, start: Start) -> None:
    """Until the engine has called setsid, its group is the app's, and killing that would be suicide."""
    run = start("print(os.getpgrp(), flush=True); time.sleep(600)")
    assert run.printed_pid(qtbot) == os.getpgrp()
    run.process.kill()
    qtbot.waitUntil(lambda: bool(run.ended))
    assert "SIGKILL" in run.ended[0]


@pytest.mark.parametrize(
    ("ignored", "ends_by"),
    [((), "SIGINT"), ((signal.SIGINT,), "SIGTERM"), ((signal.SIGINT, signal.SIGTERM), "SIGKILL")],
    ids=["asked", "asked twice", "made to"],
)
def test_stopping_goes_from_polite_to_final(
    qtbot: QtBot, start: Start, monkeypatch: pytest.MonkeyPatch, ignored: tuple[signal.Signals, ...], ends_by: str
) -> None:
    monkeypatch.setattr(engine_process, "STEP_SECS", 0.15)
    numbers = [int(number) for number in ignored]
    run = start(f"""
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        for number in {numbers}: signal.signal(number, signal.SIG_IGN)
        print(os.getpid(), flush=True)
        time.sleep(600)
    """)
    run.printed_pid(qtbot)
    run.process.stop()
    run.process.stop()
    began = time.monotonic()
    qtbot.waitUntil(lambda: bool(run.ended))
    assert ends_by in run.ended[0]
    assert time.monotonic() - began < patient(2)
    assert len(run.ended) == 1


def test_one_that_is_over_can_be_stopped_and_killed_again(qtbot: QtBot, start: Start) -> None:
    run = start("pass")
    qtbot.waitUntil(lambda: bool(run.ended))
    run.process.stop()
    run.process.kill()
    run.process.kill_and_wait(1)
    assert run.process.pid == 0
    assert not run.process.is_running
    assert len(run.ended) == 1
