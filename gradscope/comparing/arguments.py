"""The command line of `gradscope compare`."""

from __future__ import annotations

import argparse


def compare_parser() -> argparse.ArgumentParser:
    """Its values are the fields of `CompareOptions`."""
    parser = argparse.ArgumentParser(
        prog="gradscope compare",
        usage="gradscope compare [options] A B",
        description="Say where two runs part: the first step, phase and layer at which a number is not the same, by how "
        "much, and what was different about the runs.",
        epilog="A and B are snapshots (folders or .zip files), or files that 'gradscope run --jsonl' wrote, in any "
        "combination. Exit code: 0 the same, 1 they differ, 2 bad input.",
    )
    parser.add_argument("ours", metavar="A", help="the first run")
    parser.add_argument("theirs", metavar="B", help="the second run")
    parser.add_argument(
        "--rtol",
        type=float,
        default=0.0,
        metavar="R",
        help="differences up to this share of the larger number are none (default: 0, compare exactly)",
    )
    parser.add_argument(
        "--json", metavar="OUT", help="write all as one JSON object to this file (- for standard output)"
    )
    parser.add_argument("--html", metavar="OUT", help="write all as one page to this file (- for standard output)")
    parser.add_argument("--quiet", action="store_true", help="no text: the exit code says it")
    return parser
