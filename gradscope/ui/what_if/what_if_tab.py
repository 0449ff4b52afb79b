"""The What if tab: the steps that were tried, the loss along one of them, a slice of the loss surface."""

from __future__ import annotations

from PySide6.QtCore import Slot
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from gradscope.protocol.what_if.tried import AS_IT_IS, Alternative, Directions, Measured, Mode
from gradscope.state.topics import Topic
from gradscope.state.what_if.trials import Tried
from gradscope.ui.actions.controller import Controller
from gradscope.ui.actions.what_ifs import WhatIfs
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.charts.along_chart import AlongChart
from gradscope.ui.plots.charts.surface_chart import SurfaceChart
from gradscope.ui.what_if.held import held, row_of
from gradscope.ui.what_if.own_alternative import OwnAlternative
from gradscope.ui.what_if.trial_table import TrialTable
from gradscope.ui.what_if.words import measured_text, mode_text, progress_text, refused_text, tr
from gradscope.ui.widgets.elided_label import ElidedLabel
from gradscope.ui.widgets.fields import ComboBox, SpinBox
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import PlainLabel, WrappedLabel, plain_tip
from gradscope.ui.widgets.redraw import owing

_SIDES = (11, 25, 51)
_MOST_BATCHES = 64
_TWO_COLUMNS_FROM_EMS = 52
_LEAST_CHART_EMS = 18


