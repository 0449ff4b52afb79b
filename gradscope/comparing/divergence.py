"""The first moment at which two runs part, and what agrees before it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from gradscope.comparing.matching import Match, match
from gradscope.comparing.sheets import DATA, STAGES, WHOLE_STEP, Recorded, Sheet, sheets_of
from gradscope.protocol.numbers import number
from gradscope.protocol.phases import SubStep
from gradscope.protocol.subjects import LAYER_KINDS, SubjectKey, SubjectKind

_WORDS: dict[SubjectKind, str] = {
    SubjectKind.ACTIVATION: "the output of",
    SubjectKind.ACTIVATION_GRAD: "the gradient of the output of",
    SubjectKind.PARAMETER: "the parameter",
    SubjectKind.GRAD: "the gradient of",
    SubjectKind.UPDATE: "the update of",
    SubjectKind.CLIPPED_GRAD: "the clipped gradient of",
    SubjectKind.OPTIMIZER_STATE: "the optimizer's state of",
    SubjectKind.BUFFER: "the buffer",
}
COLUMN_WORDS = {
    "count": "number of elements",
    "nan": "number of NaN",
    "inf": "number of Inf",
    "zero": "number of zeros",
    "min": "least value",
    "max": "greatest value",
    "mean": "mean",
    "std": "standard deviation",
    "l2": "L2 norm",
}
_KINDS = list(SubjectKind)
_LAST = 1 << 62
_When = tuple[int, int, int]
"""(step, micro-batch, stage): what comes earlier is less."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """The last stage of a step up to which everything that both have is the same."""

    step: int
    stage: SubStep
    micro: int | None = None
    """Of a window of several micro-batches, where both know them."""

    @property
    def sentence(self) -> str:
        return f"step {self.step}, {_staged(self.stage, self.micro)}"


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """The first number that is not the same in two runs, in the order of time."""

    step: int
    from_step: int
    """Where not every step is kept, the runs may have parted as early as here; otherwise it is `step`."""
    stage: SubStep
    """BATCH, FORWARD, LOSS, BACKWARD, CLIP, STEP or VALIDATE."""
    micro: int | None
    """The micro-batch of the step, where there are several and both runs know them."""
    subject: SubjectKey | None
    """None where it is a number of the whole step; `name` says which."""
    name: str
    """ "the gradient of encoder.0.weight", "loss", "learning rate of group 1"."""
    column: str
    """Which of its numbers: one of `protocol.subjects.COLUMNS`, or "value"; "count" where one run alone has seen it."""
    ours: float
    """NaN where it was not seen."""
    theirs: float
    absolute: float
    """The size of the difference; infinite where one of the numbers is none."""
    relative: float
    """The same as a share of the larger number."""
    others: int = 0
    """How many other rows differ at the same stage of the same step."""
    agrees: Agreement | None = None
    """What is the same before it; None where nothing comes before."""

    @property
    def when(self) -> str:
        """ "step 12, backward"."""
        within = f" (of the steps {self.from_step} to {self.step})" if self.from_step < self.step else ""
        return f"step {self.step}, {_staged(self.stage, self.micro)}{within}"

    @property
    def sentence(self) -> str:
        """Where the runs part and by how much, in one sentence without a full stop."""
        others = f", and {self.others} other{'s' if self.others > 1 else ''} of that stage" if self.others else ""
        return f"{self.when}: {self.name}: {self.size}{others}"

    @property
    def size(self) -> str:
        """ "its L2 norm is 0.52 and 0.57 (a relative difference of 0.088)"."""
        if self.name == DATA:
            return "not the same"
        if self.column == "count" and (np.isnan(self.ours) or np.isnan(self.theirs)):
            return f"only in the {'second' if np.isnan(self.ours) else 'first'} run"
        digits = next((n for n in (6, 9, 13) if number(self.ours, digits=n) != number(self.theirs, digits=n)), 17)
        pair = f"{number(self.ours, digits=digits)} and {number(self.theirs, digits=digits)}"
        ratio = f" (a relative difference of {number(self.relative, digits=2)})" if np.isfinite(self.relative) else ""
        return f"{pair}{ratio}" if self.column == "value" else f"its {COLUMN_WORDS[self.column]} is {pair}{ratio}"


def first_divergence(ours: Recorded, theirs: Recorded, *, rtol: float = 0.0) -> Divergence | None:
    """Where two remembered runs part first, in the order in which things happen: the layers of the forward, the loss, the
    backward (last layer first), clipping, the step. None where everything that both have seen is the same.

    Each is anything that has the blocks and curves of a `state.history.History`: two branches of one session, say, or
    histories that were saved. Subjects are aligned by kind, name, call and leaf, moments by step; what only one of them has
    seen at all is no divergence. `rtol`: see `match`. Nothing is changed or kept.
    """
    return earliest(matches(list(sheets_of(ours)), list(sheets_of(theirs)), rtol=rtol))


def matches(ours: Sequence[Sheet], theirs: Sequence[Sheet], *, rtol: float = 0.0) -> list[Match]:
    """Every sheet of one side over every one of the other that is of the same."""
    found = [
        match(a, b, rtol=rtol)
        for a in ours
        for b in theirs
        if (a.kind, a.stage, a.columns) == (b.kind, b.stage, b.columns)
    ]
    return [one for one in found if one is not None]


def earliest(found: Iterable[Match]) -> Divergence | None:
    """The first difference among all matches."""
    all_found = list(found)
    has_micros = any((one.micros > 0).any() for one in all_found)
    firsts = [
        (when, one, moment) for one in all_found if (first := _first(one, has_micros)) for when, moment in [first]
    ]
    if not firsts:
        return None
    when = min(when for when, _, _ in firsts)
    ranks = _layer_ranks(all_found)
    rows: dict[object, tuple[tuple[int, ...], Match, int, int]] = {}
    for own, one, moment in firsts:
        if own != when:
            continue
        for row in np.flatnonzero(one.differs[:, :, moment].any(axis=0)).tolist():
            rank = _rank(one.keys[row], row, ranks)
            # Seen in two pairs of sheets, it is still one.
            if one.keys[row] not in rows or rank < rows[one.keys[row]][0]:
                rows[one.keys[row]] = (rank, one, row, moment)
    _, one, row, moment = min(rows.values(), key=lambda entry: entry[0])
    column = one.telling(row, moment)
    absolute, relative = one.gap(column, row, moment)
    key = one.keys[row]
    return Divergence(
        step=int(one.steps[moment]),
        from_step=_from_step(one, moment),
        stage=one.sheet.stage,
        micro=_micro(int(one.micros[moment])) if has_micros else None,
        subject=key if isinstance(key, SubjectKey) else None,
        name=name_of(key),
        column=one.sheet.columns[column],
        ours=float(one.ours[column, row, moment]),
        theirs=float(one.theirs[column, row, moment]),
        absolute=absolute,
        relative=relative,
        others=len(rows) - 1,
        agrees=_agreement(all_found, when, has_micros),
    )


def name_of(key: SubjectKey | str) -> str:
    """ "the gradient of encoder.0.weight"."""
    return key if isinstance(key, str) else f"{_WORDS[key.kind]} {key.shown()}"


def _when(one: Match, moment: int, has_micros: bool) -> _When:
    stage, micro = one.sheet.stage, int(one.micros[moment])
    # What is of the whole step is known when its last micro-batch is done.
    return int(one.steps[moment]), micro if has_micros and micro != WHOLE_STEP else _LAST, STAGES.index(stage)


def _first(one: Match, has_micros: bool) -> tuple[_When, int] | None:
    """The first moment at which a sheet differs."""
    moments = np.flatnonzero(one.differs.any(axis=(0, 1))).tolist()
    return min(((_when(one, moment, has_micros), moment) for moment in moments), default=None)


def _from_step(one: Match, moment: int) -> int:
    step = int(one.steps[moment])
    before = one.steps[one.steps < step]
    first = min(step, int(one.first_steps[moment]))
    return max(first, int(before.max()) + 1) if len(before) else first


def _agreement(found: Sequence[Match], when: _When, has_micros: bool) -> Agreement | None:
    """The last moment before `when` that both have."""
    best: _When | None = None
    for one in found:
        for moment in range(len(one.steps)):
            own = _when(one, moment, has_micros)
            if own[1] == _LAST and has_micros and one.sheet.stage is SubStep.LOSS:
                # The mean of the micro-batches, whose backward was later than each of their losses.
                continue
            if own < when and (best is None or own > best):
                best = own
    if best is None:
        return None
    return Agreement(step=best[0], stage=STAGES[best[2]], micro=None if best[1] == _LAST else _micro(best[1]))


def _micro(micro: int) -> int | None:
    return None if micro == WHOLE_STEP else micro


def _staged(stage: SubStep, micro: int | None) -> str:
    within = f" of micro-batch {micro + 1}" if micro is not None else ""
    return f"{_STAGE_WORDS[stage]}{within}"


_STAGE_WORDS: dict[SubStep, str] = {
    SubStep.BATCH: "batch",
    SubStep.FORWARD: "forward",
    SubStep.LOSS: "loss",
    SubStep.BACKWARD: "backward",
    SubStep.CLIP: "clipping",
    SubStep.STEP: "optimizer step",
    SubStep.VALIDATE: "validation",
}


def _layer_ranks(found: Iterable[Match]) -> dict[str, int]:
    """In which order the gradients of the layers' outputs arrive, by the name of the layer."""
    ranks: dict[str, int] = {}
    for one in found:
        if one.sheet.kind is SubjectKind.ACTIVATION_GRAD:
            for row, key in enumerate(one.keys):
                if isinstance(key, SubjectKey):
                    ranks[key.name] = max(row, ranks.get(key.name, row))
    return ranks


def _rank(key: SubjectKey | str, row: int, ranks: dict[str, int]) -> tuple[int, ...]:
    """The order within a stage. A parameter's gradient arrives after that of its layer's output, and before those of the
    layers that come earlier in the forward."""
    if isinstance(key, str):
        return (0, 0, 0, row)
    if key.kind is SubjectKind.GRAD:
        return (1, ranks.get(key.name.rpartition(".")[0], _LAST), 1, row)
    if key.kind is SubjectKind.ACTIVATION_GRAD:
        return (1, row, 0, row)
    return (1, 0 if key.kind in LAYER_KINDS else _KINDS.index(key.kind), 0, row)
