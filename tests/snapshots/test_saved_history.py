"""A saved history that does not fit together is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import COLUMNS, HISTOGRAM_BINS, SubjectKey, SubjectKind, SubjectRow
from gradscope.snapshots.format import saved_history, tensor_file
from gradscope.snapshots.format.damage import Damaged
from gradscope.snapshots.format.saved_history import SavedBlock, SavedCurve, SavedHistograms, SavedHistory, SavedLatest

KEYS = (SubjectKey(SubjectKind.GRAD, "a"), SubjectKey(SubjectKind.GRAD, "b", 1, "[0]"))


def small() -> SavedHistory:
    values = np.arange(len(COLUMNS) * 2 * 3, dtype=np.float32).reshape(len(COLUMNS), 2, 3)
    return SavedHistory(
        blocks={SubjectKind.GRAD: SavedBlock(keys=KEYS, steps=np.array([1, 3, 4]), values=values, stride=2, in_last=1)},
        histograms={
            SubjectKind.GRAD: SavedHistograms(
                steps=np.array([1, 4]),
                subjects=np.array([1, 2]),
                rows=np.array([1, 0, 1]),
                summaries=np.ones((3, len(COLUMNS))),
                sampled=np.array([6, 6, 6]),
                counts=np.arange(12, dtype=np.int32).reshape(3, 4),
                first=92,
                stride=1,
                arrived=5,
            )
        },
        curves={"loss": SavedCurve(steps=np.array([0, 1]), values=np.array([[np.nan], [1.0]]), stride=1, in_last=1)},
        latest=SavedLatest(
            rows=tuple(SubjectRow(key, (2, 3), "float32", "a note") for key in KEYS),
            phases=(None, Phase.BACKWARD),
            steps=np.array([0, 4]),
            summaries=np.ones((2, len(COLUMNS))),
            histograms=np.ones((2, HISTOGRAM_BINS), dtype=np.int32),
            sampled=np.array([6, 6]),
        ),
    )


def files() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    encoded = saved_history.encode(small())
    return json.loads(encoded[saved_history.JSON_FILE]), tensor_file.decode(encoded[saved_history.ARRAYS_FILE])


def decode(names: dict[str, Any], arrays: dict[str, np.ndarray]) -> SavedHistory:
    return saved_history.decode(json.dumps(names).encode(), arrays)


def test_it_comes_back() -> None:
    given, read = small(), decode(*files())
    block, other = given.blocks[SubjectKind.GRAD], read.blocks[SubjectKind.GRAD]
    assert (other.keys, other.stride, other.in_last) == (block.keys, block.stride, block.in_last)
    np.testing.assert_array_equal(other.values, block.values)
    np.testing.assert_array_equal(read.curves["loss"].values, given.curves["loss"].values)
    histograms, found = given.histograms[SubjectKind.GRAD], read.histograms[SubjectKind.GRAD]
    assert (found.first, found.stride, found.arrived) == (histograms.first, histograms.stride, histograms.arrived)
    np.testing.assert_array_equal(found.counts, histograms.counts)
    np.testing.assert_array_equal(found.rows, histograms.rows)
    assert (read.latest.rows, read.latest.phases) == (given.latest.rows, given.latest.phases)


def test_a_kind_of_a_later_version_is_passed_over() -> None:
    names, arrays = files()
    names["blocks"]["soul"] = names["blocks"]["grad"]
    assert list(decode(names, arrays).blocks) == [SubjectKind.GRAD]


Change = Callable[[dict[str, Any], dict[str, np.ndarray]], object]
WRONG: dict[str, tuple[Change, str]] = {
    "a key less": (lambda names, _: names["blocks"]["grad"]["keys"].pop(), "block.grad.values"),
    "a key twice": (lambda names, _: names["blocks"]["grad"].update(keys=[vars_of(KEYS[0])] * 2), "comes twice"),
    "no stride": (lambda names, _: names["blocks"]["grad"].update(stride=0), "1 of 0 steps"),
    "more than the stride": (lambda names, _: names["curves"]["loss"].update(in_last=2), "2 of 1 steps"),
    "a row less": (lambda names, _: names["rows"].pop(), "1 rows and 2 phases"),
    "no array": (lambda _, arrays: arrays.pop("curve.loss.values"), "has no 'curve.loss.values'"),
    "another type": (lambda _, arrays: arrays.update({"latest.steps": np.zeros(2)}), "as float64"),
    "another length": (lambda _, arrays: arrays.update({"latest.steps": np.zeros(3, dtype=np.int64)}), "(3,)"),
    "flat": (lambda _, arrays: arrays.update({"curve.loss.values": np.zeros(2)}), "(2,)"),
    "steps below 0": (lambda _, arrays: arrays.update({"curve.loss.steps": np.array([-2, 0])}), "below 0"),
    "bins beyond": (lambda names, _: names["histograms"]["grad"].update(first=93), "cannot begin with bin 93"),
    "a histogram of nothing": (
        lambda _, arrays: arrays.update({"histograms.grad.rows": np.array([0, 1, 2])}),
        "of a subject that is not there",
    ),
    "more histograms than subjects": (
        lambda _, arrays: arrays.update({"histograms.grad.subjects": np.array([0, 3])}),
        "cannot be counted",
    ),
    "a histogram less": (
        lambda _, arrays: arrays.update({"histograms.grad.subjects": np.array([0, 2])}),
        "histograms.grad.rows",
    ),
    "counts that are none": (
        lambda _, arrays: arrays.update({"latest.summaries": np.full((2, len(COLUMNS)), np.nan)}),
        "cannot be counted",
    ),
}


def vars_of(key: SubjectKey) -> dict[str, Any]:
    return {"kind": key.kind.value, "name": key.name, "call": key.call, "leaf": key.leaf}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_together(name: str) -> None:
    change, reason = WRONG[name]
    names, arrays = files()
    change(names, arrays)
    with pytest.raises(Damaged) as caught:
        decode(names, arrays)
    assert reason in str(caught.value)
