"""Runs the corpus of training scripts and prints a table: `python tests/scripts/run_all.py [--levels full,off] [NAME ...]`.

Each script runs plainly, and at each level of capture; `--plain` leaves gradscope out. It needs neither pytest nor the
frameworks: scripts that import what this Python lacks are named at the end. The interpreter that runs it is the one that is
tested: for another version of torch, run it with another interpreter. The exit code is 1 where anything was wrong.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.scripts.cases import Case, cases
from tests.scripts.harness import LEVELS, Ran, comparable, differences, run_plainly, run_watched
from tests.scripts.moments import wrong_moments

_ROW = "{:<32} {:<6} {:<8} {:<8} {:>5} {:>8}"


def main() -> int:
    every = cases()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(every))
    parser.add_argument("--levels", default=",".join(LEVELS), help=f"of {','.join(LEVELS)} (default: all)")
    parser.add_argument("--plain", action="store_true", help="only run the scripts plainly, and compare their end")
    parser.add_argument("--at-once", type=int, default=1, metavar="N", help="scripts that run side by side")
    parser.add_argument("--timeout", type=float, default=300, metavar="SECS")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in every]
    if unknown:
        parser.error(f"{', '.join(unknown)}: no such script; there are: {', '.join(every)}")
    chosen = [every[name] for name in options.names or every]
    missing = {case.name: case.missing for case in chosen if case.missing}
    levels = [] if options.plain else options.levels.split(",")
    print(_versions())
    print(_ROW.format("script", "level", "moments", "FINAL", "exit", "seconds"))
    total, bad = 0, []
    with ThreadPoolExecutor(options.at_once) as pool:
        runs = [pool.submit(_run_case, case, levels, options.timeout) for case in chosen if case.name not in missing]
        for run in runs:
            for row, wrong in run.result():
                print(row, flush=True)
                for text in wrong:
                    print(f"      {text}", flush=True)
                total += 1
                bad += [row] if wrong else []
    for name, lacks in missing.items():
        print(f"{name}: left out, needs {', '.join(lacks)}")
    print(f"{total - len(bad)} of {total} runs are right")
    return 1 if bad else 0


def _run_case(case: Case, levels: list[str], timeout_secs: float) -> list[tuple[str, list[str]]]:
    """Rows of the table, each with what is wrong."""
    with tempfile.TemporaryDirectory(prefix="gradscope-corpus-") as folder:
        place = Path(folder) / "run"
        try:
            plain = run_plainly(case, place, timeout_secs=timeout_secs)
        except subprocess.TimeoutExpired:
            return [(_ROW.format(case.name, "plain", "", "", "", f">{timeout_secs:.0f}"), ["it did not end"])]
        rows = [_plain_row(case, plain)]
        for level in levels:
            try:
                watched = run_watched(case, place, level=level, timeout_secs=timeout_secs)
            except subprocess.TimeoutExpired:
                rows.append((_ROW.format(case.name, level, "", "", "", f">{timeout_secs:.0f}"), ["it did not end"]))
                continue
            rows.append(_watched_row(case, plain, watched, level))
        return rows


def _plain_row(case: Case, plain: Ran) -> tuple[str, list[str]]:
    is_same = plain.final == (case.truth["final"] or "")
    # FINAL is that of the machine on which the truth was made; another one is no mistake.
    row = _ROW.format(case.name, "plain", "", "as kept" if is_same else "other", plain.code, f"{plain.secs:.1f}")
    return row, [f"exit code {plain.code}: {plain.err[-600:]}"] if plain.code != case.exit_code else []


def _watched_row(case: Case, plain: Ran, watched: Ran, level: str) -> tuple[str, list[str]]:
    moments = wrong_moments(case, watched.lines, level=level, losses=comparable(case, plain))
    wrong = differences(case, plain, watched) + moments
    final = "equal" if watched.final == plain.final else "DIFFERS"
    row = _ROW.format(case.name, level, "WRONG" if moments else "right", final, watched.code, f"{watched.secs:.1f}")
    return row, wrong


def _versions() -> str:
    names = ("torch", "numpy", "lightning", "transformers", "accelerate")
    found = []
    for name in names:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            found.append(f"no {name}")
    return f"Python {platform.python_version()}, {', '.join(found)}, {os.cpu_count()} cores"


if __name__ == "__main__":
    sys.exit(main())
