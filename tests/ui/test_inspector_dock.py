"""The inspector as a whole: it follows the selection, and fetches only when the session rests and it is seen."""

from pathlib import Path

import numpy as np
import pytest
from PySide6.QtTest import QTest
from pytestqt.qtbot import QtBot

from gradscope.protocol import messages
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import MAX, MIN, SubjectKey, SubjectKind, SubjectRow
from gradscope.state.selection import Selection
from gradscope.state.topics import Topic
from gradscope.ui.docks.inspector import InspectorDock
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.charts.histogram_chart import HistogramChart
from tests.ui.fakes import (
    FakeController,
    FakeTraining,
    answer_fetch,
    bare_training,
    full_training,
    light_themes,
    small_training,
    started,
)

K = SubjectKind


def make_dock(qtbot: QtBot, tmp_path: Path, controller: FakeController, *, show: bool = True) -> InspectorDock:
    dock = InspectorDock(controller, light_themes(tmp_path))
    qtbot.addWidget(dock)
    dock.resize(340, 560)
    if show:
        dock.show()
    return dock


def select(controller: FakeController, kind: SubjectKind, name: str) -> None:
    controller.select(Selection.of_subject(SubjectKey(kind, name)))


def asked_for(controller: FakeController) -> list[str]:
    return [f"{type(message).__name__} {message.subject.label()}" for message, _ in controller.fetches]


def test_without_a_session_or_a_selection(qtbot: QtBot, tmp_path: Path) -> None:
    controller = FakeController()
    dock = make_dock(qtbot, tmp_path, controller)
    assert dock.message == "Open a recipe to begin"
    controller.play(small_training().opened())
    assert dock.message == "Select a layer, a parameter or a buffer to see its numbers"


def test_a_subject_that_is_not_there_yet_says_what_to_press(qtbot: QtBot, tmp_path: Path) -> None:
    controller = started(small_training())
    dock = make_dock(qtbot, tmp_path, controller)
    select(controller, K.ACTIVATION, "net.0")
    assert dock.message == "Press Forward (F5) to see activations"
    select(controller, K.UPDATE, "net.0.weight")
    assert "Step (F7)" in dock.message
    assert controller.fetches == []
    # A parameter has its value from the start.
    select(controller, K.PARAMETER, "net.0.weight")
    assert dock.message == "" and dock.header._moment.text() == "Before the first step"


def test_the_engine_s_reason_is_told(qtbot: QtBot, tmp_path: Path) -> None:
    training = small_training()
    controller = started(training, steps=1)
    dock = make_dock(qtbot, tmp_path, controller)
    *_, report, _moved = list(training.forward())
    absent = messages.Absence(name="net.9", kind="activation", reason="The layer was never called")
    controller.state.apply(messages.Report(**{**vars(report), "absent": (absent,)}))
    select(controller, K.ACTIVATION, "net.9")
    assert dock.message == "The layer was never called"


def test_what_was_not_called_waits_for_no_button(qtbot: QtBot, tmp_path: Path) -> None:
    """A container without parameters of its own, say; the engine says nothing of it."""
    controller = started(small_training(), steps=2)
    dock = make_dock(qtbot, tmp_path, controller)
    select(controller, K.ACTIVATION, "net")
    assert "was not called in the newest forward" in dock.message and "Press" not in dock.message


@pytest.mark.parametrize(
    ("kind", "name", "moment"),
    [
        (K.ACTIVATION, "net.0", "Forward of step 41, batch 12 of epoch 1"),
        (K.ACTIVATION_GRAD, "net.0", "Gradient of the loss, batch 12 of epoch 1, before step 41"),
        (K.GRAD, "net.0.bias", "Gradient of the loss, batch 12 of epoch 1, before step 41"),
        (K.PARAMETER, "net.0.bias", "After step 41, batch 12 of epoch 1"),
        (K.UPDATE, "net.0.bias", "Change made by step 41, batch 12 of epoch 1"),
    ],
)
def test_it_says_which_moment(qtbot: QtBot, tmp_path: Path, kind: SubjectKind, name: str, moment: str) -> None:
    controller = started(small_training(), steps=42)
    dock = make_dock(qtbot, tmp_path, controller)
    select(controller, kind, name)
    assert dock.header._moment.text() == moment


