"""The inspector's parts: fetching without a flood, pages of values, the summary."""

from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QModelIndex, Qt
from pytestqt.qtbot import QtBot

from gradscope.protocol import messages
from gradscope.protocol.subjects import L2, MEAN, SubjectKey, SubjectKind
from gradscope.ui.actions.fetcher import Fetcher
from gradscope.ui.inspector.summary_view import SummaryView
from gradscope.ui.inspector.values_view import ValuesView
from gradscope.ui.models.value_table import MAX_SECTIONS, ValueTableModel, slice_size
from gradscope.ui.widgets.index_bar import IndexBar
from tests.ui.fakes import FakeController, answer_fetch, light_themes, small_training, started

SUBJECT = SubjectKey(SubjectKind.PARAMETER, "net.0.weight")


def histogram_of(name: str) -> messages.FetchHistogram:
    return messages.FetchHistogram(subject=SubjectKey(SubjectKind.GRAD, name))


# ------------------------------------------------------------------------------------------ fetcher


def test_one_request_at_a_time_and_the_newest_wins(qtbot: QtBot) -> None:
    controller, replies = FakeController(), []
    fetcher = Fetcher(controller)
    for name in "abcd":
        fetcher.request(histogram_of(name), lambda reply, name=name: replies.append((name, reply)))
    assert [fetch[0].subject.name for fetch in controller.fetches] == ["a"]
    controller.fetches[0][1]("answer of a")
    # The answer of a is of no interest any more; b and c were never asked for.
    assert [fetch[0].subject.name for fetch in controller.fetches] == ["a", "d"] and replies == []
    controller.fetches[1][1]("answer of d")
    assert replies == [("d", "answer of d")]
    fetcher.request(histogram_of("e"), lambda reply: replies.append(("e", reply)))
    assert len(controller.fetches) == 3


def test_an_answer_that_never_comes_does_not_block(qtbot: QtBot) -> None:
    controller, replies = FakeController(), []
    fetcher = Fetcher(controller)
    fetcher.request(histogram_of("lost"), replies.append)
    fetcher.forget()
    fetcher.request(histogram_of("next"), replies.append)
    controller.fetches[0][1]("late")
    assert replies == []
    controller.fetches[1][1]("in time")
    assert replies == ["in time"]


def test_answers_at_once_are_no_trouble(qtbot: QtBot) -> None:
    controller, replies = FakeController(), []
    controller.answer = answer_fetch
    fetcher = Fetcher(controller)
    for name in "ab":
        fetcher.request(histogram_of(name), lambda reply: replies.append(reply.subject.name))
    assert replies == ["a", "b"]


# ------------------------------------------------------------------------------------------ value table


def text_at(model: ValueTableModel, row: int, column: int) -> str:
    return str(model.index(row, column).data())


def pages_asked_for(controller: FakeController) -> list[tuple[int, int]]:
    return [(fetch[0].row, fetch[0].column) for fetch in controller.fetches]


@pytest.fixture
def model(qtbot: QtBot) -> ValueTableModel:
    controller = FakeController()
    model = ValueTableModel(controller, controller)
    model.controller = controller
    model.show_slice(SUBJECT, shape=(3000, 500), dtype="float32", index=())
    return model


def answer_last(controller: FakeController) -> None:
    message, on_reply = controller.fetches[-1]
    on_reply(answer_fetch(message))


def test_only_pages_that_are_looked_at_are_fetched(qtbot: QtBot, model: ValueTableModel) -> None:
    controller = model.controller
    assert (model.rowCount(), model.columnCount()) == (3000, 500)
    assert text_at(model, 70, 3) == "…"
    assert controller.fetches == []
    qtbot.waitUntil(lambda: bool(controller.fetches))
    assert pages_asked_for(controller) == [(64, 0)]
    with qtbot.waitSignal(model.dataChanged) as changed:
        answer_last(controller)
    top, bottom = changed.args[0], changed.args[1]
    assert (top.row(), top.column(), bottom.row(), bottom.column()) == (64, 0, 127, 63)
    assert text_at(model, 70, 3) == "70.003"
    assert text_at(model, 127, 63) == "127.063"
    assert pages_asked_for(controller) == [(64, 0)]


