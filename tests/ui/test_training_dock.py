"""The Training step panel: the table of groups, the fields, the forms, and what each of them sends."""

from dataclasses import replace

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QAbstractItemModelTester
from PySide6.QtWidgets import QAbstractItemView, QComboBox, QLineEdit, QToolTip
from pytestqt.qtbot import QtBot

from gradscope.protocol import messages
from gradscope.protocol.failure import Failure, FailureKind
from gradscope.protocol.messages.edits import (
    ArgumentInfo,
    ArgumentKind,
    Choices,
    Chosen,
    ClassInfo,
    EditAccumulation,
    EditClipping,
    EditLoss,
    EditOptimizer,
    EditOption,
    EditScheduler,
    EditSchedulerMetric,
    EditZeroGrad,
    TurnChoice,
)
from gradscope.protocol.phases import Rest
from gradscope.ui.docks.training import TrainingDock
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.models.group_table import GroupTableModel
from gradscope.ui.training.argument_field import ArgumentField
from gradscope.ui.training.class_form import ClassForm
from tests.ui.fakes import small_training
from tests.ui.shell_fakes import ShellController

LR = ArgumentInfo(name="lr", kind=ArgumentKind.NUMBER, default="0.001", doc="learning rate")
PAIR = ArgumentInfo(name="b", kind=ArgumentKind.NUMBERS, default="(1, 2)")
SGD = ClassInfo(
    name="SGD",
    doc="Implements stochastic gradient descent",
    arguments=(LR, ArgumentInfo(name="nesterov", kind=ArgumentKind.BOOL, default="False")),
)
ADAM = ClassInfo(
    name="Adam",
    arguments=(
        LR,
        ArgumentInfo(name="betas", kind=ArgumentKind.NUMBERS, default="(0.9, 0.999)"),
        ArgumentInfo(name="fused", kind=ArgumentKind.BOOL, default="None", can_be_none=True),
    ),
)
STEP_LR = ClassInfo(name="StepLR", arguments=(ArgumentInfo(name="step_size", kind=ArgumentKind.INTEGER),))
PLATEAU = ClassInfo(
    name="ReduceLROnPlateau",
    arguments=(ArgumentInfo(name="mode", kind=ArgumentKind.CHOICE, default="'min'", choices=("min", "max")),),
)
LAMBDA = ClassInfo(name="LambdaLR", reason="it needs a function (lr_lambda), which only code can give")
CHOICES = Choices(
    losses=(ClassInfo(name="MSELoss"), ClassInfo(name="CrossEntropyLoss")),
    optimizers=(ADAM, SGD),
    schedulers=(LAMBDA, PLATEAU, STEP_LR),
    turns=(
        TurnChoice(
            turn="",
            optimizer=Chosen(name="SGD", arguments={"lr": "0.01", "nesterov": "True"}),
            scheduler=Chosen(name="StepLR", arguments={"step_size": "20"}),
            can_keep_scheduler=True,
        ),
    ),
    loss=Chosen(name="cross_entropy"),
    metrics=("train_loss", "accuracy"),
)


