"""The Moments panel: what ran, in order, and the selection."""

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QAbstractItemModelTester, QSignalSpy
from pytestqt.qtbot import QtBot

from gradscope.protocol.subjects import SubjectKind
from gradscope.state.selection import Selection
from gradscope.ui.docks.moments import MomentsDock
from gradscope.ui.look.colours import LIGHT
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.models.moments import Column, MomentsModel
from tests.ui.fakes import small_training
from tests.ui.shell_fakes import FORWARD_PLACES, ShellController, with_places


@pytest.fixture
def dock(qtbot: QtBot, controller: ShellController, themes: ThemeManager) -> MomentsDock:
    dock = MomentsDock(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(dock)
    dock.resize(900, 300)
    dock.show()
    qtbot.waitExposed(dock)
    return dock


def column(model: MomentsModel, wanted: Column) -> list[str]:
    return [model.index(row, wanted).data() for row in range(model.rowCount())]


def test_the_model_is_a_good_qt_model(controller: ShellController, qtbot: QtBot) -> None:
    model = MomentsModel(controller.state, LIGHT)
    tester = QAbstractItemModelTester(model, QAbstractItemModelTester.FailureReportingMode.Fatal)
    training = small_training()
    controller.start(training, steps=2)
    model.refresh()
    controller.play(with_places(training.steps(1)))
    model.refresh()
    assert tester.model() is model


def test_rows_are_sorted_by_when_they_began(dock: MomentsDock, controller: ShellController) -> None:
    training = small_training()
    controller.start(training)
    assert dock.model.rowCount() == 0
    controller.play(with_places(training.forward()))
    assert column(dock.model, Column.LAYER) == ["", "(model)", "net.0", "net.1", "net.2", ""]
    assert column(dock.model, Column.SUBSTEP) == ["batch", *["forward"] * 4, "loss"]
    assert column(dock.model, Column.SHAPE)[2] == "(32, 16)"
    assert column(dock.model, Column.DURATION)[:3] == ["1 ms", "4 ms", "1 ms"]
    assert column(dock.model, Column.MEMORY)[2] == "2 KiB"


def test_only_the_newest_step_is_shown(dock: MomentsDock, controller: ShellController) -> None:
    training = small_training()
    controller.start(training, steps=1)
    assert column(dock.model, Column.SUBSTEP)[-4:] == ["backward", "backward", "step", "schedule"]
    assert column(dock.model, Column.LAYER)[-4:] == ["net.2.weight.grad", "net.0.weight.grad", "", ""]
    assert dock.title_bar.note.text() == "step 0"
    controller.play(with_places(training.forward()))
    assert dock.model.rowCount() == FORWARD_PLACES
    assert dock.title_bar.note.text() == "step 1"


def test_the_same_again_changes_times_only(dock: MomentsDock, controller: ShellController) -> None:
    training = small_training()
    controller.start(training, steps=1)
    resets = QSignalSpy(dock.model.modelReset)
    controller.play(with_places(training.steps(1)))
    assert resets.count() == 0
    assert dock.title_bar.note.text() == "step 1"


def test_another_session_empties_it(dock: MomentsDock, controller: ShellController) -> None:
    controller.start(small_training(), steps=1)
    controller.play(small_training().opened())
    assert dock.model.rowCount() == 0
    assert dock.model.step is None


def test_a_bar_is_as_long_as_the_share_of_the_longest(dock: MomentsDock, controller: ShellController) -> None:
    controller.start(small_training(), steps=1)
    shares = [
        dock.model.index(row, Column.DURATION).data(MomentsModel.SHARE_ROLE) for row in range(dock.model.rowCount())
    ]
    assert shares[1] == 1
    assert shares[2] == pytest.approx(0.25)
    assert shares[-1] is None
    assert not dock.view.grab().isNull()


def test_selecting_a_row_selects_its_layer(dock: MomentsDock, controller: ShellController) -> None:
    controller.start(small_training(), steps=1)
    rows = column(dock.model, Column.LAYER)
    dock.view.setCurrentIndex(dock.model.index(rows.index("net.1"), 0))
    assert controller.state.selection == Selection.of_node("net.1", is_parameter=False)
    dock.view.setCurrentIndex(dock.model.index(rows.index("net.0.weight.grad"), 0))
    assert controller.state.selection.name == "net.0.weight"
    assert controller.state.selection.kind is SubjectKind.GRAD
    before = controller.state.selection
    dock.view.setCurrentIndex(dock.model.index(0, 0))
    assert controller.state.selection == before


def test_the_row_follows_the_selection(dock: MomentsDock, controller: ShellController) -> None:
    controller.start(small_training(), steps=1)
    controller.select(Selection.of_node("net.2", is_parameter=False))
    assert dock.view.currentIndex().siblingAtColumn(Column.LAYER).data() == "net.2"
    controller.select(Selection.of_node("net.2.bias", is_parameter=True))
    assert not dock.view.selectionModel().hasSelection()


def test_a_closed_panel_catches_up_when_it_is_shown(dock: MomentsDock, controller: ShellController) -> None:
    training = small_training()
    controller.start(training)
    dock.hide()
    controller.play(with_places(training.steps(1)))
    assert dock.model.rowCount() == 0
    dock.show()
    assert dock.model.rowCount() > FORWARD_PLACES


def test_numbers_are_right_aligned(dock: MomentsDock, controller: ShellController) -> None:
    controller.start(small_training(), steps=1)
    for wanted in (Column.START, Column.DURATION, Column.MEMORY):
        alignment = dock.model.index(1, wanted).data(Qt.ItemDataRole.TextAlignmentRole)
        assert alignment & Qt.AlignmentFlag.AlignRight


def test_starts_count_from_the_beginning_of_the_step(dock: MomentsDock, controller: ShellController) -> None:
    training = small_training()
    controller.start(training)
    controller.play(with_places(training.steps(1)))
    starts = dock.model._times[:, 0]
    substeps = column(dock.model, Column.SUBSTEP)
    assert (starts[1:] >= starts[:-1]).all()
    forward, backward, step = (starts[substeps.index(name)] for name in ("forward", "backward", "step"))
    assert forward < backward < step
    # Until the first gradient the whole forward has passed, as long as it took.
    took = dock.model._times[substeps.index("forward"), 1]
    assert backward >= forward + took
