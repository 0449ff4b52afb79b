"""However a process ends, the first line says how, and what its last error output was about."""

import signal

import pytest

from gradscope.client.endings import (
    describe_end,
    in_its_own_words,
    last_lines,
    with_ended,
    with_last_output,
    with_place,
)
from gradscope.protocol.phases import Moment, Position, Rest, SubStep

DUMP = """Fatal Python error: Segmentation fault

Thread 0x00007f0c (most recent call first):
  File "/home/me/loader.py", line 3 in wait

Current thread 0x00007f0d (most recent call first):
  File "/usr/lib/python3.11/ctypes/__init__.py", line 519 in string_at
  File "/home/me/net.py", line 11 in forward
  File "/venv/lib/python3.11/site-packages/torch/nn/modules/module.py", line 1884 in _call_impl
  File "/src/gradscope/engine/session.py", line 178 in _forward

Extension modules: numpy._core._multiarray_umath, torch._C (total: 2)
""".splitlines()


@pytest.mark.parametrize(
    ("exit_code", "crashed", "said"),
    [
        (0, False, "The engine has ended with exit code 0, and has not said why"),
        (3, False, "The engine has ended with exit code 3, and has not said why"),
        (signal.SIGSEGV, True, "The engine was killed by SIGSEGV (segmentation fault"),
        (
            signal.SIGKILL,
            True,
            "The engine was killed by SIGKILL (often the system's out-of-memory killer, or kill -9)",
        ),
        (signal.SIGABRT, True, "The engine was killed by SIGABRT (compiled code has aborted)"),
        (signal.SIGHUP, True, "The engine was killed by SIGHUP"),
        (4242, True, "The engine has crashed (code 4242)"),
    ],
)
def test_every_end_has_its_words(exit_code: int, crashed: bool, said: str) -> None:
    assert describe_end(exit_code=int(exit_code), crashed=crashed).startswith(said)


@pytest.mark.parametrize(("exit_code", "crashed"), [(1, False), (signal.SIGKILL, True)])
def test_users_code_is_not_blamed_for_what_ran_before_it(exit_code: int, crashed: bool) -> None:
    sentence = describe_end(exit_code=int(exit_code), crashed=crashed, was_ready=False)
    assert "while it was starting" in sentence
    assert "user" not in sentence


def test_the_first_line_has_the_gist_and_the_rest_the_output() -> None:
    assert with_last_output("It ended", []) == "It ended"
    assert with_last_output("It ended", ["a", "", "b "]) == "It ended. Last error output: a / b\na\nb"
    first, *rest = with_last_output("It ended", ["x" * 5000]).splitlines()
    assert len(first) < 600
    assert rest == ["x" * 5000]


def test_of_a_crash_dump_the_users_own_line_is_told() -> None:
    first, *rest = with_last_output("It ended", ["hello", *DUMP]).splitlines()
    gist = "Fatal Python error: Segmentation fault, in forward (/home/me/net.py, line 11)"
    assert first == f"It ended. Last error output: {gist}"
    assert rest[0] == "hello"
    assert not any("Extension modules" in line for line in rest)


def test_a_crash_dump_without_users_code_is_told_too() -> None:
    dump = [line for line in DUMP if "/home/me" not in line]
    assert with_last_output("It ended", dump).splitlines()[0].endswith("output: Fatal Python error: Segmentation fault")


def test_of_a_crash_dump_all_is_kept_however_much_follows() -> None:
    text = "\n".join(["before"] * 50 + DUMP + ["of a worker"] * 60)
    lines = last_lines(text, crashed=True)
    assert lines == [*DUMP, *["of a worker"] * 60]
    assert "in forward (/home/me/net.py, line 11)" in with_last_output("It ended", lines).splitlines()[0]
    assert last_lines(text, crashed=False) == ["of a worker"] * 40
    assert last_lines("\n".join(["before"] * 50 + DUMP), crashed=True) == ["before"] * (40 - len(DUMP)) + DUMP
    assert last_lines("before\n" * 50, crashed=True) == ["before"] * 40
    # It was ended between a line's text and its end.
    text = "\n".join(["before"] * 50 + ["unfinished" + DUMP[0], *DUMP[1:]])
    assert last_lines(text, crashed=True)[-len(DUMP) - 1 :] == ["unfinished", *DUMP]
    assert last_lines("", crashed=True) == []


def test_an_engine_that_gives_up_says_itself_why() -> None:
    lines = ["a warning", "gradscope engine: numpy is missing in /x/python"]
    assert with_last_output("It ended", lines, was_ready=False) == "numpy is missing in /x/python"
    assert with_last_output("It ended", lines).startswith("It ended"), "later, anybody may print that"


def test_what_the_engine_has_said_goes_before_what_is_seen_from_outside() -> None:
    assert in_its_own_words("", "It ended\nline") == "It ended\nline"
    assert in_its_own_words("no cheese", "It ended\nline") == "The engine has ended: no cheese\nline"


def test_how_many_processes_were_ended_with_it() -> None:
    assert with_ended("It ended\nline", 0) == "It ended\nline"
    assert with_ended("It ended\nline", 1) == "It ended. A process that it had started was ended with it\nline"
    assert with_ended("It ended", 3) == "It ended. 3 processes that it had started were ended with it"


def test_where_training_stood() -> None:
    place = Position(rest=Rest.IN_BACKWARD, step=7)
    assert with_place("It ended\nline", place) == "It ended. It was in the backward of step 7\nline"
    told = with_place("It ended. Last error output: x\nx", place)
    assert told == "It ended. It was in the backward of step 7. Last error output: x\nx"
    inside = Position(rest=Rest.IN_FORWARD, step=7, moment=Moment(step=7, substep=SubStep.FORWARD, layer="a.0"))
    assert with_place("It ended\nline", inside) == "It ended. It was in the forward of step 7, in layer a.0\nline"
    assert with_place("It ended", Position(rest=Rest.READY, step=7)) == with_place("It ended", None) == "It ended"