@pytest.fixture
def dock(qtbot: QtBot, controller: ShellController, themes: ThemeManager) -> TrainingDock:
    controller.choices = CHOICES
    controller.start(small_training(rates=(0.01, 0.002)), steps=1)
    group = messages.GroupInfo(
        parameters=("w",), options={"foreach": "None", "nesterov": "True", "lr": "9", "eps": "1e-08"}
    )
    change(controller, groups=(group, group))
    dock = TrainingDock(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(dock)
    dock.resize(360, 700)
    dock.show()
    return dock


def change(controller: ShellController, **settings: object) -> None:
    assert controller.state.session is not None
    session = replace(controller.state.session, **settings)  # type: ignore[arg-type]
    controller.state.apply(messages.SessionChanged(session=session))
    controller.flush()


def choose(form: ClassForm, name: str) -> None:
    form.chooser.setCurrentIndex(form.chooser.findData(name))


def sent(controller: ShellController) -> object:
    return controller.asked[-1][1] if controller.asked else None


# ------------------------------------------------------------------------------------------ the table


def test_the_table_shows_every_option_and_the_rates_of_the_next_step(
    dock: TrainingDock, controller: ShellController
) -> None:
    model = dock.groups
    QAbstractItemModelTester(model, QAbstractItemModelTester.FailureReportingMode.Fatal)
    names = [model.headerData(row, Qt.Orientation.Vertical) for row in range(model.rowCount())]
    assert names == ["lr", "eps", "nesterov", "foreach"]
    schedule = controller.state.schedule
    assert schedule is not None
    assert [model.index(0, column).data() for column in range(2)] == [repr(float(r)) for r in schedule.rates[:, 0]]
    assert model.index(1, 0).data() == "1e-08"
    assert model.headerData(1, Qt.Orientation.Horizontal) == "Group 1"
    assert model.headerData(1, Qt.Orientation.Horizontal, Qt.ItemDataRole.ToolTipRole) == "w"
    moved = messages.Schedule(first_step=1, rates=np.full((2, 3), 0.5), momenta=np.full((2, 3), 0.25))
    controller.state.apply(moved)
    controller.flush()
    assert model.index(0, 1).data() == "0.5"
    betas = messages.GroupInfo(parameters=(), options={"lr": "1", "betas": "(0.9, 0.999)"})
    change(controller, groups=(betas, betas))
    assert model.index(1, 0).data() == "(0.25, 0.999)"


def test_no_number_is_cut_into_another(dock: TrainingDock, controller: ShellController, qtbot: QtBot) -> None:
    controller.start(small_training(rates=(0.0263785123456789, 1.23456789012e-08, 0.3)), steps=1)
    table = dock.table
    for width in (330, 360, 420):
        dock.resize(width, 800)
        qtbot.waitUntil(lambda width=width: dock.width() == width)
        size, room = table.columnWidth(0), table.viewport().width()
        assert abs(round(room / size) * size - room) <= 3, "whole columns only"
    cell = table.model().index(0, 1)
    exact = cell.data(Qt.ItemDataRole.EditRole)
    assert len(cell.data()) < len(exact) and float(cell.data()) == pytest.approx(float(exact), rel=1e-5)
    assert exact in cell.data(Qt.ItemDataRole.ToolTipRole)
    assert table.textElideMode() is Qt.TextElideMode.ElideMiddle, "an exponent is never left out"


def test_a_cell_is_sent_and_stays_until_the_engine_says_otherwise(
    dock: TrainingDock, controller: ShellController, qtbot: QtBot
) -> None:
    index = dock.groups.index(0, 1)
    before = index.data()
    dock.table.setCurrentIndex(index)
    dock.table.edit(index)
    editor = dock.table.findChild(QLineEdit)
    assert editor is not None
    editor.setText("1e-4")
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: sent(controller) is not None, timeout=2000)
    assert sent(controller) == EditOption(group=1, option="lr", value="1e-4")
    assert index.data() == before


@pytest.mark.parametrize("text", ["fast", "", None])
def test_a_cell_that_cannot_be_is_not_sent(
    dock: TrainingDock, controller: ShellController, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    tips: list[str] = []
    monkeypatch.setattr(QToolTip, "showText", lambda _position, tip, _widget: tips.append(tip))
    index = dock.groups.index(0, 0)
    dock.table.setCurrentIndex(index)
    dock.table.edit(index)
    editor = dock.table.findChild(QLineEdit)
    assert editor is not None
    editor.setText(str(index.data()) if text is None else text)
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: dock.table.indexWidget(index) is None, timeout=2000)
    qtbot.waitUntil(lambda: dock.table.state() is not QAbstractItemView.State.EditingState, timeout=2000)
    expected = {"fast": ["lr is fast; expected a number"], "": ["lr is empty; expected a number"], None: []}
    assert tips == expected[text] and controller.asked == []


