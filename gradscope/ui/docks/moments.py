"""The Moments panel: what ran in the training step that is shown, in order."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import QItemSelectionModel, QModelIndex, QPoint, Qt, Signal, Slot
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QStackedLayout, QTableView, QWidget

from gradscope.protocol.subjects import SubjectKind
from gradscope.state.selection import Selection
from gradscope.state.topics import Topic
from gradscope.ui.actions.controller import Controller
from gradscope.ui.docks.panel import Panel
from gradscope.ui.docks.share_delegate import ShareDelegate
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.models.moments import Column, MomentsModel
from gradscope.ui.plots.words.wording import nothing_yet
from gradscope.ui.widgets.empty_note import EmptyNote
from gradscope.ui.widgets.fitting_delegate import NumberDelegate
from gradscope.ui.widgets.redraw import Held, owing
from gradscope.ui.words.shown_step import why_no_moments


class MomentsDock(Panel):
    """Selecting a row selects its layer or parameter everywhere."""

    place_chosen = Signal(object)
    """Place: its row was selected by a person."""
    source_wanted = Signal()
    """A row was double-clicked, or Enter pressed on it: its line is to be seen."""
    menu_wanted = Signal(object, QPoint)
    """Place, and where on the screen: what can be done there is to be offered."""

    def __init__(self, controller: Controller, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(self.tr("Moments"), name="momentsDock", themes=themes, parent=parent)
        self._controller = controller
        self._is_following = Held()
        self.model = MomentsModel(controller.state, themes.theme, self)
        self._bars = ShareDelegate(themes, role=MomentsModel.SHARE_ROLE, parent=self)
        self._numbers = NumberDelegate(self)
        self.view = self._make_view()
        self._empty = EmptyNote("", self)
        self._stack = QStackedLayout()
        self._stack.addWidget(self._empty)
        self._stack.addWidget(self.view)
        self.body.addLayout(self._stack, 1)
        self._refresh()
        controller.panels_refreshed.connect(self._on_refreshed)
        themes.changed.connect(self._on_theme_changed)
        self.visibilityChanged.connect(self._on_visibility_changed)

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if topics & {Topic.SESSION, Topic.SETTINGS, Topic.HISTORY, Topic.SHOWN} and self.view_is_wanted():
            self._refresh()
        if topics & {Topic.SESSION, Topic.HISTORY, Topic.SHOWN, Topic.SELECTION}:
            self._follow_selection()

    @Slot(bool)
    def _on_visibility_changed(self, visible: bool) -> None:
        if visible:
            self._refresh()
            self._follow_selection()

    @Slot(object)
    def _on_theme_changed(self, theme: Theme) -> None:
        self.model.set_theme(theme)

    @Slot(QModelIndex, QModelIndex)
    def _on_current_changed(self, current: QModelIndex, _previous: QModelIndex) -> None:
        if self._is_following or not current.isValid():
            return
        place = self.model.place(current.row())
        self.place_chosen.emit(place)
        if place.event == "":
            return
        if place.event == "gradient":
            selection = Selection.of_node(place.layer, is_parameter=True, kind=SubjectKind.GRAD)
        else:
            kind = self._controller.state.selection.kind
            selection = Selection.of_node(place.layer, is_parameter=False, kind=kind)
        self._controller.select(replace(selection, call=place.call))

    @Slot(QModelIndex)
    def _on_clicked(self, index: QModelIndex) -> None:
        # Also the row that is the current one already.
        self.place_chosen.emit(self.model.place(index.row()))

    @Slot(QPoint)
    def _on_menu_requested(self, point: QPoint) -> None:
        index = self.view.indexAt(point)
        if index.isValid() and self._controller.state.snapshot is None:
            self.menu_wanted.emit(self.model.place(index.row()), self.view.viewport().mapToGlobal(point))

    def view_is_wanted(self) -> bool:
        """False while the panel is closed or behind another tab: it catches up when it is shown."""
        return not self.visibleRegion().isEmpty()

    def _refresh(self) -> None:
        with self._is_following:
            self.model.show_state(self._controller.state)
        step = self.model.step
        to_press = self.tr("Press Forward (F5): every layer that runs is listed here, with its shape and time")
        state = self._controller.state
        self._empty.setText(nothing_yet(state, to_press) if state.shown.step is None else why_no_moments(state))
        self._stack.setCurrentWidget(self._empty if step is None else self.view)
        self.set_title_note("" if step is None else self._note(step))

    def _note(self, step: int) -> str:
        note, capture = self.tr("step %1").replace("%1", str(step)), self._controller.state.capture
        if capture.is_off:
            return note + ", " + self.tr("capture is off: no layers")
        return note + ", " + self.tr("chosen layers only") if capture.is_partial else note

    def _follow_selection(self) -> None:
        selection = self._controller.state.selection
        current = self.view.currentIndex()
        if current.isValid():
            place = self.model.place(current.row())
            is_parameter = place.event == "gradient"
            if place.event and (place.layer, is_parameter) == (selection.name, selection.is_parameter):
                return
        row = None
        if selection.name is not None:
            row = self.model.row_of(selection.name, is_parameter=selection.is_parameter, call=selection.call)
        with self._is_following:
            flags = QItemSelectionModel.SelectionFlag
            if row is None:
                self.view.selectionModel().clear()
            else:
                index = self.model.index(row, 0)
                self.view.selectionModel().setCurrentIndex(index, flags.ClearAndSelect | flags.Rows)
                self.view.scrollTo(index)

    def _make_view(self) -> QTableView:
        view = QTableView(self)
        view.setModel(self.model)
        view.setAccessibleName(self.tr("Moments"))
        view.setItemDelegate(self._numbers)
        view.setItemDelegateForColumn(Column.DURATION, self._bars)
        view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        view.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        view.setTabKeyNavigation(False)
        view.setShowGrid(False)
        view.setWordWrap(False)
        vertical = view.verticalHeader()
        vertical.hide()
        vertical.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        vertical.setDefaultSectionSize(view.fontMetrics().height() + 8)
        header = view.horizontalHeader()
        header.setHighlightSections(False)
        header.setStretchLastSection(False)
        header.setSectionResizeMode(Column.LAYER, QHeaderView.ResizeMode.Stretch)
        digit = view.fontMetrics().horizontalAdvance("0")
        for column, width in (
            (Column.SUBSTEP, 12),
            (Column.CALL, 6),
            (Column.SHAPE, 22),
            (Column.START, 11),
            (Column.DURATION, 14),
            (Column.MEMORY, 12),
        ):
            header.resizeSection(column, width * digit)
        view.selectionModel().currentChanged.connect(self._on_current_changed)
        view.clicked.connect(self._on_clicked)
        view.activated.connect(self.source_wanted)
        view.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        view.customContextMenuRequested.connect(self._on_menu_requested)
        return view
