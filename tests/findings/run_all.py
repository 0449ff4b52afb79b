"""The whole battery: every program in a process of its own, and a table of what was found against what is wrong.

    python tests/findings/run_all.py [--programs DIR] [--prefix d0,g] [--controls] [--seeds 3] [--shuffle] [--jobs 2]
                                     [--no-experiments] [--json OUT] [-v]

`--controls` runs each faulty program with its fault taken out beside it, which then has to be quiet; `--shuffle` shuffles the
data of all. Exit code 0 where every fault is named and placed, and nothing healthy is alarmed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.findings.adapter import PROGRAMS, Variant, truth_of  # noqa: E402
from tests.findings.score import Score, score, sums_of  # noqa: E402

LONGEST_SECS = 900
_ORDER_IS_THE_FAULT = "single-class-batches"
"""Shuffled, such a program is healthy."""


def variants(given: argparse.Namespace, truth: dict[str, Any]) -> Iterator[Variant]:
    prefixes = tuple(given.prefix.split(",")) if given.prefix else ("",)
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        for name in sorted(truth):
            if not name.startswith(prefixes):
                continue
            yield Variant(name, seed=seed, is_shuffled=given.shuffle)
            if given.controls and truth[name]["control"]:
                yield Variant(name, is_control=True, seed=seed, is_shuffled=given.shuffle)


def run(variant: Variant, folder: Path, *, has_experiments: bool = True) -> dict[str, Any]:
    """What `tests.findings.one` says; "error" where it says nothing."""
    command = [sys.executable, "-m", "tests.findings.one", variant.name, "--programs", str(folder)]
    command += ["--seed", str(variant.seed)]
    command += [
        flag
        for flag, is_so in (
            ("--control", variant.is_control),
            ("--shuffled", variant.is_shuffled),
            ("--no-experiments", not has_experiments),
        )
        if is_so
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LONGEST_SECS, check=False
        )
    except subprocess.TimeoutExpired:
        return {"findings": [], "error": f"no answer within {LONGEST_SECS} s"}
    try:
        content = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return {"findings": [], "error": done.stderr[-2000:] or f"exit code {done.returncode}"}
    assert isinstance(content, dict)
    return content


def scored(variant: Variant, content: dict[str, Any], truth: dict[str, Any]) -> Score:
    own = truth[variant.name]
    is_healthy = variant.is_control or (variant.is_shuffled and _ORDER_IS_THE_FAULT in own["accept"])
    return score(content["findings"], own, is_healthy=is_healthy)


def _row(variant: Variant, content: dict[str, Any], verdict: Score) -> str:
    words = verdict.words
    if content.get("crashed"):
        words += f"   CRASHED {content['crashed']}"
    if content.get("error"):
        words += f"   FAILED {content['error']}"
    seconds = f"{content.get('train_seconds', 0):5.1f} s +{content.get('seconds', 0):5.1f} s"
    return f"{variant.title:52s} {seconds}  {words}"


def _tell_findings(content: dict[str, Any]) -> None:
    for finding in content["findings"]:
        evidence = "; ".join(
            part["text"] or f"{part['name']} {part['value']} ({part['threshold']}) {part['unit']}"
            for part in finding["evidence"]
        )
        print(f"      {finding['severity']} {finding['id']}@{finding['where']} | {evidence} | {finding['do']}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=Path, default=PROGRAMS)
    parser.add_argument("--prefix", help="only programs whose names begin so; several with commas")
    parser.add_argument("--controls", action="store_true")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--shuffle", action="store_true")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--no-experiments", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("-v", action="store_true", help="every finding with its evidence")
    given = parser.parse_args()
    folder = given.programs.resolve()
    truth = truth_of(folder)
    results: dict[str, dict[str, Any]] = {}
    scores: list[Score] = []
    with ThreadPoolExecutor(given.jobs) as pool:
        begun = {
            pool.submit(run, variant, folder, has_experiments=not given.no_experiments): variant
            for variant in variants(given, truth)
        }
        for future in as_completed(begun):
            variant, content = begun[future], future.result()
            verdict = scored(variant, content, truth)
            scores.append(verdict)
            results[variant.title] = content
            print(_row(variant, content, verdict), flush=True)
            if given.v:
                _tell_findings(content)
    print(sums_of(scores).words)
    if given.json is not None:
        given.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    has_failed = any(content.get("error") for content in results.values())
    return 0 if scores and all(verdict.is_right for verdict in scores) and not has_failed else 1


if __name__ == "__main__":
    sys.exit(main())