def test_the_page_looked_at_last_comes_first(qtbot: QtBot, model: ValueTableModel) -> None:
    controller = model.controller
    text_at(model, 0, 0)
    qtbot.waitUntil(lambda: len(controller.fetches) == 1)
    for row in range(64, 64 * 20, 64):
        text_at(model, row, 0)
    for expected in range(2, 10):
        answer_last(controller)
        qtbot.waitUntil(lambda expected=expected: len(controller.fetches) == expected)
    answer_last(controller)
    # One under way and eight that waited: what was scrolled past is not fetched.
    assert pages_asked_for(controller) == [(0, 0)] + [(64 * n, 0) for n in range(19, 11, -1)]
    text_at(model, 64, 0)
    qtbot.waitUntil(lambda: len(controller.fetches) == 10)


def test_replies_of_another_moment_are_dropped(qtbot: QtBot, model: ValueTableModel) -> None:
    controller = model.controller
    text_at(model, 0, 0)
    qtbot.waitUntil(lambda: len(controller.fetches) == 1)
    model.show_slice(SUBJECT, shape=(3000, 500), dtype="float32", index=())
    answer_last(controller)
    assert model.page_count == 0
    text_at(model, 0, 0)
    qtbot.waitUntil(lambda: len(controller.fetches) == 2)
    answer_last(controller)
    assert text_at(model, 0, 1) == "0.001"


def test_the_same_shape_keeps_the_scroll_position(qtbot: QtBot, model: ValueTableModel) -> None:
    with qtbot.assertNotEmitted(model.modelReset), qtbot.waitSignal(model.dataChanged):
        model.show_slice(SUBJECT, shape=(3000, 500), dtype="float32", index=())
    with qtbot.waitSignal(model.modelReset):
        model.show_slice(SUBJECT, shape=(3000, 501), dtype="float32", index=())


def test_memory_of_pages_is_bounded(qtbot: QtBot, model: ValueTableModel) -> None:
    controller = model.controller
    controller.answer = answer_fetch
    for row in range(0, 3000, 64):
        for column in range(0, 500, 64):
            text_at(model, row, column)
            qtbot.waitUntil(lambda row=row, column=column: text_at(model, row, column) != "…")
    assert model.page_count == 256


@pytest.mark.parametrize(
    ("dtype", "value", "text"),
    [
        ("float32", float(np.float32(0.1)), "0.100000001"),
        ("float64", 0.1, "0.10000000000000001"),
        ("float16", float(np.float16(0.1)), "0.099976"),
        ("bfloat16", 0.10009765625, "0.1001"),
        ("float32", float("nan"), "NaN"),
        ("float32", float("-inf"), "-Inf"),
    ],
)
def test_values_are_exact_for_their_dtype(qtbot: QtBot, dtype: str, value: float, text: str) -> None:
    assert shown_value(qtbot, dtype, value, integer=False) == text


def test_whole_numbers_have_no_decimals(qtbot: QtBot) -> None:
    assert shown_value(qtbot, "int64", 9007199254740991.0, integer=True) == "9007199254740991"


def shown_value(qtbot: QtBot, dtype: str, value: float, *, integer: bool) -> str:
    controller = FakeController()
    controller.answer = lambda fetch: messages.Page(
        subject=SUBJECT, shape=(), dtype=dtype, index=(), row=0, column=0, values=np.array([[value]]), integer=integer
    )
    model = ValueTableModel(controller, controller)
    model.show_slice(SUBJECT, shape=(), dtype=dtype, index=())
    text_at(model, 0, 0)
    qtbot.waitUntil(lambda: text_at(model, 0, 0) != "…")
    return text_at(model, 0, 0)


def test_slices() -> None:
    assert slice_size(()) == (1, 1)
    assert slice_size((7,)) == (7, 1)
    assert slice_size((7, 3)) == (7, 3)
    assert slice_size((2, 5, 7, 3)) == (7, 3)


