"""What is drawn: quantities of the history, and which rows a selection means."""

import numpy as np
import pytest

from gradscope.protocol.subjects import SubjectKey, SubjectKind
from gradscope.state.history import History
from gradscope.state.selection import Selection, selected_subject
from gradscope.ui.plots.words.subjects_in_order import (
    execution_order,
    rows_of_selection,
    with_siblings,
)
from gradscope.ui.words.quantities import CHOICES, QUANTITIES, Quantity, non_finite, series_of, values_of
from tests.ui.fakes import bare_training, small_training, started

K = SubjectKind


@pytest.mark.parametrize("kind", list(CHOICES))
def test_a_series_is_a_row_of_all_values(kind: SubjectKind) -> None:
    buffers = dict.fromkeys(("net.1.mean", "net.1.var", "mask", "places"), (16,))
    training = small_training(settings={"clip_norm": 1.0}, states=("exp_avg",), buffers=buffers)
    history = started(training, steps=7).state.history
    for quantity in CHOICES[kind]:
        values = values_of(history, kind, quantity)
        assert values.shape == (4, 7)
        for row, key in enumerate(history.subjects(kind)):
            np.testing.assert_array_equal(values[row], series_of(history, key, quantity))
        some = values_of(history, kind, quantity, np.array([1, 3]))
        np.testing.assert_array_equal(some, values[:, [1, 3]])


def test_the_update_ratio_is_the_history_s() -> None:
    history = started(small_training(), steps=7).state.history
    np.testing.assert_array_equal(values_of(history, K.UPDATE, Quantity.RATIO), history.update_ratio()[2])


def test_zeros_are_a_share() -> None:
    training = small_training(zero=frozenset({SubjectKey(K.ACTIVATION, "net.1")}))
    history = started(training, steps=2).state.history
    assert values_of(history, K.ACTIVATION, Quantity.ZEROS)[1].tolist() == [100.0, 100.0]


def test_nan_and_inf_are_found() -> None:
    key = SubjectKey(K.GRAD, "net.2.weight")
    history = started(small_training(non_finite_from={key: 3}), steps=5).state.history
    bad = non_finite(history.blocks[K.GRAD])
    row = history.blocks[K.GRAD].index_of(key)
    assert bad[row].tolist() == [False, False, False, True, True] and bad.sum() == 2


def test_every_quantity_is_described() -> None:
    assert set(QUANTITIES) == set(Quantity)
    assert {quantity for choices in CHOICES.values() for quantity in choices} <= set(QUANTITIES)


def test_the_input_comes_first_in_every_kind() -> None:
    state = started(small_training(), steps=1).state
    in_order = {kind: [state.history.subjects(kind)[i].name for i in execution_order(state, kind)] for kind in K}
    layers = ["net.0", "net.1", "net.2", ""]
    parameters = ["net.0.weight", "net.0.bias", "net.2.weight", "net.2.bias"]
    # They arrive backwards.
    assert state.history.subjects(K.GRAD)[0].name == "net.2.bias"
    assert in_order[K.ACTIVATION] == in_order[K.ACTIVATION_GRAD] == layers
    assert in_order[K.PARAMETER] == in_order[K.GRAD] == in_order[K.UPDATE] == parameters


def test_a_selection_means_rows_of_every_kind() -> None:
    state = started(small_training(), steps=1).state
    activations, updates = state.history.subjects(K.ACTIVATION), state.history.subjects(K.UPDATE)
    weight = Selection.of_node("net.0.weight", is_parameter=True)
    layer = Selection.of_node("net.2", is_parameter=False)
    assert rows_of_selection(updates, weight) == [0]
    assert rows_of_selection(activations, weight) == [0]
    assert rows_of_selection(activations, layer) == [2]
    assert rows_of_selection(updates, layer) == [2, 3]
    assert rows_of_selection(updates, Selection.of_node("net", is_parameter=False)) == [0, 1, 2, 3]
    assert rows_of_selection(updates, Selection()) == []
    assert rows_of_selection([], weight) == []


def test_the_call_and_the_part_are_selected_too() -> None:
    keys = [SubjectKey(K.ACTIVATION, "rnn", call, leaf) for call in range(2) for leaf in ("[0]", "[1]")]
    assert rows_of_selection(keys, Selection.of_subject(keys[2])) == [2]
    # The exact one is not there: all of that name.
    assert rows_of_selection(keys, Selection.of_node("rnn", is_parameter=False)) == [0, 1, 2, 3]


def test_a_selection_without_a_part_finds_the_first_part() -> None:
    history = History()
    keys = [SubjectKey(K.ACTIVATION, "rnn", 0, leaf) for leaf in ("[0]", "[1]")]
    history.blocks[K.ACTIVATION].add(0, keys, np.zeros((2, 9)))
    assert selected_subject(history, Selection.of_node("rnn", is_parameter=False)) == keys[0]
    assert selected_subject(history, Selection()) is None


def test_siblings_are_below_the_same_parent_or_of_the_same_name() -> None:
    keys = [SubjectKey(K.GRAD, f"{layer}.{part}") for layer in "abc" for part in ("w", "x", "y", "z")]
    assert with_siblings(keys, [5], at_most=3) == [5, 4, 6]
    # Then those of the same last name, the nearest first.
    assert with_siblings(keys, [5], at_most=5) == [5, 1, 4, 6, 7]
    assert with_siblings(keys, [5], at_most=9) == [5, 1, 4, 6, 7, 9]
    assert with_siblings(keys, [], at_most=3) == [0, 6, 11]
    assert with_siblings(keys[:1], [], at_most=3) == [0]
    assert with_siblings([], [], at_most=3) == []


def test_bare_tensors_have_no_layers() -> None:
    state = started(bare_training(), steps=2).state
    assert execution_order(state, K.ACTIVATION) == []
    assert values_of(state.history, K.ACTIVATION, Quantity.STD).shape == (0, 0)
    assert values_of(state.history, K.UPDATE, Quantity.RATIO).shape == (2, 2)