@guarded
class WhatIfTab(QWidget):
    """Results stay until others come; those of an earlier moment say so."""

    def __init__(
        self, controller: Controller, what_ifs: WhatIfs, themes: ThemeManager, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._controller, self._what_ifs, self._themes = controller, what_ifs, themes
        # Where there is no room for all, texts get shorter: nothing is scrolled sideways.
        self.setMinimumWidth(1)
        self._make_steps()
        self._make_charts()
        self._arrange()
        controller.refreshed.connect(self._on_refreshed)
        themes.changed.connect(self._on_theme_changed)
        what_ifs.ended.connect(self._on_ended)
        self.refresh()

    def _make_steps(self) -> None:
        self.about = ElidedLabel()
        self.refused = WrappedLabel(parent=self)
        self.refused.setProperty("role", "warning")
        self.notes = PlainLabel(parent=self)
        self.notes.setWordWrap(True)
        self.notes.setProperty("role", "muted")
        self.table = TrialTable(self)
        self.table.chosen.connect(self._on_chosen)
        self.again = QPushButton(tr("Try the steps"))
        self.again.clicked.connect(self._on_try_clicked)
        self.others = SpinBox()
        self.others.setRange(0, _MOST_BATCHES)
        self.others.setAccessibleName(tr("Other batches"))
        self.others.setToolTip(plain_tip(tr("Of so many other batches of the data, the mean loss is taken as well")))
        self.remove = QPushButton(tr("Remove"))
        self.remove.setToolTip(plain_tip(tr("Leave the chosen alternative out the next time")))
        self.remove.clicked.connect(self._on_remove_clicked)
        self.own = OwnAlternative(self)
        self.own.added.connect(self._on_added)
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setAccessibleName(tr("Progress"))
        self.progress.setFixedWidth(12 * self.fontMetrics().height())
        self.cancel = QPushButton(tr("Cancel"))
        self.cancel.clicked.connect(self._what_ifs.cancel)
        for widget in (self.progress, self.cancel):
            # Nothing moves when they come or go.
            policy = widget.sizePolicy()
            policy.setRetainSizeWhenHidden(True)
            widget.setSizePolicy(policy)
        self.status = ElidedLabel()

    def _make_charts(self) -> None:
        self.follow = QPushButton(tr("Loss along the step"))
        self.follow.setToolTip(plain_tip(tr("Of the alternative that is chosen above; otherwise of the step as it is")))
        self.follow.clicked.connect(self._on_follow_clicked)
        self.directions = ComboBox()
        self.directions.addItem(tr("update and gradient"), Directions.UPDATE_AND_GRADIENT)
        self.directions.addItem(tr("random directions"), Directions.RANDOM)
        self.directions.setAccessibleName(tr("Directions of the slice"))
        self.mode = ComboBox()
        for mode in (Mode.TRAIN, Mode.EVAL):
            self.mode.addItem(tr("{mode} mode").format(mode=mode_text(mode)), mode)
        self.mode.setAccessibleName(tr("Mode of the slice"))
        self.side = ComboBox()
        for side in _SIDES:
            self.side.addItem(tr("{side} × {side} losses").format(side=side), side)
        self.side.setCurrentIndex(1)
        self.side.setAccessibleName(tr("How many losses"))
        self.slice = QPushButton(tr("Slice"))
        self.slice.setToolTip(plain_tip(tr("A forward for each loss: it takes a while, and can be cancelled")))
        self.slice.clicked.connect(self._on_slice_clicked)
        self.along_of, self.surface_of = ElidedLabel(), ElidedLabel()
        self.along = AlongChart(self._controller, self._themes)
        self.surface = SurfaceChart(self._controller, self._themes)

    # ------------------------------------------------------------------------------------------ public

    def refresh(self) -> None:
        """Show what is known now."""
        state = self._controller.state
        known = state.what_if
        if known.trials is None:
            self.about.show_text(tr("Try what the step that comes would do to the loss; everything is put back"))
            self._tell_notes(None)
        else:
            is_stale = known.is_stale(Tried.STEPS)
            self.about.show_text(measured_text(known.trials.of, is_stale=is_stale))
            self._tell_notes(known.trials.of)
            self.table.show_trials(known.trials, self._themes.theme, is_stale=is_stale)
        self.table.setVisible(known.trials is not None)
        for label, result, what in (
            (self.along_of, known.along, Tried.ALONG),
            (self.surface_of, known.surface, Tried.SURFACE),
        ):
            label.show_text("" if result is None else measured_text(result.of, is_stale=known.is_stale(what)))
            label.setVisible(result is not None)
        self._show_progress()
        refusal = state.trial_refusal()
        self.refused.setText("" if refusal is None else refused_text(state, refusal))
        self.refused.setVisible(refusal is not None and known.running is None)
        for button in (self.again, self.own.add, self.follow, self.slice):
            button.setEnabled(refusal is None)
            if refusal is not None:
                button.setToolTip(plain_tip(refusal))
        if refusal is None:
            self._tell_tips()
        self._on_chosen()

    # ------------------------------------------------------------------------------------------ slots

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if topics & {Topic.SESSION, Topic.WHAT_IF, Topic.POSITION, Topic.EDITS, Topic.ENGINE}:
            if Topic.SESSION in topics:
                self.status.show_text("")
                self.others.setValue(0)
            self.refresh()

    @Slot(object)
    def _on_theme_changed(self, _theme: Theme) -> None:
        self.refresh()

    @Slot(object, str)
    def _on_ended(self, what: Tried, told: str) -> None:
        if what is not Tried.PROBE:
            self.status.show_text(told)

    @Slot()
    def _on_chosen(self) -> None:
        self.remove.setEnabled(self.table.chosen_alternative in self._what_ifs.own)

    @Slot()
    def _on_try_clicked(self) -> None:
        self._what_ifs.other_batches = self.others.value()
        self._what_ifs.try_steps()

    @Slot(object)
    def _on_added(self, alternative: Alternative) -> None:
        self._what_ifs.other_batches = self.others.value()
        if not self._what_ifs.add(alternative):
            refusal = self._controller.state.trial_refusal()
            self.own.say(refusal or tr("This one is tried already, or there are too many"))

    @Slot()
    def _on_remove_clicked(self) -> None:
        chosen = self.table.chosen_alternative
        if chosen is not None:
            self._what_ifs.remove(chosen)
            self._on_try_clicked()

    @Slot()
    def _on_follow_clicked(self) -> None:
        self._what_ifs.follow(self.table.alternative or AS_IT_IS)

    @Slot()
    def _on_slice_clicked(self) -> None:
        self._what_ifs.slice(self.directions.currentData(), self.mode.currentData(), self.side.currentData())

    # ------------------------------------------------------------------------------------------ private

    def _tell_notes(self, of: Measured | None) -> None:
        notes = "" if of is None else ". ".join(of.notes)
        self.notes.setText(notes)
        self.notes.setVisible(bool(notes))

    def _tell_tips(self) -> None:
        self.again.setToolTip(plain_tip(tr("As it is, at other rates, without clipping and decay, with SGD and Adam")))
        self.own.add.setToolTip(plain_tip(tr("With the others, from now on")))
        self.follow.setToolTip(plain_tip(tr("Of the alternative that is chosen above; otherwise of the step as it is")))
        self.slice.setToolTip(plain_tip(tr("A forward for each loss: it takes a while, and can be cancelled")))

    def _show_progress(self) -> None:
        known = self._controller.state.what_if
        is_running = known.running in (Tried.STEPS, Tried.ALONG, Tried.SURFACE)
        self.progress.setVisible(is_running)
        self.cancel.setVisible(is_running)
        if not is_running:
            return
        self.status.show_text(progress_text(known.progress))
        planned = 0 if known.progress is None else known.progress.planned
        self.progress.setRange(0, min(planned, 2**31 - 1))
        self.progress.setValue(0 if known.progress is None else min(known.progress.done, self.progress.maximum()))

    def _arrange(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 8, 8, 8)
        column.setSpacing(6)
        others = held(PlainLabel(tr("and the loss of")), self.others)
        tries = row_of(self, held(self.again), others, held(PlainLabel(tr("other batches"))), held(self.remove))
        lines = row_of(self, held(self.follow))
        planes = row_of(self, held(self.slice), held(self.directions), held(self.mode), held(self.side))
        bar = QHBoxLayout()
        bar.setSpacing(8)
        bar.addWidget(self.progress)
        bar.addWidget(self.cancel)
        bar.addWidget(self.status, 1)
        for part in (self.refused, self.about, self.notes, self.table, tries, self.own):
            column.addWidget(part)
        column.addLayout(bar)
        self._charts = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        self._charts.setSpacing(8)
        for row, label, chart in ((lines, self.along_of, self.along), (planes, self.surface_of, self.surface)):
            side = QVBoxLayout()
            side.setSpacing(4)
            chart.setMinimumHeight(_LEAST_CHART_EMS * self.fontMetrics().height())
            side.addWidget(row)
            side.addWidget(label)
            side.addWidget(chart, 1)
            self._charts.addLayout(side, 1)
        column.addLayout(self._charts, 1)

    # ------------------------------------------------------------------------------------------ Qt

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        has_room = self.width() >= _TWO_COLUMNS_FROM_EMS * self.fontMetrics().height()
        direction = QBoxLayout.Direction.LeftToRight if has_room else QBoxLayout.Direction.TopToBottom
        if self._charts.direction() != direction:
            self._charts.setDirection(direction)
