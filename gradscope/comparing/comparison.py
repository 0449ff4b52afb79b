"""Two runs compared: where they part, row by row, and what was different about them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gradscope.comparing.divergence import Divergence, earliest, matches
from gradscope.comparing.matching import Match, match
from gradscope.comparing.reading.from_snapshot import read_snapshot
from gradscope.comparing.reading.json_lines import read_lines
from gradscope.comparing.reading.run import INITIAL, Run
from gradscope.comparing.rows import Rows, form_text
from gradscope.comparing.tensors import TensorDifference, tensor_differences
from gradscope.protocol.failure import BadInput
from gradscope.protocol.numbers import number
from gradscope.protocol.subjects import SubjectKey
from gradscope.snapshots.reader import is_snapshot


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two runs."""

    path: str
    form: str
    """ "snapshot", or "JSON lines"."""
    name: str
    """What the recipe or the script is called."""
    first_step: int
    last_step: int
    """Of which something is known."""


@dataclass(frozen=True, kw_only=True)
class Fact:
    """Something that is known of the circumstances of at least one run."""

    topic: str
    """ "versions", "machine", "recipe", "settings", "data", "initial weights"."""
    name: str
    ours: str | None
    """None where it is not known."""
    theirs: str | None

    @property
    def differs(self) -> bool:
        """Both are known, and not the same."""
        return self.ours is not None and self.theirs is not None and self.ours != self.theirs


@dataclass(frozen=True, kw_only=True)
class Row:
    """A subject that both runs have, or a number of whole steps."""

    subject: SubjectKey | None
    name: str
    """Of a subject its label, otherwise the name of the number."""
    moments: int
    """At how many moments both have it."""
    first_step: int | None
    """The first step at which it differs; None where it is the same throughout."""
    largest: float
    """The largest difference of its L2 norm (or of the number), as a share of the larger one; infinite where one of them is
    no number. Where the norms are the same, of what differs."""
    step: int | None
    """The step of the largest difference."""
    column: str
    """What `ours` and `theirs` are: "l2", "value", or the number that differs where the norms are the same."""
    ours: float
    theirs: float


