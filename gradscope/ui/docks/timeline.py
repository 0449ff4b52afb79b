"""The Timeline panel: how far one can go back, what it costs, and which ways the training has gone."""

from __future__ import annotations

import time

from PySide6.QtCore import QPoint, QTimer, Signal, Slot
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QFrame, QMenu, QScrollArea, QStackedLayout, QVBoxLayout, QWidget

from gradscope.protocol.messages import GoTo
from gradscope.state.history import History
from gradscope.state.records.parting import Parting
from gradscope.state.topics import Topic
from gradscope.ui.actions.controller import Controller
from gradscope.ui.actions.run_comparisons import refusal_of
from gradscope.ui.docks.panel import Panel
from gradscope.ui.docks.timeline_picture import Lane, Moments, TimelinePicture
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.words.wording import nothing_yet
from gradscope.ui.widgets.access_keys import give_access_keys
from gradscope.ui.widgets.empty_note import EmptyNote
from gradscope.ui.widgets.plain import PlainLabel, plain_tip
from gradscope.ui.widgets.redraw import owing
from gradscope.ui.words.again import sameness
from gradscope.ui.words.timeline import branch_name, last_loss, parting, reach, weights_kept

_TOPICS = frozenset({Topic.SESSION, Topic.POSITION, Topic.HISTORY, Topic.SHOWN, Topic.TIMELINE})
_MARGINS = (8, 6, 8, 2)
_SLICE_SECS = 0.012