def test_options_with_a_few_values_are_chosen(dock: TrainingDock, controller: ShellController) -> None:
    index = dock.groups.index(2, 0)
    dock.table.edit(index)
    combo = dock.table.findChild(QComboBox)
    assert combo is not None
    assert [combo.itemText(i) for i in range(combo.count())] == ["True", "False"] and combo.currentText() == "True"
    combo.setCurrentIndex(1)
    dock.table.commitData(combo)
    assert sent(controller) == EditOption(group=0, option="nesterov", value="False")


def test_without_choices_the_table_still_works(controller: ShellController) -> None:
    controller.start(small_training())
    model = GroupTableModel(controller.state)
    model.refresh()
    assert model.argument(model.index(0, 0)) is None
    model.setData(model.index(0, 0), "3")
    assert model.index(0, 0).data() != "3"


# ------------------------------------------------------------------------------------------ window and clipping


def test_clipping(dock: TrainingDock, controller: ShellController, qtbot: QtBot) -> None:
    field = dock.step.clip_norm
    field.setText("many")
    qtbot.keyClick(field, Qt.Key.Key_Return)
    assert field.property("differs") == "true" and controller.asked == []
    field.setText("0.5")
    qtbot.keyClick(field, Qt.Key.Key_Return)
    assert sent(controller) == EditClipping(norm=0.5, value=None)
    change(controller, clip_norm=0.5)
    assert field.text() == "0.5" and field.property("differs") == "false"
    controller.asked.clear()
    qtbot.keyClick(field, Qt.Key.Key_Return)
    assert controller.asked == []
    field.clear()
    qtbot.keyClick(field, Qt.Key.Key_Return)
    assert sent(controller) == EditClipping(norm=None, value=None)


def test_window_and_zero_grad(dock: TrainingDock, controller: ShellController, qtbot: QtBot) -> None:
    dock.step.accumulate.setValue(4)
    assert controller.asked == []
    qtbot.keyClick(dock.step.accumulate, Qt.Key.Key_Return)
    assert sent(controller) == EditAccumulation(micro_batches=4)
    dock.step.zero_grad.setCurrentIndex(1)
    dock.step.zero_grad.activated.emit(1)
    assert sent(controller) == EditZeroGrad(mode="manual")
    change(controller, optimizers=("a", "b"))
    assert not dock.step.accumulate.isEnabled()


def test_what_was_refused_is_not_shown_as_in_use(dock: TrainingDock, controller: ShellController, qtbot: QtBot) -> None:
    dock.step.clip_value.setText("-1")
    qtbot.keyClick(dock.step.clip_value, Qt.Key.Key_Return)
    failure = Failure(kind=FailureKind.BAD_INPUT, sentence="clip_value is -1.0; expected a number above 0, or None")
    reply = controller.edit_replies[-1]
    assert reply is not None
    reply(messages.Failed(failure=failure, position=controller.state.position))
    assert dock.step.clip_value.text() == ""


# ------------------------------------------------------------------------------------------ forms


def test_a_form_begins_with_what_is_in_use(dock: TrainingDock) -> None:
    form = dock.optimizer
    assert form.name == "SGD" and form.arguments() == {"lr": "0.01", "nesterov": "True"}
    assert dock.sections["optimizer"].header.text() == "Optimizer: SGD"
    choose(form, "Adam")
    assert list(form.fields) == ["lr", "betas", "fused"] and form.arguments() == {}
    assert form.fields["fused"].text == "None"


def test_an_optimizer_is_applied(dock: TrainingDock, controller: ShellController) -> None:
    choose(dock.optimizer, "Adam")
    dock.optimizer.fields["betas"].set_text("(0.5, 0.9)")
    dock.optimizer.apply.click()
    assert sent(controller) == EditOptimizer(optimizer="Adam", arguments={"betas": "(0.5, 0.9)"})
    assert dock.keep_scheduler.text() == "Make StepLR anew for it"
    dock.keep_scheduler.setChecked(False)
    dock.optimizer.apply.click()
    assert sent(controller) == EditOptimizer(optimizer="Adam", arguments={"betas": "(0.5, 0.9)"}, keep_scheduler=False)