def test_clipped_gradients_and_optimizer_state_can_be_chosen(qtbot: QtBot, tmp_path: Path) -> None:
    controller = started(full_training(), steps=2)
    dock = make_dock(qtbot, tmp_path, controller)
    select(controller, K.PARAMETER, "net.0.weight")
    buttons = dock.header._buttons
    optional = [K.CLIPPED_GRAD, K.OPTIMIZER_STATE]
    assert [kind for kind, button in buttons.items() if button.isVisible()] == [
        K.PARAMETER,
        K.GRAD,
        K.UPDATE,
        *optional,
    ]
    buttons[K.CLIPPED_GRAD].click()
    assert dock.header._moment.text().startswith("Gradient after clipping, in step 1")
    buttons[K.OPTIMIZER_STATE].click()
    leaves = dock.header._leaves
    assert [leaves.itemText(i) for i in range(leaves.count())] == ["exp_avg", "exp_avg_sq"] and leaves.isVisible()
    assert dock.header._moment.text().startswith("Running mean of the gradients. ")
    leaves.setCurrentIndex(1)
    leaves.activated.emit(1)
    assert controller.state.selection.leaf == ".exp_avg_sq"


def test_values_are_fetched_again_when_they_may_have_changed_without_a_report(qtbot: QtBot, tmp_path: Path) -> None:
    controller = started(small_training(), steps=1)
    asked: list[object] = []
    controller.answer = lambda message: (asked.append(message), answer_fetch(message))[1]
    dock = make_dock(qtbot, tmp_path, controller)
    dock.tabs.setCurrentWidget(dock.picture)
    select(controller, K.GRAD, "net.0.weight")
    assert len(asked) == 1
    controller.state.touch(Topic.HISTORY)
    controller.flush()
    assert len(asked) == 1
    controller.state.apply(messages.Done(position=controller.state.position))
    controller.flush()
    assert len(asked) == 2


def test_the_kind_is_chosen_by_buttons(qtbot: QtBot, tmp_path: Path) -> None:
    controller = started(small_training(), steps=2)
    dock = make_dock(qtbot, tmp_path, controller)
    select(controller, K.PARAMETER, "net.0.weight")
    buttons = dock.header._buttons
    assert [kind for kind, button in buttons.items() if button.isVisible()] == [K.PARAMETER, K.GRAD, K.UPDATE]
    buttons[K.UPDATE].click()
    assert controller.state.selection.kind is K.UPDATE and buttons[K.UPDATE].isChecked()


def test_calls_and_parts_are_chosen_where_there_are_several(qtbot: QtBot, tmp_path: Path) -> None:
    controller = started(small_training(), steps=1)
    dock = make_dock(qtbot, tmp_path, controller)
    select(controller, K.ACTIVATION, "net.0")
    assert not dock.header._calls.isVisible() and not dock.header._leaves.isVisible()
    add_recurrent(controller)
    controller.select(Selection.of_node("rnn", is_parameter=False))
    assert dock.header._calls.isVisible() and dock.header._leaves.isVisible()
    assert dock.header._name.text() == "rnn [0]"
    dock.header._leaves.setCurrentIndex(1)
    dock.header._leaves.activated.emit(1)
    dock.header._calls.setCurrentIndex(1)
    dock.header._calls.activated.emit(1)
    assert controller.state.selection.subject == SubjectKey(K.ACTIVATION, "rnn", 1, "[1]")


def add_recurrent(controller: FakeController) -> None:
    keys = [SubjectKey(K.ACTIVATION, "rnn", call, leaf) for call in range(2) for leaf in ("[0]", "[1]")]
    training = FakeTraining(layers={"rnn": (4, 4)}, parameters={})
    first = len(controller.state.history.rows)
    controller.state.apply(
        messages.Subjects(first=first, rows=tuple(SubjectRow(key, (4, 4), "float32") for key in keys))
    )
    summaries = training.summaries(keys)
    report = controller.state.reports[Phase.FORWARD]
    controller.state.apply(
        messages.Report(
            **{
                **vars(report),
                "subjects": np.arange(first, first + 4),
                "summaries": summaries,
                "histograms": np.zeros((4, 96), dtype=np.int32),
                "sampled": np.zeros(4, dtype=np.int64),
            }
        )
    )


# ------------------------------------------------------------------------------------------ when it fetches


def test_nothing_is_fetched_while_it_is_hidden(qtbot: QtBot, tmp_path: Path) -> None:
    controller = started(small_training(), steps=1)
    dock = make_dock(qtbot, tmp_path, controller, show=False)
    select(controller, K.GRAD, "net.0.weight")
    assert controller.fetches == []
    dock.show()
    assert asked_for(controller) == ["FetchHistogram net.0.weight"]


def test_nothing_is_fetched_while_it_runs(qtbot: QtBot, tmp_path: Path) -> None:
    training = small_training()
    controller = started(training, steps=1)
    dock = make_dock(qtbot, tmp_path, controller)
    controller.set_running(True)
    select(controller, K.GRAD, "net.0.weight")
    for index in (1, 2, 0):
        dock.tabs.setCurrentIndex(index)
    assert "pauses" in dock.picture.message and "pauses" in dock.values.message
    # The live histogram is there all the same.
    assert dock.histogram.message == "" and dock.histogram._axis.is_power
    assert controller.fetches == []
    controller.set_running(False)
    assert asked_for(controller) == ["FetchHistogram net.0.weight"]


