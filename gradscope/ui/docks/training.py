"""The Training panel: every setting of the training step that can be changed between two phases."""

from __future__ import annotations

from PySide6.QtCore import Qt, QTimer, Slot
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QCheckBox, QFrame, QScrollArea, QStackedLayout, QVBoxLayout, QWidget

from gradscope.protocol.messages import Failed
from gradscope.protocol.messages.edits import (
    Choices,
    Edit,
    EditLoss,
    EditOptimizer,
    EditOption,
    EditScheduler,
    EditSchedulerMetric,
)
from gradscope.protocol.scripts import Ability
from gradscope.protocol.visible import visible
from gradscope.state.topics import Topic
from gradscope.ui.actions.controller import Controller
from gradscope.ui.docks.panel import Panel
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.models.group_table import GroupTableModel
from gradscope.ui.training.class_form import ClassForm
from gradscope.ui.training.group_table import GroupTable
from gradscope.ui.training.section import Section
from gradscope.ui.training.step_form import StepForm
from gradscope.ui.widgets.empty_note import EmptyNote
from gradscope.ui.widgets.fields import ComboBox
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import PlainLabel, caption
from gradscope.ui.widgets.redraw import owing

_PLATEAU = "ReduceLROnPlateau"
_REFUSAL_DELAY_MS = 400
"""A single phase is over sooner: the fields do not flicker."""