class TimelineDock(Panel):
    """A click shows a step everywhere, a double click takes the training there."""

    go_wanted = Signal(object)
    """GoTo."""
    compare_wanted = Signal(int)
    """A branch is to be compared with the one that training is on."""

    def __init__(self, controller: Controller, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(self.tr("Timeline"), name="timelineDock", themes=themes, parent=parent)
        self._controller = controller
        self.reach = PlainLabel(parent=self)
        self.parting = PlainLabel(parent=self)
        for label in (self.reach, self.parting):
            label.setWordWrap(True)
            label.setContentsMargins(*_MARGINS)
        self.reach.setProperty("role", "muted")
        self._parting: Parting | None = None
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(0)
        self._rest.timeout.connect(self._tell_parting)
        self.picture = TimelinePicture(themes, self)
        self.picture.step_wanted.connect(controller.show_step)
        self.picture.go_wanted.connect(self._on_go_wanted)
        self.picture.menu_wanted.connect(self._on_menu_wanted)
        self._empty = EmptyNote("", self)
        page = QWidget(self)
        page.setBackgroundRole(QPalette.ColorRole.Base)
        page.setAutoFillBackground(True)
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        for widget in (self.reach, self.parting, self.picture):
            column.addWidget(widget)
        column.addStretch(1)
        area = QScrollArea(self)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setWidgetResizable(True)
        page.setMinimumWidth(1)
        area.setWidget(page)
        self._page = area
        self._stack = QStackedLayout()
        self._stack.addWidget(self._empty)
        self._stack.addWidget(area)
        self.body.addLayout(self._stack, 1)
        self._refresh()
        controller.panels_refreshed.connect(self._on_refreshed)
        self.visibilityChanged.connect(self._on_visibility_changed)

    # ------------------------------------------------------------------------------------------ slots

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if topics & _TOPICS and not self.visibleRegion().isEmpty():
            self._refresh()

    @Slot(bool)
    def _on_visibility_changed(self, visible: bool) -> None:
        if visible:
            self._refresh()

    @Slot(int, int)
    def _on_go_wanted(self, step: int, branch: int) -> None:
        timeline = self._controller.state.timeline
        self.go_wanted.emit(GoTo(step=step, branch=None if branch == timeline.branch else branch))

    @Slot(int, int, QPoint)
    def _on_menu_wanted(self, branch: int, step: int, place: QPoint) -> None:
        timeline = self._controller.state.timeline
        menu = QMenu(self)
        menu.aboutToHide.connect(menu.deleteLater)
        menu.setToolTipsVisible(True)
        is_own = branch == timeline.branch
        refusal = refusal_of(timeline.past.get(branch), is_current=is_own)
        text = self.tr("Compare with the branch I am on")
        if is_own and refusal is None:
            text = self.tr("Compare with what it was before going back")
        compare = menu.addAction(text, lambda: self.compare_wanted.emit(branch))
        compare.setEnabled(refusal is None)
        compare.setToolTip(plain_tip(refusal or self.tr("Every layer and parameter of both, and their curves")))
        go = menu.addAction(
            self.tr("Take the training to before step {step}").format(step=step),
            lambda: self._on_go_wanted(step, branch),
        )
        refusal = self._controller.state.going_back_refusal()
        go.setEnabled(refusal is None)
        go.setToolTip(plain_tip(refusal or ""))
        give_access_keys(menu)
        menu.popup(place)

    # ------------------------------------------------------------------------------------------ private

    def _refresh(self) -> None:
        state = self._controller.state
        # Back before the first step nothing is recorded behind training, and all of what lies before it is kept.
        if state.session is None or (state.shown.newest < 0 and state.timeline.other_history() is None):
            to_press = self.tr("Press Forward (F5): the steps that are made appear here, and one can go back to them")
            self._empty.setText(nothing_yet(state, to_press))
            self._stack.setCurrentWidget(self._empty)
            return
        self._stack.setCurrentWidget(self._page)
        timeline, shown = state.timeline, state.shown
        # That a run has to be paused first is said by the buttons.
        refusal = None if state.position.running else state.going_back_refusal()
        self.reach.setText(weights_kept(timeline) if state.in_script else refusal or reach(timeline))
        told = timeline.told
        now = max(state.position.step, 0)
        moments = Moments(now=now, shown=shown.step, checkpoints=() if told is None else told.checkpoints)
        self.picture.show_lanes(self._lanes(now), moments)
        if not state.position.running:
            self._tell_parting()
        elif (state.again.parting if state.in_script else timeline.other_history()) is None:
            # What stands there is of a training that was open before.
            self._tell_no_parting()

    @Slot()
    def _tell_parting(self) -> None:
        """A little at a time, so that the window goes on meanwhile."""
        state = self._controller.state
        timeline, other = state.timeline, state.timeline.other_history()
        if state.in_script:
            self._tell_sameness(state.again.parting)
            return
        if other is None:
            self._tell_no_parting()
            return
        self.parting.setVisible(bool(self.parting.text()))
        number, history = other
        known = self._parting
        if known is None or (known.ours, known.theirs) != (state.history, history):
            branch = timeline.branches.get(timeline.branch)
            # Before they part they are the same: the one has begun as a copy of the other.
            first = 0 if branch is None or number != branch.parent else branch.from_step
            known = self._parting = Parting(state.history, history, first)
        if not known.is_done:
            known.go_on(time.monotonic() + _SLICE_SECS)
        if known.is_done:
            self.parting.setText(parting(known.found, now=timeline.branch, other=number))
            self.parting.setVisible(bool(self.parting.text()))
        else:
            self._rest.start()

    def _tell_no_parting(self) -> None:
        self._parting = None
        self.parting.clear()
        self.parting.hide()

    def _tell_sameness(self, parting: Parting | None) -> None:
        """Of a script that was run again, and the run before."""
        if parting is not None and not parting.is_done:
            parting.go_on(time.monotonic() + _SLICE_SECS)
        text = "" if parting is None else sameness(parting)
        self.parting.setText(text)
        self.parting.setVisible(bool(text))
        if parting is not None and not parting.is_done:
            self._rest.start()

    def _lanes(self, now: int) -> list[Lane]:
        state = self._controller.state
        timeline = state.timeline
        if not timeline.branches:
            # Of a script, or before the engine has told: one line, as long as what is recorded.
            label = ", ".join(part for part in (self.tr("Steps so far"), last_loss(state.history)) if part)
            return [
                Lane(
                    id=0,
                    parent=None,
                    from_step=0,
                    until_step=max(now, state.shown.newest),
                    label=label,
                    is_current=True,
                )
            ]
        lanes = []
        for branch in timeline.branches.values():
            is_current = branch.id == timeline.branch
            history: History | None = timeline.past.get(branch.id)
            if is_current and (history is None or not len(history.loss)):
                history = state.history
            told = (branch_name(branch), last_loss(history))
            lanes.append(
                Lane(
                    id=branch.id,
                    parent=branch.parent,
                    from_step=branch.from_step,
                    until_step=max(branch.until_step, now if is_current else 0),
                    label=", ".join(part for part in told if part),
                    is_current=is_current,
                )
            )
        return lanes