def test_wrong_and_missing_arguments_are_told_and_cannot_be_applied(dock: TrainingDock) -> None:
    form = dock.optimizer
    form.fields["lr"].set_text("fast")
    assert form._hint.text() == "lr is fast; expected a number" and not form.apply.isEnabled()
    form.fields["lr"].set_text("")
    assert form.apply.isEnabled() and form.arguments() == {"nesterov": "True"}
    choose(dock.scheduler, "StepLR")
    dock.scheduler.fields["step_size"].set_text("")
    assert dock.scheduler._hint.text() == "To be given: step_size" and not dock.scheduler.apply.isEnabled()


def test_a_class_that_only_code_can_make_is_there_with_its_reason(dock: TrainingDock) -> None:
    form = dock.scheduler
    index = form.chooser.findData("LambdaLR")
    item = form.chooser.model().index(index, 0)
    assert not item.flags() & Qt.ItemFlag.ItemIsEnabled
    assert "lr_lambda" in str(item.data(Qt.ItemDataRole.ToolTipRole))
    choose(form, "LambdaLR")
    assert not form.apply.isEnabled() and form.fields == {}


def test_a_scheduler_with_its_unit_and_metric(dock: TrainingDock, controller: ShellController) -> None:
    form = dock.scheduler
    form.fields["step_size"].set_text("5")
    dock.scheduler_unit.setCurrentIndex(1)
    form.apply.click()
    assert sent(controller) == EditScheduler(scheduler="StepLR", arguments={"step_size": "5"}, unit="epoch")
    dock.sections["scheduler"].header.setChecked(True)
    assert not dock.scheduler_metric.isVisible()
    choose(form, "ReduceLROnPlateau")
    assert dock.scheduler_metric.isVisible() and not dock.scheduler_unit.isEnabled()
    dock.scheduler_metric.setCurrentIndex(1)
    form.fields["mode"].set_text("'max'")
    form.apply.click()
    assert sent(controller) == EditScheduler(
        scheduler="ReduceLROnPlateau", arguments={"mode": "'max'"}, unit="epoch", metric="accuracy"
    )
    choose(form, "")
    assert not dock.scheduler_unit.isVisible()
    form.apply.click()
    assert sent(controller) == EditScheduler(scheduler="", unit="epoch")


def test_the_metric_of_a_plateau_in_use_is_sent_at_once(dock: TrainingDock, controller: ShellController) -> None:
    turn = replace(CHOICES.turns[0], scheduler=Chosen(name="ReduceLROnPlateau"))
    controller.choices = replace(CHOICES, turns=(turn,))
    change(controller, scheduler_metric="train_loss", scheduler_unit="epoch")
    dock.scheduler_metric.setCurrentIndex(1)
    dock.scheduler_metric.activated.emit(1)
    assert sent(controller) == EditSchedulerMetric(metric="accuracy")


def test_a_loss(dock: TrainingDock, controller: ShellController) -> None:
    assert dock.loss.name is None and not dock.loss.apply.isEnabled()
    assert dock.sections["loss"].header.text() == "Loss: cross_entropy"
    choose(dock.loss, "MSELoss")
    dock.loss.apply.click()
    assert sent(controller) == EditLoss(loss="MSELoss")
    controller.choices = replace(CHOICES, loss=None)
    change(controller, loss="training_step")
    assert not dock.sections["loss"].isVisible()


def test_what_was_begun_stays_when_something_else_was_edited(dock: TrainingDock, controller: ShellController) -> None:
    choose(dock.optimizer, "Adam")
    dock.optimizer.fields["lr"].set_text("0.5")
    change(controller, clip_norm=1.0)
    assert dock.optimizer.name == "Adam" and dock.optimizer.fields["lr"].text == "0.5"
    turn = replace(CHOICES.turns[0], optimizer=Chosen(name="Adam", arguments={"lr": "0.001"}))
    controller.choices = replace(CHOICES, turns=(turn,))
    change(controller, optimizer="Adam")
    assert dock.optimizer.fields["lr"].text == "0.001"