@dataclass(frozen=True, kw_only=True)
class Unmatched:
    """A subject that one run alone has, or that has another form in each."""

    subject: SubjectKey
    ours: str | None
    """Its shape and dtype: "(10, 256) float32"; None where it is not there."""
    theirs: str | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What `compare` gives."""

    ours: Side
    theirs: Side
    rtol: float
    divergence: Divergence | None
    """Where they part first; None where everything that both have is the same."""
    steps: tuple[int, ...]
    """Those that both have."""
    rows: tuple[Row, ...]
    """In the order of time within a step."""
    unmatched: tuple[Unmatched, ...]
    tensors: tuple[TensorDifference, ...]
    """Of two snapshots of the same moment: tensors whose elements are not all the same."""
    facts: tuple[Fact, ...]
    notes: tuple[str, ...]

    @property
    def is_same(self) -> bool:
        """All that either of them tells of its training is the same in both. The circumstances (`facts`) may not be."""
        ends = (self.ours.first_step, self.ours.last_step) == (self.theirs.first_step, self.theirs.last_step)
        return self.divergence is None and ends and not self.unmatched and not self.tensors


@dataclass(frozen=True, kw_only=True)
class Beside:
    """Two runs laid over each other: what they come to, and every row of it at any step."""

    comparison: Comparison
    rows: Rows


def compare(ours: str | os.PathLike[str], theirs: str | os.PathLike[str], *, rtol: float = 0.0) -> Comparison:
    """Compare two runs: snapshots (folders or zips), or files of JSON lines, in any combination.

    Rows are aligned by kind, name, call and leaf, moments by step and micro-batch. `rtol`: differences up to this share of
    the larger number are none; 0 compares exactly. Raises BadInput, one sentence, where a file cannot be read or is damaged,
    where the two have no subject or no step in common, or for an `rtol` that is no number from 0.
    """
    if not (math.isfinite(rtol) and rtol >= 0):
        raise BadInput(f"The tolerance is {rtol}; expected a number from 0")
    return lay_over(read_run(ours), read_run(theirs), rtol=rtol).comparison


def lay_over(a: Run, b: Run, *, rtol: float = 0.0) -> Beside:
    """The same of runs that have been read, with their rows. Raises BadInput where they have nothing in common."""
    _check_common(a, b)
    found = matches(a.sheets, b.sheets, rtol=rtol)
    rows = Rows(a, b, found)
    tensors, remarks = tensor_differences(a.snapshot, b.snapshot, rtol=rtol)
    comparison = Comparison(
        ours=_side(a),
        theirs=_side(b),
        rtol=rtol,
        divergence=earliest(found),
        steps=tuple(np.intersect1d(a.steps, b.steps).tolist()),
        rows=tuple(_rows(rows)),
        unmatched=tuple(_unmatched(a, b)),
        tensors=tensors,
        facts=(*_facts(a, b), *_initial_weights(a, b, rtol=rtol)),
        notes=(*a.notes, *b.notes, *remarks, *_single(found)),
    )
    return Beside(comparison=comparison, rows=rows)


def read_run(path: str | os.PathLike[str]) -> Run:
    """What a run has left behind at a path. Raises BadInput."""
    file = Path(path).expanduser()
    try:
        exists, is_folder = file.exists(), file.is_dir()
    except (OSError, ValueError) as error:
        raise BadInput(f"{str(path)!r:.300} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not exists:
        raise BadInput(f"{file} does not exist; expected a snapshot (a folder or a .zip), or a file of JSON lines")
    if is_snapshot(file):
        return read_snapshot(file)
    if is_folder:
        raise BadInput(f"{file} is a folder without a manifest.json; expected a snapshot, or a file of JSON lines")
    return read_lines(file)


def _side(run: Run) -> Side:
    return Side(
        path=run.path,
        form=run.form,
        name=run.name,
        first_step=int(run.steps[0]),
        last_step=int(run.steps[-1]),
    )


def _check_common(a: Run, b: Run) -> None:
    for run in (a, b):
        if not len(run.steps):
            raise BadInput(f"{run.path} tells of no step; expected a run with at least one")
    ours, theirs = a.keys, b.keys
    if ours and theirs and not ours.keys() & theirs.keys():
        raise BadInput(
            f"{a.path} ({a.name or 'unnamed'}) and {b.path} ({b.name or 'unnamed'}) are of different programs: no layer, "
            "parameter or buffer has the same name in both; expected two runs of the same, or nearly the same, model"
        )
    if not len(np.intersect1d(a.steps, b.steps)):
        told = [f"{run.path} tells of the steps {run.steps[0]} to {run.steps[-1]}" for run in (a, b)]
        raise BadInput(f"{told[0]}, and {told[1]}; expected at least one step that both have")


def _rows(rows: Rows) -> Iterator[Row]:
    """What both have at a moment."""
    for entry in rows.at(None):
        if entry.moments:
            yield Row(
                subject=entry.key if isinstance(entry.key, SubjectKey) else None,
                name=entry.name,
                moments=entry.moments,
                first_step=entry.first_step,
                largest=entry.relative,
                step=entry.step,
                column=entry.column,
                ours=entry.ours,
                theirs=entry.theirs,
            )


def _unmatched(a: Run, b: Run) -> Iterator[Unmatched]:
    ours, theirs = a.keys, b.keys
    for key in {**ours, **theirs}:
        forms = form_text(a, key), form_text(b, key)
        is_other_form = key in ours and key in theirs and "" not in forms and forms[0] != forms[1]
        if is_other_form or (key in ours) is not (key in theirs):
            yield Unmatched(
                subject=key, ours=forms[0] if key in ours else None, theirs=forms[1] if key in theirs else None
            )


def _facts(a: Run, b: Run) -> Iterator[Fact]:
    for topic in {**a.facts, **b.facts}:
        ours, theirs = a.facts.get(topic, {}), b.facts.get(topic, {})
        for name in {**ours, **theirs}:
            yield Fact(topic=topic, name=name, ours=ours.get(name), theirs=theirs.get(name))


def _initial_weights(a: Run, b: Run, *, rtol: float) -> Iterator[Fact]:
    if a.initial is None or b.initial is None:
        return
    found = match(a.initial, b.initial, rtol=rtol)
    if found is None:
        return
    for row in np.flatnonzero(found.differs[:, :, 0].any(axis=0)).tolist():
        column, key = found.telling(row, 0), found.keys[row]
        numbers = [number(float(side[column, row, 0]), digits=9) for side in (found.ours, found.theirs)]
        assert isinstance(key, SubjectKey)
        name = f"{key.shown()}: {found.sheet.columns[column]}"
        yield Fact(topic=INITIAL, name=name, ours=numbers[0], theirs=numbers[1])


def _single(found: Sequence[Match]) -> Iterator[str]:
    if any(one.ours.dtype == np.float32 for one in found):
        yield "Where a history of the app is compared, its numbers are float32: what they agree in, they agree in to 7 digits"