def test_a_tensor_of_more_rows_than_a_table_holds_has_a_jump(qtbot: QtBot) -> None:
    training = small_training()
    training.parameters["net.0.weight"] = (5_000_000,)
    controller = started(training)
    controller.answer = lambda fetch: messages.Page(
        subject=SUBJECT, shape=(5_000_000,), dtype="float32", index=(), row=fetch.row, column=0,
        values=np.arange(fetch.row, fetch.row + 64, dtype=np.float64)[:, None],
    )  # fmt: skip
    view = ValuesView(controller)
    qtbot.addWidget(view)
    view.resize(340, 300)
    view.show()
    view.look_at(controller.state.history.latest(SUBJECT), "now")
    assert view.model.rowCount() == MAX_SECTIONS
    label, spin = view._jumps[0]
    assert spin.isVisible() and not view._jumps[1][1].isVisible()
    spin.setValue(4_999_990)
    assert view.model.rowCount() == 10
    assert view.model.headerData(0, Qt.Orientation.Vertical) == "4999990"
    qtbot.waitUntil(lambda: text_at(view.model, 0, 0) == "4999990")
    assert label.text() == "from row"


# ------------------------------------------------------------------------------------------ index bar, summary


def test_the_index_bar_is_for_more_than_two_dimensions(qtbot: QtBot) -> None:
    bar = IndexBar()
    qtbot.addWidget(bar)
    bar.show_shape((4, 3))
    assert bar.isHidden() and bar.index == ()
    bar.show_shape((4, 2, 3, 3))
    assert not bar.isHidden() and bar.index == (0, 0)
    with qtbot.waitSignal(bar.changed):
        bar._spins[0].setValue(3)
    bar.show_shape((4, 2, 5, 5))
    assert bar.index == (3, 0)
    bar.show_shape((2, 2, 5, 5))
    assert bar.index == (0, 0)


def test_the_summary_is_copied_exactly(qtbot: QtBot, tmp_path: Path) -> None:
    controller = started(small_training(), steps=3)
    view = SummaryView(light_themes(tmp_path))
    qtbot.addWidget(view)
    key = SubjectKey(SubjectKind.UPDATE, "net.0.weight")
    latest = controller.state.history.latest(key)
    view.show_subject(controller.state, latest)
    copied = dict(line.split("\t") for line in view.all_as_text().splitlines())
    assert list(copied) == ["count", "min", "max", "mean", "std", "NaN", "Inf", "zeros", "L2", "ratio"]
    assert float(copied["mean"]) == latest.summary[MEAN]
    assert copied["count"] == "128"
    parameter = controller.state.history.latest(SubjectKey(SubjectKind.PARAMETER, "net.0.weight"))
    assert float(copied["ratio"]) == latest.summary[L2] / parameter.summary[L2]
    view.selectAll()
    assert view.selection_as_text().splitlines()[0].split("\t") == ["count", "128", "NaN", "0"]


def test_alarming_counts_are_coloured_and_undefined_numbers_are_dashes(qtbot: QtBot, tmp_path: Path) -> None:
    key = SubjectKey(SubjectKind.GRAD, "net.0.bias")
    controller = started(small_training(non_finite_from={key: 0}), steps=1)
    latest = controller.state.history.latest(key)
    latest.summary[MEAN] = np.nan
    view = SummaryView(light_themes(tmp_path))
    qtbot.addWidget(view)
    view.show_subject(controller.state, latest)
    model = view.model()
    assert model.rowCount() == 5 and model.columnCount() == 4
    cells = {model.index(row, column).data().strip(): model.index(row, column + 1) for row in range(5) for column in (0, 2)
             if model.index(row, column).data()}  # fmt: skip
    assert cells["NaN"].data() == "5" and cells["NaN"].data(Qt.ItemDataRole.ForegroundRole) is not None
    assert cells["count"].data(Qt.ItemDataRole.ForegroundRole) is None
    assert cells["mean"].data() == "–"
    assert model.index(4, 3).data() is None and not QModelIndex().isValid()
