"""A run from memory: a branch of the session that is open. Copied a sheet at a time, for the window has to answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from gradscope.comparing.reading.run import Facts, Run
from gradscope.comparing.sheets import Recorded, Sheet, sheets_of

BRANCH = "branch"
"""The form of such a run."""


def copied_sheets(recorded: Recorded) -> Iterator[Sheet]:
    """The sheets of what is remembered, which may go on growing meanwhile."""
    for sheet in sheets_of(recorded):
        yield replace(sheet, steps=sheet.steps.copy(), first_steps=sheet.first_steps.copy(), values=sheet.values.copy())


def run_of_branch(name: str, sheets: Sequence[Sheet], facts: Facts) -> Run:
    """`name`: what a person calls the branch; it stands for the path, which there is none of."""
    return Run(path=name, form=BRANCH, name=name, sheets=sheets, facts=facts, forms={})