def test_several_optimizers(dock: TrainingDock, controller: ShellController) -> None:
    turns = tuple(replace(CHOICES.turns[0], turn=name) for name in ("discriminator", "generator"))
    controller.choices = replace(CHOICES, turns=turns)
    change(controller, optimizers=("discriminator", "generator"))
    assert dock.turn.isVisible()
    dock.turn.setCurrentIndex(1)
    dock.turn.activated.emit(1)
    dock.optimizer.apply.click()
    edit = sent(controller)
    assert isinstance(edit, EditOptimizer) and edit.turn == "generator"
    groups = tuple(
        messages.GroupInfo(parameters=(), options={"eps": str(i)}, optimizer=name)
        for i, name in enumerate(("discriminator", "discriminator", "generator"))
    )
    change(controller, groups=groups)
    assert dock.groups.columnCount() == 1
    assert dock.groups.headerData(0, Qt.Orientation.Horizontal) == "Group 2"
    dock.groups.setData(dock.groups.index(0, 0), "5")
    assert sent(controller) == EditOption(group=2, option="eps", value="5")


def test_a_scheduler_that_cannot_be_made_anew_is_told(dock: TrainingDock, controller: ShellController) -> None:
    dock.sections["optimizer"].header.setChecked(True)
    assert dock.keep_scheduler.isVisible() and not dock.fate.isVisible()
    turn = replace(CHOICES.turns[0], scheduler=Chosen(name="LambdaLR"), can_keep_scheduler=False)
    controller.choices = replace(CHOICES, turns=(turn,))
    change(controller, scheduler="LambdaLR")
    assert dock.fate.isVisible() and dock.fate.text().startswith("LambdaLR will be dropped")
    assert not dock.keep_scheduler.isVisible()


# ------------------------------------------------------------------------------------------ when nothing can be edited


def test_while_running_it_says_why_not(dock: TrainingDock, controller: ShellController, qtbot: QtBot) -> None:
    controller.rest_at(Rest.READY, running=True)
    assert dock._content.isEnabled()  # a phase may be over at once
    qtbot.waitUntil(lambda: not dock._content.isEnabled(), timeout=3000)
    assert dock._refusal.isVisible() and "running" in dock._refusal.text()
    controller.rest_at(Rest.READY)
    assert dock._content.isEnabled() and not dock._refusal.isVisible()


def test_without_a_session(qtbot: QtBot, controller: ShellController, themes: ThemeManager) -> None:
    dock = TrainingDock(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(dock)
    dock.show()
    assert dock._empty.isVisible()


# ------------------------------------------------------------------------------------------ one field


@pytest.mark.parametrize(
    ("argument", "text", "problem"),
    [
        (LR, "1e-3", None),
        (LR, "x", "lr is x; expected a number"),
        (ArgumentInfo(name="n", kind=ArgumentKind.INTEGER), "", "n is empty; expected a whole number"),
        (ArgumentInfo(name="n", kind=ArgumentKind.INTEGER), "2.5", "n is 2.5; expected a whole number"),
        (ArgumentInfo(name="w", kind=ArgumentKind.NUMBERS, default="None", can_be_none=True), "None", None),
        (
            ArgumentInfo(name="b", kind=ArgumentKind.NUMBERS, default="(1, 2)"),
            "(1,)",
            "b is (1,); expected 2 numbers, as (1, 2)",
        ),
        (ArgumentInfo(name="c", kind=ArgumentKind.CHOICE, default="'a'", choices=("a", "b")), "'b'", None),
        (ArgumentInfo(name="f", kind=ArgumentKind.BOOL, default="False"), "True", None),
    ],
)
def test_a_field(qtbot: QtBot, argument: ArgumentInfo, text: str, problem: str | None) -> None:
    field = ArgumentField(argument)
    qtbot.addWidget(field)
    field.set_text(text)
    assert field.text == text and field.problem == problem
    assert field.is_default == (text == (argument.default or ""))
