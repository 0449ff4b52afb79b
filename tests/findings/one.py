"""One program in a process of its own: trained with its monitors, then checked up. Prints one line of JSON, the last one.

`python -m tests.findings.one NAME [--control] [--seed N] [--shuffled] [--programs DIR] [--no-experiments]`, started from the
top of the repository.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch

from gradscope import GradscopeError, Session
from gradscope.engine.headless.findings_form import content_of
from tests.findings.adapter import PROGRAMS, Variant, recipe_of, steps_of


def judged(variant: Variant, folder: Path, *, has_experiments: bool = True) -> dict[str, Any]:
    """`{"findings", "checks", "forward", "backward", "seconds", "train_seconds", "crashed"}`."""
    begun, crashed = time.monotonic(), None
    with Session(recipe_of(variant, folder), findings=True) as session:
        try:
            for _ in range(steps_of(variant.name, folder)):
                session.next_batch()
        except GradscopeError as error:
            crashed = str(error)
        trained = time.monotonic()
        found = session.check_up() if has_experiments and crashed is None else session.findings()
    content = content_of(found)
    content["train_seconds"] = round(trained - begun, 2)
    content["seconds"] = round(time.monotonic() - trained, 2)
    content["crashed"] = crashed
    return content


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--control", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shuffled", action="store_true")
    parser.add_argument("--programs", type=Path, default=PROGRAMS)
    parser.add_argument("--no-experiments", action="store_true")
    given = parser.parse_args()
    variant = Variant(given.name, is_control=given.control, seed=given.seed, is_shuffled=given.shuffled)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    content = judged(variant, given.programs, has_experiments=not given.no_experiments)
    sys.stdout.write("\n" + json.dumps(content, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
