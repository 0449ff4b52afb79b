"""Runs the corpus through the real app: `python tests/torture/run.py [--all | NAME ...]`. Prints a Markdown table.

The app, offscreen, opens each recipe, presses Forward, Backward and Step, runs 20 steps, and then has to open and step a
recipe that is fine. The engine is that of the case before, unless that has spoilt it. What is left behind is found by a
variable in the environment, and ended. Should the app itself end or hang, that is told of the case, and another app goes on
with the next.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.torture.case import Case, Ending
from tests.torture.cases import CASES

MARK = "GRADSCOPE_TORTURE"
OUTCOMES = "outcomes.jsonl"
CASE_TIMEOUT_SECS = 240


@dataclass
class Outcome:
    """What became of a case."""

    ending: str = ""
    said: str = ""
    steps: int = 0
    afterwards: str = ""
    """How the fine recipe did: "fine", "fine in a new engine", or what went wrong."""
    longest_wait_secs: float = 0.0
    """The app's event loop did not come round for so long."""
    left_behind: int = 0
    problem: str = ""

    def verdict(self, case: Case) -> str:
        """ "ok", or what is wrong."""
        wrong = [self.problem] if self.problem else []
        if not self.problem:
            if self.ending not in case.endings:
                wrong.append(f"ended as: {self.ending or 'nothing'}")
            elif self.ending in (Ending.TOLD, Ending.DIED) and case.says not in self.said:
                wrong.append(f"does not say {case.says!r}")
            if not self.afterwards.startswith("fine"):
                wrong.append(f"a fine recipe afterwards: {self.afterwards}")
            elif self.afterwards != "fine" and not case.poisons and self.ending in (Ending.FINE, Ending.TOLD):
                wrong.append("the engine was of no use afterwards")
        if self.left_behind:
            wrong.append(f"{self.left_behind} processes left behind")
        return "; ".join(wrong) or "ok"


def run_cases(cases: list[Case]) -> Iterator[tuple[Case, Outcome]]:
    """Each as it ends."""
    waiting = list(cases)
    while waiting:
        with tempfile.TemporaryDirectory(prefix="gradscope-torture-") as folder:
            token = f"{os.getpid()}-{len(waiting)}"
            app = _start_app(Path(folder), token, waiting)
            try:
                for outcome in _outcomes(Path(folder) / OUTCOMES, app):
                    yield waiting.pop(0), outcome
            finally:
                if app.poll() is None:
                    os.killpg(app.pid, signal.SIGKILL)
                code = app.wait()
                left = end_those_left(token, but=())
            if waiting and code:
                last = (Path(folder) / "log").read_text(encoding="utf-8", errors="replace")[-300:]
                yield waiting.pop(0), Outcome(problem=f"THE APP ended with {code}: {last}", left_behind=left)


def _start_app(folder: Path, token: str, cases: list[Case]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, MARK: token, "QT_QPA_PLATFORM": "offscreen", "OMP_NUM_THREADS": "1"}
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        environment[name] = str(folder)
    command = [sys.executable, __file__, "--play", str(folder), *(case.name for case in cases)]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)


def _outcomes(file: Path, app: subprocess.Popen[bytes]) -> Iterator[Outcome]:
    """As they are written, until the app ends or nothing comes for too long."""
    told, newest = 0, time.monotonic()
    while time.monotonic() - newest < CASE_TIMEOUT_SECS:
        is_over = app.poll() is not None
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        for line in lines[told:]:
            told, newest = told + 1, time.monotonic()
            yield Outcome(**json.loads(line))
        if is_over:
            return
        time.sleep(0.1)


def end_those_left(token: str, *, but: tuple[int, ...]) -> int:
    """End the processes that have inherited the token, except those; returns how many there were."""
    deadline = time.monotonic() + 5.0
    while (left := [pid for pid in _marked(token) if pid not in but]) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(left)


def _marked(token: str) -> list[int]:
    wanted, found = f"{MARK}={token}".encode(), []
    for place in Path("/proc").iterdir():
        try:
            if not place.name.isdigit() or wanted not in (place / "environ").read_bytes().split(b"\0"):
                continue
            if (place / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.append(int(place.name))
        except OSError:
            continue
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(CASES)}")
    parser.add_argument("--all", action="store_true", help="the whole corpus: half an hour")
    parser.add_argument("--play", metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.play:
        from tests.torture.trial import play

        play([CASES[name] for name in options.names], Path(options.play))
        os._exit(0)
    names = list(CASES) if options.all else options.names
    unknown = [name for name in names if name not in CASES]
    if unknown or not names:
        parser.error(f"there is no case {unknown[0]!r}" if unknown else "name cases, or --all")
    print("| case | what it does | ending | said | afterwards | verdict |\n|---|---|---|---|---|---|", flush=True)
    bad = 0
    for case, outcome in run_cases([CASES[name] for name in names]):
        verdict = outcome.verdict(case)
        bad += verdict != "ok"
        said = outcome.said.replace("|", "\\|").replace("\n", " ")[:110]
        print(
            f"| {case.name} | {case.does} | {outcome.ending} | {said} | {outcome.afterwards} | {verdict} |", flush=True
        )
    print(f"\n{len(names) - bad} of {len(names)} ok")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