def test_it_fetches_again_only_when_something_moved(qtbot: QtBot, tmp_path: Path) -> None:
    training = small_training()
    controller = started(training, steps=1)
    controller.answer = lambda message: fetched.append(message) or answer_fetch(message)
    fetched: list[object] = []
    make_dock(qtbot, tmp_path, controller)
    select(controller, K.PARAMETER, "net.0.weight")
    assert len(fetched) == 1
    # Of another session, or others of its layers, they are forgotten.
    controller.state.touch(*set(Topic) - {Topic.SESSION, Topic.MODEL})
    controller.flush()
    assert len(fetched) == 1
    controller.play(training.forward())
    assert len(fetched) == 2


def test_only_the_tab_that_is_seen_fetches(qtbot: QtBot, tmp_path: Path) -> None:
    controller = started(small_training(), steps=1)
    dock = make_dock(qtbot, tmp_path, controller)
    dock.tabs.setCurrentIndex(1)
    select(controller, K.GRAD, "net.0.weight")
    assert asked_for(controller) == ["FetchPicture net.0.weight"]
    dock.tabs.setCurrentIndex(2)
    qtbot.waitUntil(lambda: len(controller.fetches) > 1)
    assert asked_for(controller)[1] == "FetchPage net.0.weight"


def test_hurrying_through_layers_asks_for_the_first_and_the_last(qtbot: QtBot, tmp_path: Path) -> None:
    controller = started(small_training(), steps=1)
    make_dock(qtbot, tmp_path, controller)
    for name in ("net.0.weight", "net.0.bias", "net.2.weight", "net.2.bias"):
        select(controller, K.GRAD, name)
    assert asked_for(controller) == ["FetchHistogram net.0.weight"]
    message, on_reply = controller.fetches[0]
    on_reply(answer_fetch(message))
    assert asked_for(controller) == ["FetchHistogram net.0.weight", "FetchHistogram net.2.bias"]


def test_an_answer_of_another_session_is_dropped(qtbot: QtBot, tmp_path: Path) -> None:
    controller = started(small_training(), steps=1)
    dock = make_dock(qtbot, tmp_path, controller)
    dock.tabs.setCurrentIndex(1)
    select(controller, K.PARAMETER, "net.0.weight")
    message, on_reply = controller.fetches[0]
    controller.play(bare_training().opened())
    on_reply(answer_fetch(message))
    assert dock.picture.picture is None
    select(controller, K.PARAMETER, "w")
    assert asked_for(controller)[-1] == "FetchPicture w"


# ------------------------------------------------------------------------------------------ what it shows


def test_the_exact_histogram_replaces_the_live_one(qtbot: QtBot, tmp_path: Path) -> None:
    controller = started(small_training(), steps=1)
    controller.answer = answer_fetch
    dock = make_dock(qtbot, tmp_path, controller)
    select(controller, K.GRAD, "net.0.weight")
    chart = dock.histogram
    assert not chart._axis.is_power and len(chart._bars.opts["height"]) == 80
    assert sum(chart._bars.opts["height"]) == pytest.approx(100)
    chart._powers.setChecked(True)
    assert chart._axis.is_power
    latest = controller.state.history.latest(SubjectKey(K.GRAD, "net.0.weight"))
    assert len(chart._bars.opts["height"]) == (latest.histogram > 0).sum()
    # Bin 20 is of the negative numbers of magnitude 2**-5 to 2**-4: drawn at -28.
    drawn = dict(zip(chart._bars.opts["x0"] + 0.5, chart._bars.opts["height"], strict=True))
    assert drawn[-28] == pytest.approx(100 * latest.histogram[20] / latest.sampled)
    low, high, _ = chart._drawn
    assert (low[20], high[20]) == (-(2.0**-4), -(2.0**-5))
    assert (low[75], high[75]) == (2.0**-5, 2.0**-4)
    table = chart.table(controller.state)
    assert table.rows == (latest.histogram > 0).sum() and table.cell(0, 2) > 0


