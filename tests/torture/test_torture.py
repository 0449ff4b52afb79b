"""A sample of the corpus (see run.py) through the app, and what a terminal is told of all that raises."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradscope.engine.headless.outputs import EXIT_BAD_INPUT, EXIT_USER_CODE
from gradscope.engine.headless.recipe import RunOptions, run
from tests.torture.case import Ending
from tests.torture.cases import CASES, raising
from tests.torture.run import run_cases

SAMPLE = [
    "len_raises", "keyboard_interrupt", "args_raise", "exit_in_backward", "modules_odd", "output_set", "os_exit",
]  # fmt: skip


@pytest.fixture
def our_ctrl_c() -> Iterator[None]:
    """As in a terminal, also where another test has left SIGINT otherwise."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_sample_through_the_app() -> None:
    outcomes = list(run_cases([CASES[name] for name in SAMPLE]))
    assert [case.name for case, _ in outcomes] == SAMPLE
    assert {case.name: outcome.verdict(case) for case, outcome in outcomes} == dict.fromkeys(SAMPLE, "ok")


@pytest.mark.parametrize("name", [case.name for case in raising.CASES if case.endings == (Ending.TOLD,)])
def test_in_a_terminal(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], our_ctrl_c: None) -> None:
    case = CASES[name]
    code = run(RunOptions(path=case.write(tmp_path), steps=12, quiet=True))
    told = capfd.readouterr().err
    assert code in (EXIT_USER_CODE, EXIT_BAD_INPUT), told
    last = [line for line in told.splitlines() if line.startswith("gradscope: ")]
    assert any(case.says in line for line in last), told[-2000:]
    assert "gradscope itself" not in told and "/gradscope/engine/" not in told
    assert len(told) < 200_000
