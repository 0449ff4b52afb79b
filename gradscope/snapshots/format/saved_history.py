"""The app's history as plain arrays, and as two files of a snapshot: history.json (names) and history.safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import COLUMNS, HISTOGRAM_BINS, SubjectKey, SubjectKind, SubjectRow
from gradscope.snapshots.format import checks, json_files, tensor_file
from gradscope.snapshots.format.damage import Damaged

JSON_FILE = "history.json"
ARRAYS_FILE = "history.safetensors"
_HISTOGRAM_ARRAYS = ("steps", "subjects", "rows", "summaries", "sampled", "counts")
_Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class SavedBlock:
    """The summaries of all subjects of one kind over the steps."""

    keys: tuple[SubjectKey, ...]
    steps: IntArray
    """The newest step of each column, shape (columns,)."""
    values: npt.NDArray[np.float32]
    """Shape (len(COLUMNS), subjects, columns); NaN where unseen."""
    tops: npt.NDArray[np.float32] | None = None
    """The greatest standard deviation and norm of the steps of each column, shape (2, subjects, columns); None where that is
    not known, or each column is of one step."""
    origins: IntArray | None = None
    """The steps of the first NaN or Inf, the greatest standard deviation, norm and magnitude, shape (4, subjects, columns);
    None as for `tops`."""
    extremes: npt.NDArray[np.float32] | None = None
    """The greatest share of zeros, the least standard deviation and norm, and the mean that is farthest from zero, shape
    (4, subjects, columns); None as for `tops`."""
    extreme_steps: IntArray | None = None
    """Their steps, of the same shape."""
    stride: int
    """Steps that one column takes."""
    in_last: int
    """Steps that the last column has taken so far."""


@dataclass(frozen=True, kw_only=True)
class SavedCurve:
    """A line of points over the steps."""

    steps: IntArray
    values: FloatArray
    """Shape (points, width)."""
    stride: int
    in_last: int


@dataclass(frozen=True, kw_only=True)
class SavedHistograms:
    """The histograms of one kind of subject at some steps; of all steps one after the other."""

    steps: IntArray
    """Shape (m,)."""
    subjects: IntArray
    """How many subjects each step has, shape (m,)."""
    rows: IntArray
    """The number of each subject in the block of the kind, shape (n,) with n = subjects.sum()."""
    summaries: FloatArray
    """Shape (n, len(COLUMNS))."""
    sampled: IntArray
    """Shape (n,)."""
    counts: npt.NDArray[np.int32]
    """Shape (n, bins): the bins from `first` on; nothing is in the others."""
    first: int
    stride: int
    """Every how many steps one is taken."""
    arrived: int
    """How many steps there have been."""


@dataclass(frozen=True, kw_only=True)
class SavedLatest:
    """The newest summary of each subject; every array has a first axis of len(rows)."""

    rows: tuple[SubjectRow, ...]
    phases: tuple[Phase | None, ...]
    """None: from before the first step."""
    steps: IntArray
    summaries: FloatArray
    histograms: npt.NDArray[np.int32]
    sampled: IntArray


@dataclass(frozen=True, kw_only=True)
class SavedHistory:
    blocks: Mapping[SubjectKind, SavedBlock]
    histograms: Mapping[SubjectKind, SavedHistograms]
    """Of kinds that have a block."""
    curves: Mapping[str, SavedCurve]
    """By the name that the history has for each: "loss", "losses.generator" ..."""
    clip_parameters: tuple[str, ...] = ()
    """The parameters that the curve of the clipping refers to by number."""
    skipped_steps: int = 0
    latest: SavedLatest


@dataclass(frozen=True, kw_only=True)
class _BlockNames:
    keys: tuple[SubjectKey, ...]
    stride: int
    in_last: int


@dataclass(frozen=True, kw_only=True)
class _CurveNames:
    stride: int
    in_last: int


@dataclass(frozen=True, kw_only=True)
class _HistogramNames:
    first: int
    stride: int
    arrived: int


@dataclass(frozen=True, kw_only=True)
class _Names:
    """history.json."""

    blocks: dict[str, _BlockNames]
    histograms: dict[str, _HistogramNames]
    curves: dict[str, _CurveNames]
    clip_parameters: tuple[str, ...] = ()
    skipped_steps: int = 0
    rows: tuple[SubjectRow, ...]
    phases: tuple[Phase | None, ...]


def encode(history: SavedHistory) -> dict[str, bytes]:
    """The files, by name."""
    return {JSON_FILE: json_files.dump_typed(_names_of(history)), ARRAYS_FILE: tensor_file.encode(_arrays_of(history))}


def size_of(history: SavedHistory) -> int:
    """How many bytes the files will have, nearly: the names of the arrays are not counted."""
    arrays = sum(array.nbytes for array in _arrays_of(history).values())
    return arrays + len(json_files.dump_typed(_names_of(history)))


def _arrays_of(history: SavedHistory) -> dict[str, _Array]:
    arrays: dict[str, _Array] = {}
    for kind, block in history.blocks.items():
        arrays |= {f"block.{kind.value}.steps": block.steps, f"block.{kind.value}.values": block.values}
        if block.tops is not None and block.origins is not None:
            arrays |= {f"block.{kind.value}.tops": block.tops, f"block.{kind.value}.origins": block.origins}
        if block.extremes is not None and block.extreme_steps is not None:
            arrays[f"block.{kind.value}.extremes"] = block.extremes
            arrays[f"block.{kind.value}.extreme_steps"] = block.extreme_steps
    for kind, histograms in history.histograms.items():
        arrays |= {f"histograms.{kind.value}.{name}": getattr(histograms, name) for name in _HISTOGRAM_ARRAYS}
    for name, curve in history.curves.items():
        arrays |= {f"curve.{name}.steps": curve.steps, f"curve.{name}.values": curve.values}
    latest = history.latest
    for name in ("steps", "summaries", "histograms", "sampled"):
        arrays[f"latest.{name}"] = getattr(latest, name)
    return arrays


def _names_of(history: SavedHistory) -> _Names:
    return _Names(
        blocks={
            kind.value: _BlockNames(keys=block.keys, stride=block.stride, in_last=block.in_last)
            for kind, block in history.blocks.items()
        },
        histograms={
            kind.value: _HistogramNames(first=saved.first, stride=saved.stride, arrived=saved.arrived)
            for kind, saved in history.histograms.items()
        },
        curves={
            name: _CurveNames(stride=curve.stride, in_last=curve.in_last) for name, curve in history.curves.items()
        },
        clip_parameters=history.clip_parameters,
        skipped_steps=history.skipped_steps,
        rows=history.latest.rows,
        phases=history.latest.phases,
    )


def decode(data: bytes, arrays: Mapping[str, _Array]) -> SavedHistory:
    """The reverse, of history.json and the arrays by name. Raises Damaged."""
    names = json_files.typed(_Names, json_files.load_object(data), [], "history")
    blocks = {}
    for kind, block in names.blocks.items():
        if kind not in list(SubjectKind):
            # Of a later version.
            continue
        steps = _array(arrays, f"block.{kind}.steps", np.int64, (None,))
        values = _array(arrays, f"block.{kind}.values", np.float32, (len(COLUMNS), len(block.keys), len(steps)))
        _check(kind, steps, block)
        if len(set(block.keys)) != len(block.keys):
            raise Damaged(f"a subject of the history of {kind} comes twice")
        # Earlier versions have none of these.
        seen = [
            _array(arrays, name, dtype, (planes, *values.shape[1:])) if name in arrays else None
            for name, dtype, planes in (
                (f"block.{kind}.tops", np.float32, 2),
                (f"block.{kind}.origins", np.int64, 4),
                (f"block.{kind}.extremes", np.float32, 4),
                (f"block.{kind}.extreme_steps", np.int64, 4),
            )
        ]
        blocks[SubjectKind(kind)] = SavedBlock(
            keys=block.keys,
            steps=steps,
            values=values,
            tops=seen[0],
            origins=seen[1],
            extremes=seen[2],
            extreme_steps=seen[3],
            stride=block.stride,
            in_last=block.in_last,
        )
    curves = {}
    for name, curve in names.curves.items():
        steps = _array(arrays, f"curve.{name}.steps", np.int64, (None,))
        points = _array(arrays, f"curve.{name}.values", np.float64, (len(steps), None))
        _check(name, steps, curve)
        curves[name] = SavedCurve(steps=steps, values=points, stride=curve.stride, in_last=curve.in_last)
    histograms = {
        kind: _histograms(kind, names.histograms[kind.value], arrays, rows=len(block.keys))
        for kind, block in blocks.items()
        if kind.value in names.histograms
    }
    return SavedHistory(
        blocks=blocks,
        histograms=histograms,
        curves=curves,
        clip_parameters=names.clip_parameters,
        skipped_steps=names.skipped_steps,
        latest=_latest(names, arrays),
    )


def _histograms(
    kind: SubjectKind, names: _HistogramNames, arrays: Mapping[str, _Array], *, rows: int
) -> SavedHistograms:
    def array(name: str, dtype: type[Any], shape: tuple[int | None, ...]) -> _Array:
        return _array(arrays, f"histograms.{kind.value}.{name}", dtype, shape)

    steps = array("steps", np.int64, (None,))
    subjects = array("subjects", np.int64, (len(steps),))
    if (subjects < 0).any() or (subjects > rows).any() or (steps < 0).any():
        raise Damaged(f"the histograms of {kind.value} count something that cannot be counted")
    total = int(subjects.sum())
    saved = SavedHistograms(
        steps=steps,
        subjects=subjects,
        rows=array("rows", np.int64, (total,)),
        summaries=array("summaries", np.float64, (total, len(COLUMNS))),
        sampled=array("sampled", np.int64, (total,)),
        counts=array("counts", np.int32, (total, None)),
        first=names.first,
        stride=names.stride,
        arrived=names.arrived,
    )
    if ((saved.rows < 0) | (saved.rows >= rows)).any():
        raise Damaged(f"the histograms of {kind.value} are of a subject that is not there")
    if not 0 <= saved.first <= HISTOGRAM_BINS - saved.counts.shape[1] or saved.stride < 1 or saved.arrived < 0:
        raise Damaged(f"the histograms of {kind.value} cannot begin with bin {saved.first}")
    checks.check_counts(f"the history of {kind.value}", saved.summaries, saved.counts, saved.sampled)
    return saved


def _latest(names: _Names, arrays: Mapping[str, _Array]) -> SavedLatest:
    count = len(names.rows)
    if len(names.phases) != count:
        raise Damaged(f"the history has {count} rows and {len(names.phases)} phases")
    latest = SavedLatest(
        rows=names.rows,
        phases=names.phases,
        steps=_array(arrays, "latest.steps", np.int64, (count,)),
        summaries=_array(arrays, "latest.summaries", np.float64, (count, len(COLUMNS))),
        histograms=_array(arrays, "latest.histograms", np.int32, (count, HISTOGRAM_BINS)),
        sampled=_array(arrays, "latest.sampled", np.int64, (count,)),
    )
    checks.check_summaries("the history", latest.summaries, latest.histograms, latest.sampled, subjects=count)
    return latest


def _array(arrays: Mapping[str, _Array], name: str, dtype: type[Any], shape: tuple[int | None, ...]) -> _Array:
    """The array of that name; None in `shape` stands for any length."""
    array = arrays.get(name)
    if array is None:
        raise Damaged(f"{ARRAYS_FILE} has no {name!r:.80}")
    fits = array.ndim == len(shape) and all(b is None or a == b for a, b in zip(array.shape, shape, strict=True))
    if array.dtype != np.dtype(dtype) or not fits:
        raise Damaged(f"{ARRAYS_FILE} has {name!r:.80} as {array.dtype} of the shape {array.shape}")
    return array


def _check(name: str, steps: IntArray, part: _BlockNames | _CurveNames) -> None:
    # -1: before the first step, where a validation may be.
    if (steps < -1).any():
        raise Damaged(f"the history of {name!r:.80} has a step below 0")
    if part.stride < 1 or not 0 <= part.in_last <= part.stride:
        raise Damaged(
            f"the history of {name!r:.80} cannot have {part.in_last} of {part.stride} steps in its last column"
        )
