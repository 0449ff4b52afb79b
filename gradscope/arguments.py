"""Command lines: what `gradscope check` takes, and values that several commands have. Standard library only."""

from __future__ import annotations

import argparse


def check_parser() -> argparse.ArgumentParser:
    """Of `gradscope check`."""
    parser = argparse.ArgumentParser(
        prog="gradscope check",
        usage="gradscope check [options] [SCRIPT.py ARGS... | NOTEBOOK.ipynb ARGS... | -m MODULE ARGS... | RECIPE]",
        description="Train for some steps, run experiments, and say what is wrong with the training.",
        epilog="Options come before a script, which is ended after those steps; it owns its loop, so what would have to "
        "train again is not judged. Exit code: 0 nothing above an info, 1 the user's code failed, 2 bad input or an output "
        "that could not be written, 3 errors or warnings were found, 70 gradscope itself failed, 130 interrupted.",
    )
    parser.add_argument("file", metavar="FILE", help="training script, notebook, recipe file, or the name of a sample")
    parser.add_argument(
        "--steps",
        type=int,
        default=100,
        metavar="N",
        help="optimizer steps to make (default: 100); 0 is the list before a training: what one batch tells",
    )
    parser.add_argument("--seed", type=seed, help="of a recipe's session (default: 0)")
    parser.add_argument(
        "--seeds", type=int, metavar="K", help="train a recipe K times, with this seed and those that follow it"
    )
    parser.add_argument("--no-experiments", action="store_true", help="only what is seen along the way")
    parser.add_argument("--only", metavar="ID,...", help="only these findings (their ids are in docs/findings)")
    parser.add_argument("--rules", metavar="FILE", help="a Python file with rules of your own (@gradscope.finding)")
    parser.add_argument("--device", help="of a recipe: cpu (default), cuda:0, mps ...")
    parser.add_argument(
        "--json", metavar="OUT", help="write all as one JSON object to this file (- for standard output)"
    )
    parser.add_argument("--jsonl", metavar="OUT", help="write one JSON object per finding to this file")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, and no text: the exit code says it")
    return parser


def seed(text: str) -> int:
    """Raises ArgumentTypeError."""
    try:
        number = int(text)
    except ValueError:
        number = -1
    if not 0 <= number < 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is no seed; expected a whole number from 0 to {2**32 - 1}")
    return number
