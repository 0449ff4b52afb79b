"""The rows of two runs at any step, and their numbers over the steps: from sheets that are written down here."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gradscope.comparing import Beside, Entry, Presence, lay_over
from gradscope.comparing.reading.remembered import run_of_branch
from gradscope.comparing.reading.run import sheet_of_subjects
from gradscope.comparing.sheets import LOSS, WHOLE_STEP, Sheet, sheet_of_numbers
from gradscope.protocol.failure import BadInput
from gradscope.protocol.phases import SubStep
from gradscope.protocol.subjects import COLUMNS, COUNT, INF, L2, MEAN, NAN, SubjectKey, SubjectKind

STEPS = (0, 1, 2)


def grad(name: str, call: int = 0) -> SubjectKey:
    return SubjectKey(SubjectKind.GRAD, name, call)


def grads(norms: dict[SubjectKey, list[float]]) -> Sheet:
    """Ten elements each, of which none is NaN."""
    values = np.zeros((len(COLUMNS), len(norms), len(STEPS)))
    values[COUNT], values[L2] = 10.0, list(norms.values())
    micros = [WHOLE_STEP] * len(STEPS)
    return sheet_of_subjects(SubStep.BACKWARD, SubjectKind.GRAD, list(norms), STEPS, micros, values)


def losses(*values: float) -> Sheet:
    return sheet_of_numbers(SubStep.LOSS, LOSS, np.arange(len(values)), np.array(values)[:, None])


def beside(ours: list[Sheet], theirs: list[Sheet]) -> Beside:
    return lay_over(run_of_branch("Branch 1", ours, {}), run_of_branch("Branch 0", theirs, {}))


def by_name(entries: list[Entry]) -> dict[str, Entry]:
    return {entry.name: entry for entry in entries}


@pytest.fixture
def two() -> Beside:
    ours = grads({grad("a"): [1, 2, 4], grad("b"): [1, 1, 1], grad("mine"): [5, 6, 7]})
    theirs = grads({grad("b"): [1, 1, 1], grad("theirs"): [8, 9, 10], grad("a"): [1, 1, 1]})
    return beside([losses(3, 2, 1), ours], [losses(3, 2, 0.5), theirs])


def test_the_largest_difference_over_all_steps_is_told_with_its_step(two: Beside) -> None:
    rows = by_name(two.rows.at(None))
    a = rows["a"]
    assert (a.step, a.ours, a.theirs, a.relative, a.absolute, a.first_step) == (2, 4, 1, 0.75, 3, 1)
    assert (rows["b"].relative, rows["b"].first_step, rows["b"].presence) == (0.0, None, Presence.BOTH)
    assert (rows["loss"].step, rows["loss"].ours, rows["loss"].theirs, rows["loss"].column) == (2, 1, 0.5, "value")


def test_a_step_that_is_chosen_has_its_own_numbers(two: Beside) -> None:
    rows = by_name(two.rows.at(1))
    assert (rows["a"].step, rows["a"].ours, rows["a"].theirs, rows["a"].relative) == (1, 2, 1, 0.5)
    assert rows["loss"].relative == 0 and rows["a"].first_step == 1


def test_what_one_run_alone_has_is_listed_with_its_side_and_its_number_of_that_step(two: Beside) -> None:
    rows = by_name(two.rows.at(1))
    assert (rows["mine"].presence, rows["mine"].ours) == (Presence.OURS, 6)
    assert (rows["theirs"].presence, rows["theirs"].theirs) == (Presence.THEIRS, 9)
    for name, other in (("mine", rows["mine"].theirs), ("theirs", rows["theirs"].ours)):
        assert math.isnan(other) and math.isnan(rows[name].relative) and rows[name].first_step is None


def test_rows_come_in_the_order_of_a_step_and_each_once(two: Beside) -> None:
    names = [entry.name for entry in two.rows.at(None)]
    assert names == ["loss", "a", "b", "theirs", "mine"]
    assert [entry.place for entry in two.rows.at(None)] == list(range(len(names)))


def test_calls_are_aligned_by_their_number() -> None:
    shared = {grad("b"): [1.0, 1.0, 1.0]}
    both = beside([grads({grad("a", 1): [1, 1, 1], **shared})], [grads({grad("a"): [1, 1, 1], **shared})])
    found = {entry.name: entry.presence for entry in both.rows.at(None)}
    assert found == {"b": Presence.BOTH, "a": Presence.THEIRS, "a #1": Presence.OURS}


def test_nan_in_one_run_alone_is_farther_apart_than_any_number() -> None:
    ours, theirs = grads({grad("a"): [1, 1, 1]}), grads({grad("a"): [1, 1, 1]})
    theirs.values[NAN, 0, 1] = 3
    (row,) = (entry for entry in beside([ours], [theirs]).rows.at(None) if entry.name == "a")
    assert (row.relative, row.absolute, row.step, row.column) == (math.inf, math.inf, 1, "nan")
    assert (row.ours, row.theirs) == (0, 3)
    theirs.values[NAN], theirs.values[INF, 0, 2] = 0, 1
    assert by_name(beside([ours], [theirs]).rows.at(None))["a"].column == "inf"


def test_where_the_norms_are_the_same_what_differs_is_told() -> None:
    ours, theirs = grads({grad("a"): [2, 2, 2]}), grads({grad("a"): [2, 2, 2]})
    for sheet in (ours, theirs):
        sheet.values[COLUMNS.index("max")] = 4
    theirs.values[MEAN, 0, 2] = 1
    row = by_name(beside([ours], [theirs]).rows.at(None))["a"]
    assert (row.column, row.ours, row.theirs, row.step, row.relative) == ("mean", 0, 1, 2, 0.25)


def test_a_run_that_has_not_seen_a_moment_is_infinitely_far_from_one_that_has() -> None:
    ours, theirs = grads({grad("a"): [2, 2, 2]}), grads({grad("a"): [2, 2, 2]})
    theirs.values[:, 0, 1] = math.nan
    row = by_name(beside([ours], [theirs]).rows.at(None))["a"]
    assert (row.relative, row.step, row.ours) == (math.inf, 1, 2) and math.isnan(row.theirs)


def test_lines_are_of_each_run_as_far_as_it_goes(two: Beside) -> None:
    ours, theirs = two.rows.lines(grad("a"))
    assert (ours.steps.tolist(), ours.values.tolist()) == ([0, 1, 2], [1, 2, 4])
    assert theirs.values.tolist() == [1, 1, 1]
    ours, theirs = two.rows.lines(grad("mine"))
    assert len(ours.steps) == 3 and not len(theirs.steps)
    assert two.rows.lines(LOSS)[1].values.tolist() == [3, 2, 0.5]


def test_a_column_of_several_steps_is_found_at_each_of_them() -> None:
    merged = grads({grad("a"): [1, 2, 3]})
    object.__setattr__(merged, "steps", np.array([3, 7, 11]))
    object.__setattr__(merged, "first_steps", np.array([0, 4, 8]))
    row = by_name(beside([merged], [merged]).rows.at(5))["a"]
    assert (row.step, row.ours) == (7, 2)


def test_two_branches_without_a_step_in_common_have_one_sentence() -> None:
    later = sheet_of_numbers(SubStep.LOSS, LOSS, np.array([7, 8]), np.ones((2, 1)))
    with pytest.raises(BadInput, match="expected at least one step that both have"):
        beside([losses(1, 2)], [later])
    with pytest.raises(BadInput, match="Branch 1 tells of no step"):
        beside([], [losses(1, 2)])
