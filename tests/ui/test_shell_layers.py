"""The Layers panel: the tree, its numbers and flags, the filter, and the one selection."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PySide6.QtCore import QEvent, QObject, QRect, Qt
from PySide6.QtGui import QColor, QPaintEvent
from PySide6.QtTest import QAbstractItemModelTester, QSignalSpy
from PySide6.QtWidgets import QTreeView, QWidget
from pytestqt.qtbot import QtBot

from gradscope.protocol import absences, messages, numbers
from gradscope.protocol.messages import Absence, ModuleInfo, ParameterInfo, SessionInfo
from gradscope.protocol.phases import Phase, Position, Rest
from gradscope.protocol.subjects import L2, MEAN, STD, SubjectKey, SubjectKind
from gradscope.state.selection import Selection
from gradscope.ui.docks.layers import LayersDock
from gradscope.ui.look.colours import DARK, LIGHT
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.models.layer_tree import Column, LayerTreeModel
from tests.session_info import session_info
from tests.ui.fakes import FakeTraining, bare_training, deep_training, small_training, switch_theme
from tests.ui.shell_fakes import ShellController

K = SubjectKind


@pytest.fixture
def dock(qtbot: QtBot, controller: ShellController, themes: ThemeManager) -> LayersDock:
    dock = LayersDock(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(dock)
    dock.resize(700, 500)
    dock.show()
    return dock


def cell(model: LayerTreeModel, name: str, column: Column, *, is_parameter: bool = False) -> str:
    index = model.index_of(name, is_parameter=is_parameter)
    assert index.isValid(), name
    return str(index.siblingAtColumn(column).data())


def names(model: LayerTreeModel) -> list[str]:
    """All rows, as the view shows them when everything is expanded."""
    found: list[str] = []
    waiting = [model.index(0, 0)] if model.rowCount() else []
    while waiting:
        index = waiting.pop(0)
        found.append(index.data())
        waiting[:0] = [model.index(row, 0, index) for row in range(model.rowCount(index))]
    return found


def test_the_model_is_a_good_qt_model(controller: ShellController, qtbot: QtBot) -> None:
    model = LayerTreeModel(controller.state, LIGHT)
    tester = QAbstractItemModelTester(model, QAbstractItemModelTester.FailureReportingMode.Fatal)
    training = small_training()
    controller.start(training, steps=2)
    model.rebuild()
    model.refresh_values()
    model.set_filter("weight")
    model.set_filter("")
    model.set_theme(DARK)
    assert tester.model() is model


def test_parameters_come_before_the_layers_below(dock: LayersDock, controller: ShellController) -> None:
    controller.start(small_training())
    assert names(dock.model) == ["Small", "net", "0", "weight", "bias", "1", "2", "weight", "bias"]
    assert cell(dock.model, "net.0.weight", Column.FORM, is_parameter=True) == "16 × 8"


def test_bare_tensors_hang_at_the_root(dock: LayersDock, controller: ShellController) -> None:
    controller.start(bare_training(), steps=1)
    assert names(dock.model) == ["Bare", "w", "b"]
    assert cell(dock.model, "w", Column.FORM, is_parameter=True) == "scalar"
    assert cell(dock.model, "w", Column.GRADIENT, is_parameter=True)


def test_the_numbers_are_the_newest_summaries(dock: LayersDock, controller: ShellController) -> None:
    controller.start(small_training(), steps=3)
    latest = controller.state.history.latest
    output, weight = latest(SubjectKey(K.ACTIVATION, "net.1")), latest(SubjectKey(K.PARAMETER, "net.0.weight"))
    gradient, update = latest(SubjectKey(K.GRAD, "net.0.weight")), latest(SubjectKey(K.UPDATE, "net.0.weight"))
    assert output and weight and gradient and update
    value = cell(dock.model, "net.1", Column.VALUE)
    assert (
        value == f"{numbers.number(output.summary[MEAN], digits=2)} ± {numbers.number(output.summary[STD], digits=2)}"
    )
    shown = cell(dock.model, "net.0.weight", Column.GRADIENT, is_parameter=True)
    assert shown == numbers.number(gradient.summary[L2], digits=3)
    shown = cell(dock.model, "net.0.weight", Column.UPDATE, is_parameter=True)
    assert float(shown) == pytest.approx(update.summary[L2] / weight.summary[L2], rel=0.05)
    index = dock.model.index_of("net.1", is_parameter=False).siblingAtColumn(Column.VALUE)
    assert index.data(Qt.ItemDataRole.TextAlignmentRole) & Qt.AlignmentFlag.AlignRight


def test_parameters_have_a_value_before_the_first_step(dock: LayersDock, controller: ShellController) -> None:
    controller.start(small_training())
    assert "±" in cell(dock.model, "net.0.bias", Column.VALUE, is_parameter=True)
    assert cell(dock.model, "net.0.bias", Column.GRADIENT, is_parameter=True) == ""


def test_numbers_refresh_without_a_reset(dock: LayersDock, controller: ShellController) -> None:
    training = small_training()
    controller.start(training)
    dock.view.collapse(dock.model.index_of("net.0", is_parameter=False))
    resets, changes = QSignalSpy(dock.model.modelReset), QSignalSpy(dock.model.dataChanged)
    controller.play(training.steps(2))
    assert resets.count() == 0
    assert changes.count() >= 1
    assert not dock.view.isExpanded(dock.model.index_of("net.0", is_parameter=False))


def test_a_gradient_of_an_earlier_step_is_not_shown_as_the_newest(
    dock: LayersDock, controller: ShellController
) -> None:
    training = small_training()
    controller.start(training)
    controller.play(training.steps(1))
    assert cell(dock.model, "net.0.weight", Column.GRADIENT, is_parameter=True)
    report = controller.state.reports[Phase.BACKWARD]
    nothing = np.zeros(0, dtype=np.int64)
    empty = replace(
        report,
        step=report.step + 1,
        subjects=nothing,
        sampled=nothing,
        summaries=report.summaries[:0],
        histograms=report.histograms[:0],
    )
    controller.play(iter([empty]))
    assert cell(dock.model, "net.0.weight", Column.GRADIENT, is_parameter=True) == ""


class Painted(QObject):
    """The areas of a widget that were painted."""

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self.areas: list[QRect] = []
        widget.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if isinstance(event, QPaintEvent):
            self.areas.append(event.region().boundingRect())
        return False


def test_every_row_is_painted_anew(dock: LayersDock, controller: ShellController, qtbot: QtBot) -> None:
    training = small_training()
    controller.start(training)
    controller.play(training.steps(1))
    viewport = dock.view.viewport()
    painted = Painted(viewport)
    qtbot.waitExposed(dock)
    qtbot.wait(50)
    painted.areas.clear()
    controller.play(training.steps(1))
    qtbot.waitUntil(lambda: bool(painted.areas))
    assert painted.areas[-1].contains(viewport.rect())


def test_another_session_makes_every_row_anew(dock: LayersDock, controller: ShellController) -> None:
    controller.start(small_training(), steps=1)
    controller.start(bare_training())
    assert names(dock.model) == ["Bare", "w", "b"]
    assert cell(dock.model, "w", Column.GRADIENT, is_parameter=True) == ""


def test_nan_is_flagged_in_words_with_an_icon_and_above(dock: LayersDock, controller: ShellController) -> None:
    training = small_training(non_finite_from={SubjectKey(K.ACTIVATION, "net.1"): 1})
    controller.start(training, steps=1)
    assert cell(dock.model, "net.1", Column.FLAGS) == ""
    controller.play(training.forward())
    assert cell(dock.model, "net.1", Column.FLAGS) == "NaN, Inf"
    assert cell(dock.model, "net", Column.FLAGS) == "NaN inside, Inf inside"
    assert cell(dock.model, "net.2", Column.FLAGS) == ""
    index = dock.model.index_of("net.1", is_parameter=False)
    assert not index.data(Qt.ItemDataRole.DecorationRole).isNull()
    assert "output: 170" in index.siblingAtColumn(Column.FLAGS).data(Qt.ItemDataRole.ToolTipRole)


@pytest.mark.parametrize("width", [320, 430, 533])
def test_the_flags_of_what_is_not_finite_are_whole(width: int, dock: LayersDock, controller: ShellController) -> None:
    training = small_training(non_finite_from={SubjectKey(K.ACTIVATION, "net.1"): 1})
    dock.resize(width, 500)
    controller.start(training, steps=1)
    controller.play(training.forward())
    index = dock.model.index_of("net.1", is_parameter=False).siblingAtColumn(Column.FLAGS)
    assert index.data() == "NaN, Inf"
    assert dock.view.sizeHintForIndex(index).width() <= dock.view.columnWidth(Column.FLAGS)


def long_texts() -> SessionInfo:
    """Names and types as those of a usual model."""
    names = ("features", "features.conv1", "features.norm1", "features.residual", "classifier")
    modules = [ModuleInfo(name="", type="ResidualNetwork", description="")]
    modules += [ModuleInfo(name=n, type="BatchNorm2d", description="64, eps=1e-05, momentum=0.1") for n in names]
    return session_info(modules=tuple(modules))


def test_types_and_names_give_way_before_a_number_is_left_out(
    dock: LayersDock, controller: ShellController, qtbot: QtBot
) -> None:
    dock.resize(500, 500)
    controller.state.apply(messages.Opened(session=long_texts(), position=Position()))
    controller.flush()
    digit = dock.view.fontMetrics().horizontalAdvance("0")
    needed = round(sum((16, 9, 14.5, 8, 7.5, 9)) * digit)
    dock.resize(needed + dock.width() - dock.view.viewport().width(), 500)
    qtbot.waitUntil(lambda: dock.view.viewport().width() == needed)
    assert not any(dock.view.isColumnHidden(column) for column in Column)
    assert dock.view.header().length() == needed


@pytest.mark.parametrize("width", [160, 300, 340, 400, 520])
def test_names_deep_in_the_tree_are_whole(width: int, dock: LayersDock, controller: ShellController) -> None:
    """What they are called is why the rows are there."""
    names = ["transformer", "transformer.h", "transformer.h.0", "transformer.h.0.attn"]
    names += [f"transformer.h.0.attn.{last}" for last in ("c_attn", "c_proj", "attn_drop")]
    modules = [ModuleInfo(name=n, type="CausalSelfAttention", description="64, eps=1e-05") for n in ["", *names]]
    dock.resize(width, 500)
    controller.state.apply(messages.Opened(session=session_info(modules=tuple(modules)), position=Position()))
    controller.flush()
    for name in names:
        index = dock.model.index_of(name, is_parameter=False)
        assert dock.view.visualRect(index).isValid()
        assert dock.view.visualRect(index).width() >= dock.view.sizeHintForIndex(index).width(), name


def test_what_is_nan_in_part_shows_no_number_of_the_rest(dock: LayersDock, controller: ShellController) -> None:
    bad = [(K.GRAD, "net.0.weight"), (K.UPDATE, "net.0.weight"), (K.PARAMETER, "net.0.weight")]
    bad += [(K.ACTIVATION, "net.1"), (K.ACTIVATION_GRAD, "net.1")]
    training = small_training(non_finite_from={SubjectKey(kind, name): 0 for kind, name in bad})
    controller.start(training, steps=1)
    for column in (Column.VALUE, Column.GRADIENT, Column.UPDATE):
        assert cell(dock.model, "net.0.weight", column, is_parameter=True) == "NaN"
        index = dock.model.index_of("net.0.weight", is_parameter=True).siblingAtColumn(column)
        assert index.data(Qt.ItemDataRole.ForegroundRole) == QColor(dock.model._theme.bad)
        assert " NaN, " in (told := index.data(Qt.ItemDataRole.ToolTipRole)) and "the rest has the L2 norm" in told
        assert cell(dock.model, "net.0.bias", column, is_parameter=True) not in ("", "NaN")
    for column in (Column.VALUE, Column.GRADIENT):
        assert cell(dock.model, "net.1", column) == "NaN"


def test_a_flag_goes_when_the_numbers_are_finite_again(dock: LayersDock, controller: ShellController) -> None:
    key = SubjectKey(K.ACTIVATION, "net.1")
    training = small_training(non_finite_from={key: 0})
    controller.start(training, steps=1)
    assert "NaN" in cell(dock.model, "net.1", Column.FLAGS)
    training.non_finite_from.clear()
    controller.play(training.forward())
    assert cell(dock.model, "net.1", Column.FLAGS) == ""
    assert cell(dock.model, "net", Column.FLAGS) == ""


def report_with(*absent: Absence, phase: Phase = Phase.FORWARD) -> messages.Report:
    empty = np.zeros(0, dtype=np.int64)
    return messages.Report(
        phase=phase,
        step=0,
        epoch=0,
        batch=0,
        loss=1.0,
        lr=(0.1,),
        subjects=empty,
        summaries=np.zeros((0, 9)),
        histograms=np.zeros((0, 96), dtype=np.int32),
        sampled=empty,
        places=empty,
        times=np.zeros((0, 3)),
        absent=absent,
    )


def test_absences_frozen_and_tied_are_flagged(dock: LayersDock, controller: ShellController) -> None:
    session = SessionInfo(
        name="Flags",
        description="",
        path="/flags.py",
        sha256="",
        seed=0,
        device="cpu",
        modules=(
            ModuleInfo(name="", type="Net", description=""),
            ModuleInfo(name="used", type="Linear", description=""),
            ModuleInfo(name="idle", type="Linear", description="", training=False),
        ),
        parameters=(
            ParameterInfo(name="used.weight", shape=(2,), dtype="float32", requires_grad=False, group=None),
            ParameterInfo(
                name="used.bias", shape=(2,), dtype="float32", requires_grad=True, group=0, aliases=("head.bias",)
            ),
            ParameterInfo(name="idle.weight", shape=(2,), dtype="float32", requires_grad=True, group=None),
        ),
        groups=(),
        optimizer="SGD",
        scheduler=None,
        loss="mse",
        scheduler_unit="step",
        batches_per_epoch=None,
    )
    controller.play(iter([messages.Opened(session=session, position=Position(rest=Rest.READY))]))
    report = report_with(Absence(name="idle", kind="activation", reason=absences.NEVER_CALLED))
    reached = Absence(name="used.bias", kind="grad", reason="no gradient reached it")
    frozen = Absence(name="used.weight", kind="grad", reason="frozen")
    controller.play(iter([report, replace(report, phase=Phase.BACKWARD, absent=(reached, frozen))]))
    flags = {
        (name, is_parameter): cell(dock.model, name, Column.FLAGS, is_parameter=is_parameter)
        for name, is_parameter in (
            ("idle", False),
            ("used", False),
            ("used.weight", True),
            ("used.bias", True),
            ("idle.weight", True),
        )
    }
    assert flags == {
        ("idle", False): "never called, eval mode",
        ("used", False): "",
        ("used.weight", True): "frozen",
        ("used.bias", True): "no gradient, tied",
        ("idle.weight", True): "not in optimizer",
    }


def test_why_a_layer_was_not_seen_is_told_in_a_word(dock: LayersDock, controller: ShellController) -> None:
    controller.start(small_training(), steps=1)

    def flags_after(*reports: messages.Report) -> str:
        controller.play(iter(reports))
        return cell(dock.model, "net.0", Column.FLAGS)

    def told(reason: str, *, kind: str = "activation", phase: Phase = Phase.FORWARD) -> messages.Report:
        return report_with(Absence(name="net.0", kind=kind, reason=reason), phase=phase)

    nothing = report_with(phase=Phase.BACKWARD)
    assert flags_after(told(absences.NEVER_CALLED), nothing) == "never called"
    assert flags_after(told(absences.LAYERS_CALLED)) == "not called itself"
    assert flags_after(told(absences.scripted("net"))) == "scripted"
    assert flags_after(told(absences.RUN_EAGERLY, kind=absences.COMPILED)) == "run eagerly"
    assert flags_after(told("a DTensor: this process holds a part")) == "not seen"
    assert flags_after(
        report_with(), told(absences.NEEDS_NO_GRADIENT, kind="activation_grad", phase=Phase.BACKWARD)
    ) == ("no gradient")
    # The backward knows more of what the forward has not seen, and nothing of what a later forward has.
    used = told(absences.USED_WITHOUT_CALL, phase=Phase.BACKWARD)
    assert flags_after(told(absences.NEVER_CALLED), used) == "used without a call"
    assert flags_after(report_with()) == ""


def test_selecting_a_row_selects_the_node(dock: LayersDock, controller: ShellController) -> None:
    controller.start(small_training(), steps=1)
    dock.view.setCurrentIndex(dock.model.index_of("net.2.weight", is_parameter=True))
    assert controller.state.selection == Selection.of_node("net.2.weight", is_parameter=True)
    dock.view.setCurrentIndex(dock.model.index_of("net.2", is_parameter=False))
    assert controller.state.selection.kind is K.ACTIVATION


def test_the_row_follows_the_selection(dock: LayersDock, controller: ShellController) -> None:
    controller.start(small_training(), steps=1)
    dock.view.collapseAll()
    controller.select(Selection.of_node("net.2.bias", is_parameter=True, kind=K.GRAD))
    node = dock.model.node(dock.view.currentIndex())
    assert node is not None
    assert node.name == "net.2.bias"
    assert dock.view.selectionModel().isRowSelected(dock.view.currentIndex().row(), dock.view.currentIndex().parent())
    assert controller.state.selection.kind is K.GRAD
    controller.select(Selection())
    assert not dock.view.selectionModel().hasSelection()


def test_what_the_keyboard_makes_current_is_selected(
    dock: LayersDock, controller: ShellController, qtbot: QtBot
) -> None:
    controller.start(small_training())
    dock.view.setCurrentIndex(dock.model.index(0, 0))
    qtbot.keyClick(dock.view, Qt.Key.Key_Down)
    assert controller.state.selection.name == "net"
    assert dock.view.selectionModel().isSelected(dock.view.currentIndex())


def test_the_filter_keeps_matches_and_what_lies_above(dock: LayersDock, controller: ShellController) -> None:
    controller.start(small_training())
    dock.view.collapse(dock.model.index_of("net.0", is_parameter=False))
    dock.filter.setText("2.BIAS")
    assert names(dock.model) == ["Small", "net", "2", "bias"]
    assert dock.view.isExpanded(dock.model.index_of("net.2", is_parameter=False))
    dock.filter.setText("no such layer")
    assert names(dock.model) == []
    dock.filter.setText("linear")
    assert names(dock.model) == [], "no name has it"
    for wanted in ("type:linear", "TYPE: Linear"):
        dock.filter.setText(wanted)
        assert names(dock.model) == ["Small", "net", "0", "1", "2"]
    dock.filter.clear()
    assert len(names(dock.model)) == 9
    assert not dock.view.isExpanded(dock.model.index_of("net.0", is_parameter=False))
    assert dock.view.isExpanded(dock.model.index_of("net.2", is_parameter=False))


def test_the_filter_keeps_the_selection(dock: LayersDock, controller: ShellController) -> None:
    controller.start(small_training())
    wanted = Selection.of_node("net.2", is_parameter=False)
    controller.select(wanted)
    dock.filter.setText("net.0")
    assert controller.state.selection == wanted
    dock.filter.clear()
    node = dock.model.node(dock.view.currentIndex())
    assert node is not None
    assert node.name == "net.2"


def test_focus_filter(dock: LayersDock, controller: ShellController) -> None:
    controller.start(small_training())
    dock.activateWindow()
    dock.focus_filter()
    assert dock.focusWidget() is dock.filter


def _deep(controller: ShellController) -> FakeTraining:
    training = deep_training(600)
    controller.start(training)
    return training


def test_rows_of_six_hundred_layers_are_all_as_high(dock: LayersDock, controller: ShellController) -> None:
    """A view that had to ask each row for its height would take seconds; tests/benchmarks/large_model.py measures."""
    _deep(controller)
    assert dock.view.uniformRowHeights()


def test_a_large_model_opens_with_its_first_levels(dock: LayersDock, controller: ShellController) -> None:
    _deep(controller)
    view: QTreeView = dock.view
    assert view.isExpanded(dock.model.index(0, 0))
    assert not view.isExpanded(dock.model.index_of("transformer.encoder.layers", is_parameter=False))


def test_colours_follow_the_theme(dock: LayersDock, controller: ShellController, themes: ThemeManager) -> None:
    controller.start(small_training())
    index = dock.model.index_of("net.0", is_parameter=False).siblingAtColumn(Column.FORM)
    assert index.data(Qt.ItemDataRole.ForegroundRole).name() == LIGHT.muted
    switch_theme(themes, DARK)
    assert index.data(Qt.ItemDataRole.ForegroundRole).name() == DARK.muted


@pytest.mark.parametrize("width", [260, 340, 420, 480, 520, 700])
def test_no_column_is_cut(width: int, dock: LayersDock, controller: ShellController, qtbot: QtBot) -> None:
    """Half of a number looks like another number."""
    controller.start(small_training(), steps=1)
    dock.resize(width, 500)
    qtbot.waitUntil(lambda: dock.width() == width)
    header = dock.view.header()
    qtbot.waitUntil(lambda: header.length() == dock.view.viewport().width())
    assert not dock.view.isColumnHidden(Column.NAME) and not dock.view.isColumnHidden(Column.FLAGS)
    for column, usual in {Column.VALUE: "-0.0047 ± 0.2", Column.GRADIENT: "1.23e-4", Column.UPDATE: "9.4e-10"}.items():
        needed = dock.view.fontMetrics().horizontalAdvance(usual)
        assert dock.view.isColumnHidden(column) or header.sectionSize(column) > needed


def test_numbers_are_exact_in_their_tooltips(dock: LayersDock, controller: ShellController) -> None:
    controller.start(small_training(), steps=1)
    index = dock.model.index_of("net.0.weight", is_parameter=True)
    for column in (Column.GRADIENT, Column.UPDATE):
        cell = index.siblingAtColumn(column)
        exact = float(cell.data(Qt.ItemDataRole.ToolTipRole).splitlines()[0])
        assert float(cell.data()) == pytest.approx(exact, rel=0.05)
    assert "±" in index.siblingAtColumn(Column.VALUE).data(Qt.ItemDataRole.ToolTipRole).splitlines()[0]


def test_a_narrow_panel_keeps_the_numbers_and_drops_the_types(
    dock: LayersDock, controller: ShellController, qtbot: QtBot
) -> None:
    controller.start(small_training())
    assert not dock.view.isColumnHidden(Column.FORM)
    dock.resize(260, 500)
    qtbot.waitUntil(lambda: dock.view.isColumnHidden(Column.FORM))
    index = dock.model.index_of("net.0.weight", is_parameter=True)
    assert "16 × 8" in index.data(Qt.ItemDataRole.ToolTipRole)


def many_layers(blocks: int) -> SessionInfo:
    """`blocks` blocks of nine layers each."""
    names = ["", *(name for i in range(blocks) for name in (f"b{i}", *(f"b{i}.l{k}" for k in range(9))))]
    modules = tuple(ModuleInfo(name=name, type="Linear" if "l" in name else "Block", description="") for name in names)
    return session_info(modules=modules)


_CALLED_BY_QT: list[Callable[..., object]] = []
"""PySide remembers which function overrides a virtual, without holding it: it has to outlive the objects."""


def test_a_huge_model_lays_out_and_measures_few_rows(
    dock: LayersDock, controller: ShellController, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"data": 0, "index": 0, "rowCount": 0}
    for name in asked:
        real = getattr(LayerTreeModel, name)

        def counted(
            self: LayerTreeModel, *args: object, name: str = name, real: Callable[..., object] = real
        ) -> object:
            asked[name] += 1
            return real(self, *args)

        monkeypatch.setattr(LayerTreeModel, name, counted)
        _CALLED_BY_QT.append(counted)
    controller.state.apply(messages.Opened(session=many_layers(1500), position=Position()))
    controller.flush()
    assert dock.model.matches() == 15_001
    assert asked["index"] < 6_000 and asked["rowCount"] < 6_000, "the blocks, and not what is in them"
    asked.update(dict.fromkeys(asked, 0))
    dock.view.resize(400, 900)
    dock.view.resize(420, 900)
    assert asked["data"] < 6_000, "what is seen, and not the thousand rows below"
    asked.update(dict.fromkeys(asked, 0))
    dock.filter.setText("l7")
    assert dock.model.matches() == 1500
    assert asked["index"] < 6_000 and asked["rowCount"] < 6_000
    dock.filter.setText("b123.l7")
    assert dock.view.isExpanded(dock.model.index_of("b123", is_parameter=False))
    dock.filter.clear()
    assert names(dock.model)[:2] == ["Net", "b0"]


def test_the_rows_of_a_filter_are_those_of_the_whole(dock: LayersDock, controller: ShellController) -> None:
    controller.state.apply(messages.Opened(session=many_layers(12), position=Position()))
    controller.flush()
    dock.filter.setText("b1.")
    assert names(dock.model) == ["Net", "b1", *(f"l{k}" for k in range(9))]
    dock.filter.setText("type:block")
    assert names(dock.model) == ["Net", *(f"b{i}" for i in range(12))]
    dock.filter.setText("nothing of that name")
    assert names(dock.model) == [] and dock.model.matches() == 0