@guarded
class TrainingDock(Panel):
    """What is changed here is sent at once (or by Apply); fields show what is in use, as the engine says it."""

    TOPICS = frozenset({Topic.SESSION, Topic.SETTINGS, Topic.SCHEDULE, Topic.EDITS})

    def __init__(self, controller: Controller, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(self.tr("Training step"), name="trainingDock", themes=themes, parent=parent)
        self._controller = controller
        self._is_dirty = True
        self._choices: Choices | None = None
        self._are_choices_wanted = True
        self._delay = QTimer(self)
        self._delay.setSingleShot(True)
        self._delay.setInterval(_REFUSAL_DELAY_MS)
        self._delay.timeout.connect(self._show_refusal)
        self.groups = GroupTableModel(controller.state, self)
        self.groups.edited.connect(self._on_option_edited)
        self.table = GroupTable(self.groups)
        self.step = StepForm()
        self.step.edited.connect(self._send)
        self.turn = ComboBox()
        self.turn.setAccessibleName(self.tr("Optimizer"))
        self.turn.activated.connect(self._on_turn_chosen)
        self.loss, self.optimizer, self.scheduler = ClassForm(), ClassForm(), ClassForm(has_none=True)
        self.keep_scheduler = QCheckBox(self)
        self.keep_scheduler.setChecked(True)
        self.fate = PlainLabel(parent=self)
        self.fate.setWordWrap(True)
        self.fate.setProperty("role", "muted")
        self.optimizer.extra.addRow(self.keep_scheduler)
        self.optimizer.extra.addRow(self.fate)
        self.scheduler_unit, self.scheduler_metric = ComboBox(self), ComboBox(self)
        self._add_scheduler_fields()
        self.loss.applied.connect(self._on_loss_applied)
        self.optimizer.applied.connect(self._on_optimizer_applied)
        self.scheduler.applied.connect(self._on_scheduler_applied)
        self.scheduler.class_changed.connect(self._on_scheduler_class_changed)
        # Of everything, and of all but the options of the groups.
        self._refusal, self._step_refusal = PlainLabel(parent=self), PlainLabel(parent=self)
        for label in (self._refusal, self._step_refusal):
            label.setProperty("role", "muted")
            label.setWordWrap(True)
            label.hide()
        self.sections = {
            "groups": Section(self.tr("Parameter groups"), self.table, is_open=True),
            "optimizer": Section(self.tr("Optimizer"), self.optimizer, is_open=False),
            "scheduler": Section(self.tr("Scheduler"), self.scheduler, is_open=False),
            "step": Section(self.tr("Window and clipping"), self.step, is_open=True),
            "loss": Section(self.tr("Loss"), self.loss, is_open=False),
        }
        self.sections["optimizer"].header.toggled.connect(self._on_optimizer_opened)
        self._assemble()
        controller.panels_refreshed.connect(self._on_refreshed)

    # ------------------------------------------------------------------------------------------ slots

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if topics & {Topic.SESSION, Topic.SETTINGS}:
            self._are_choices_wanted = True
        if topics & self.TOPICS:
            self._is_dirty = True
            if self.isVisible():
                self._refresh()
        if topics & {Topic.SESSION, Topic.POSITION, Topic.ENGINE}:
            if self._reason() is None:
                self._show_refusal()
            elif not self._delay.isActive():
                self._delay.start()
        elif Topic.SETTINGS in topics and self._controller.state.in_script:
            self._show_refusal()

    @Slot(bool)
    def _on_optimizer_opened(self, is_open: bool) -> None:
        if is_open and self.isVisible():
            # Its rate may have moved since.
            self._are_choices_wanted = True
            self._refresh()

    @Slot(int, str, str)
    def _on_option_edited(self, group: int, option: str, text: str) -> None:
        self._send(EditOption(group=group, option=option, value=text))

    @Slot(str, object)
    def _on_loss_applied(self, name: str, arguments: dict[str, str]) -> None:
        self._send(EditLoss(loss=name, arguments=arguments))

    @Slot(str, object)
    def _on_optimizer_applied(self, name: str, arguments: dict[str, str]) -> None:
        keep = self.keep_scheduler.isChecked()
        self._send(EditOptimizer(optimizer=name, arguments=arguments, turn=self._turn_name, keep_scheduler=keep))

    @Slot(str, object)
    def _on_scheduler_applied(self, name: str, arguments: dict[str, str]) -> None:
        self._send(
            EditScheduler(
                scheduler=name,
                arguments=arguments,
                turn=self._turn_name,
                unit=str(self.scheduler_unit.currentData()),
                metric=str(self.scheduler_metric.currentData()) if name == _PLATEAU else "",
            )
        )

    @Slot(str)
    def _on_scheduler_class_changed(self, name: str) -> None:
        self._show_scheduler_fields(name)

    @Slot(int)
    def _on_turn_chosen(self, _index: int) -> None:
        self.groups.set_turn(self._turn_name)
        self._show_choices()

    @Slot(int)
    def _on_metric_chosen(self, _index: int) -> None:
        session, metric = self._controller.state.session, str(self.scheduler_metric.currentData())
        turn = (
            next((turn for turn in self._choices.turns if turn.turn == self._turn_name), None)
            if self._choices
            else None
        )
        is_in_use = turn is not None and turn.scheduler is not None and turn.scheduler.name == _PLATEAU
        if session is not None and is_in_use and metric != session.scheduler_metric:
            self._send(EditSchedulerMetric(metric=metric))

    @Slot()
    def _show_refusal(self) -> None:
        self._delay.stop()
        reason = self._reason()
        self._content.setEnabled(reason is None)
        self._refusal.setText(reason or "")
        self._refusal.setVisible(reason is not None)
        of_step = self._controller.state.never(Ability.EDIT_STEP)
        self._step_refusal.setText(of_step or "")
        self._step_refusal.setVisible(of_step is not None)
        for form in (self.loss, self.optimizer, self.scheduler):
            form.set_refusal(reason or of_step)
        for name, section in self.sections.items():
            section.refuse("" if of_step is None or name == "groups" else of_step)

    # ------------------------------------------------------------------------------------------ private

    @property
    def _turn_name(self) -> str:
        return str(self.turn.currentData() or "")

    def _reason(self) -> str | None:
        """Why nothing can be edited now."""
        return self._controller.state.edit_refusal(EditOption)

    @Slot(object)
    def _send(self, edit: Edit) -> None:
        self._controller.edit(edit, self._on_replied)

    def _on_replied(self, reply: object) -> None:
        if isinstance(reply, Failed):
            # What was entered is not in use.
            session = self._controller.state.session
            if session is not None:
                self.step.show_session(session)

    def _refresh(self) -> None:
        self._draw()
        self._is_dirty = False

    def _draw(self) -> None:
        state, session = self._controller.state, self._controller.state.session
        self._pages.setCurrentWidget(self._scroll if session is not None else self._empty)
        if session is None:
            return
        for name in ("loss", "optimizer", "scheduler"):
            # What else there is to choose from only an engine knows.
            self.sections[name].setVisible(state.snapshot is None)
        if state.never(Ability.EDIT_STEP) is not None:
            self._set_title("loss", self.tr("Loss"), visible(session.loss))
            self._set_title("optimizer", self.tr("Optimizer"), visible(session.optimizer))
            self._set_title("scheduler", self.tr("Scheduler"), visible(session.scheduler or "–"))
        names = list(session.optimizers)
        if [self.turn.itemData(i) for i in range(self.turn.count())] != names:
            self.turn.clear()
            for name in names:
                self.turn.addItem(self.tr("Optimizer: {name}").format(name=visible(name)), name)
        self.turn.setVisible(len(names) > 1)
        self.groups.show_state(state, self._turn_name)
        self.step.show_session(session)
        if self._are_choices_wanted and state.never(Ability.EDIT_STEP) is None:
            self._are_choices_wanted = False
            self._controller.list_choices(self._on_choices)

    def _on_choices(self, reply: object) -> None:
        if isinstance(reply, Choices):
            self._choices = reply
            self.groups.set_choices(reply)
            self._show_choices()

    def _show_choices(self) -> None:
        choices, session = self._choices, self._controller.state.session
        if choices is None or session is None or not choices.turns:
            return
        turn = next((turn for turn in choices.turns if turn.turn == self._turn_name), choices.turns[0])
        self.sections["loss"].setVisible(choices.loss is not None)
        if choices.loss is not None:
            self.loss.show_classes(choices.losses, choices.loss)
            self._set_title("loss", self.tr("Loss"), choices.loss.name)
        self.optimizer.show_classes(choices.optimizers, turn.optimizer)
        self._set_title("optimizer", self.tr("Optimizer"), turn.optimizer.name)
        self.scheduler.show_classes(choices.schedulers, turn.scheduler)
        name = turn.scheduler.name if turn.scheduler is not None else self.tr("none")
        self._set_title("scheduler", self.tr("Scheduler"), name)
        self.optimizer.extra.setRowVisible(self.keep_scheduler, turn.can_keep_scheduler)
        self.keep_scheduler.setText(self.tr("Make {name} anew for it").format(name=caption(name)))
        self.optimizer.extra.setRowVisible(self.fate, turn.scheduler is not None and not turn.can_keep_scheduler)
        fate = self.tr(
            "{name} will be dropped, because it cannot be made anew from here: choose a scheduler afterwards"
        )
        self.fate.setText(fate.format(name=visible(name)))
        self.scheduler_metric.clear()
        for metric in choices.metrics:
            self.scheduler_metric.addItem(visible(metric), metric)
        self.scheduler_metric.setCurrentIndex(max(0, self.scheduler_metric.findData(session.scheduler_metric)))
        self.scheduler_unit.setCurrentIndex(max(0, self.scheduler_unit.findData(session.scheduler_unit)))
        self._show_scheduler_fields(self.scheduler.name or "")

    def _set_title(self, section: str, title: str, name: str) -> None:
        self.sections[section].set_title(f"{title}: {name}")

    def _show_scheduler_fields(self, name: str) -> None:
        form = self.scheduler.extra
        form.setRowVisible(self.scheduler_unit, bool(name))
        form.setRowVisible(self.scheduler_metric, name == _PLATEAU)
        self.scheduler_unit.setEnabled(name != _PLATEAU)
        if name == _PLATEAU:
            self.scheduler_unit.setCurrentIndex(self.scheduler_unit.findData("epoch"))

    def _add_scheduler_fields(self) -> None:
        self.scheduler_unit.addItem(self.tr("step"), "step")
        self.scheduler_unit.addItem(self.tr("epoch"), "epoch")
        self.scheduler_metric.activated.connect(self._on_metric_chosen)
        self.scheduler.extra.addRow(self.tr("Advanced every"), self.scheduler_unit)
        self.scheduler.extra.addRow(self.tr("With metric"), self.scheduler_metric)

    def _assemble(self) -> None:
        self._content = QWidget()
        # In a narrow panel the fields are short; there is nothing to scroll sideways.
        self._content.setMinimumWidth(1)
        column = QVBoxLayout(self._content)
        column.setContentsMargins(8, 4, 8, 8)
        column.setSpacing(8)
        column.addWidget(self.turn)
        for name, section in self.sections.items():
            column.addWidget(section)
            if name == "groups":
                column.addWidget(self._step_refusal)
        column.addStretch(1)
        self._scroll = QScrollArea()
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setWidgetResizable(True)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._scroll.setWidget(self._content)
        self._empty = EmptyNote(self.tr("Open a recipe to begin"), self)
        self._refusal.setContentsMargins(12, 4, 8, 0)
        self._pages = QStackedLayout()
        self._pages.addWidget(self._empty)
        self._pages.addWidget(self._scroll)
        self.body.addWidget(self._refusal)
        self.body.addLayout(self._pages, 1)

    # ------------------------------------------------------------------------------------------ Qt

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self._is_dirty:
            self._refresh()