def test_bars_at_the_ends_say_how_far_they_go(qtbot: QtBot, tmp_path: Path, themes: ThemeManager) -> None:
    """A gradient of 1e23 is in the bar of 2**15, which takes in all that is beyond."""
    controller = started(small_training(), steps=1)
    latest = controller.state.history.latest(SubjectKey(K.GRAD, "net.0.weight"))
    assert latest is not None
    latest.histogram[:] = 0
    latest.histogram[[0, 40, -1]] = 7, 30, 1234
    latest.summary[[MIN, MAX]] = -70000.0, 1.5e23
    chart = HistogramChart(controller, themes)
    qtbot.addWidget(chart)
    chart.resize(900, 300)
    chart.show()
    chart.look_at(latest, None)
    assert chart.readout.text() == "7 values from -2¹⁵ to -70000, 1,234 values from 2¹⁵ to 1.5e23".replace(
        "-7e4", "-70000"
    )
    axis = chart.plot.getAxis("bottom")
    assert axis.tickStrings([-48.5, 48.5, 46.5], 1.0, 1.0) == ["-70000", "1.5e23", "2¹⁴"]
    tips: list[str] = []
    chart.plot.show_tip = tips.append
    chart.plot.pointed_at.emit(48.0, 1.0)
    assert tips == ["32768 to 1.5e23: 1,234 values"]
    assert [chart.table(controller.state).cell(2, column) for column in range(3)] == [
        32768.0,
        pytest.approx(1.5e23),
        1234,
    ]
    # The nearest to zero goes down to it; where nothing is beyond, nothing is said of it.
    latest.histogram[:] = 0
    latest.histogram[[47, 48]] = 5
    latest.summary[[MIN, MAX]] = -1e-30, 1e-20
    chart.look_at(latest, None)
    assert chart.readout.text() == "" and axis.tickStrings([48.5], 1.0, 1.0) == ["2¹⁶"]
    assert chart.table(controller.state).cell(1, 0) == 0.0


def test_the_picture_says_how_coarse_it_is(qtbot: QtBot, tmp_path: Path) -> None:
    controller = started(small_training(), steps=1)
    controller.answer = answer_fetch
    dock = make_dock(qtbot, tmp_path, controller)
    dock.tabs.setCurrentIndex(1)
    select(controller, K.GRAD, "net.0.weight")
    assert dock.picture.message == ""
    assert dock.picture.readout.text() == "a pixel is the largest magnitude of 50 × 13"
    assert dock.picture._image.image.shape == (60, 40, 4)
    tips: list[str] = []
    dock.picture.plot.show_tip = tips.append
    dock.picture.plot.pointed_at.emit(20.0, 120.0)
    assert tips[0].startswith("Rows 100 to 149, columns 13 to 25: largest magnitude ")


@pytest.mark.parametrize("shape", [(), (7,), (7, 3), (5, 4, 7, 3)])
def test_pictures_of_any_shape(qtbot: QtBot, tmp_path: Path, shape: tuple[int, ...]) -> None:
    training = small_training()
    training.parameters["net.0.weight"] = shape
    controller = started(training)
    rows, columns = (*shape, 1, 1)[:2] if len(shape) < 2 else shape[-2:]

    def answer(fetch: messages.FetchPicture) -> messages.Picture:
        assert len(fetch.index) == max(0, len(shape) - 2)
        values = np.full((rows, columns), np.nan, dtype=np.float32)
        return messages.Picture(subject=fetch.subject, shape=shape, index=fetch.index, block=(1, 1), values=values)

    controller.answer = lambda fetch: answer(fetch) if isinstance(fetch, messages.FetchPicture) else answer_fetch(fetch)
    dock = make_dock(qtbot, tmp_path, controller)
    select(controller, K.PARAMETER, "net.0.weight")
    dock.tabs.setCurrentIndex(1)
    assert dock.picture.message == ""
    assert dock.picture._index_bar.isVisible() == (len(shape) > 2)
    assert dock.picture._extent() == ((1, 7) if shape == (7,) else (rows, columns))


def test_values_that_cannot_be_had_say_why(qtbot: QtBot, tmp_path: Path) -> None:
    controller = started(small_training(), steps=1)
    reason = "Activations are kept until the next forward"
    controller.answer = lambda fetch: messages.Unavailable(subject=fetch.subject, reason=reason)
    dock = make_dock(qtbot, tmp_path, controller)
    select(controller, K.ACTIVATION, "net.0")
    # The histogram of the report is there.
    assert dock.histogram.message == ""
    dock.tabs.setCurrentIndex(1)
    assert dock.picture.message == reason
    dock.tabs.setCurrentIndex(2)
    qtbot.waitUntil(lambda: dock.values.message == reason)


def test_all_three_tabs_of_a_scalar(qtbot: QtBot, tmp_path: Path) -> None:
    controller = started(bare_training(), steps=3)
    dock = make_dock(qtbot, tmp_path, controller)
    for kind in (K.PARAMETER, K.GRAD, K.UPDATE):
        select(controller, kind, "w")
        for index in range(3):
            dock.tabs.setCurrentIndex(index)
            QTest.qWait(1)
    assert dock.header._form.text() == "scalar · float32"
    assert dock.message == ""
