"""The Layers panel: the model as a tree, with the newest numbers of every layer, parameter and buffer."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QItemSelectionModel, QModelIndex, QPoint, QSize, Qt, Signal, Slot
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QLineEdit, QStackedLayout, QWidget

from gradscope.protocol.messages import BufferInfo
from gradscope.state.selection import Selection
from gradscope.state.topics import Topic
from gradscope.ui.actions.controller import Controller
from gradscope.ui.docks.layer_columns import LOOKED_AT, NUMBERS, LayerColumns
from gradscope.ui.docks.layer_view import LayerView, NameDelegate
from gradscope.ui.docks.panel import Panel
from gradscope.ui.docks.tree_memory import TreeMemory, TreeShape
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.models.layer_tree import Column, LayerTreeModel
from gradscope.ui.training.layer_menu import LayerMenu
from gradscope.ui.widgets.empty_note import EmptyNote
from gradscope.ui.widgets.fields import clear_on_escape
from gradscope.ui.widgets.fitting_delegate import NumberDelegate, WordDelegate
from gradscope.ui.widgets.redraw import Held, owing

_FULLY_EXPANDED_UP_TO = 60
"""A larger model opens with its first level only."""
_MOST_EXPANDED = 2000
"""Rows that are laid out without being asked for."""
_MOST_UNFOLDED = 12_000
"""Rows that are laid out when somebody unfolds all below a row, which takes some 0.1 s."""
_DEEPEST = 200
_FRAME = 4
"""Pixels of the panel's border, left and right."""


class LayersDock(Panel):
    """Selecting a row selects the layer everywhere, and the other way round."""

    filled = Signal()
    """With the layers of another session."""

    def __init__(self, controller: Controller, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(self.tr("Layers"), name="layersDock", themes=themes, parent=parent)
        self._controller = controller
        self._themes = themes
        self._is_following = Held()
        self._expanded: set[str] | None = None
        self._memory = TreeMemory(controller.settings)
        self._path = ""
        """Of the recipe whose tree is shown."""
        self._selection = Selection()
        self._stopped_at: tuple[str, bool] | None = None
        """What was brought into sight because training had stopped at it."""
        self.filter = QLineEdit(self)
        self.filter.setPlaceholderText(self.tr("Filter by name, or type:Conv2d"))
        self.filter.setClearButtonEnabled(True)
        self.filter.setAccessibleName(self.tr("Filter layers"))
        self.filter.textChanged.connect(self._on_filter_changed)
        clear_on_escape(self.filter, within=self)
        self.model = LayerTreeModel(controller.state, themes.theme, self)
        self._numbers, self._names, self._flags = NumberDelegate(self), NameDelegate(self), WordDelegate(self)
        self.view = self._make_view()
        self._columns = LayerColumns(self.view, self.model, self._buffers)
        self.view.resized.connect(self._columns.fit)
        self.menu = LayerMenu(controller, self.view)
        self._empty = EmptyNote(self.tr("The layers of the model appear here once a recipe is open"), self)
        self._stack = QStackedLayout()
        self._stack.addWidget(self._empty)
        self._stack.addWidget(self.view)
        holder = QWidget(self)
        line = QStackedLayout(holder)
        line.setContentsMargins(4, 4, 4, 4)
        line.addWidget(self.filter)
        self.body.addWidget(holder)
        self.body.addLayout(self._stack, 1)
        self._filter_holder = holder
        self._start_session()
        self._follow_selection()
        controller.panels_refreshed.connect(self._on_refreshed)
        themes.changed.connect(self._on_theme_changed)

    def focus_filter(self) -> None:
        """Show the panel and put the keyboard into its filter."""
        self.show()
        self.raise_()
        self.filter.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.filter.selectAll()

    def remember(self) -> None:
        """Keep in mind what is unfolded and selected, until this recipe is opened the next time."""
        if self._path:
            unfolded = self._expanded_names() if self._expanded is None else self._expanded
            shape = TreeShape(
                unfolded=frozenset(unfolded),
                selected=self._selection.name,
                is_parameter=self._selection.is_parameter,
            )
            self._memory.remember(self._path, shape)

    def width_for(self, at_most: int) -> int:
        """What the panel needs for the columns that there is room for."""
        around = self.view.verticalScrollBar().sizeHint().width() + 2 * self.view.frameWidth() + _FRAME
        return min(at_most, sum(self._columns.widths_in(at_most - around).values()) + around)

    # ------------------------------------------------------------------------------------------ slots

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if Topic.SESSION in topics:
            self._start_session()
            # Its rows have been made with their pins and stops.
            topics = topics - {Topic.PINS, Topic.STOPS}
        elif Topic.MODEL in topics:
            self._take_in()
        elif Topic.SETTINGS in topics:
            self.model.refresh_settings()
        elif topics & {Topic.HISTORY, Topic.SHOWN, Topic.FINDINGS}:
            self.model.refresh_values()
            self._columns.widen()
        if Topic.PINS in topics:
            self.model.refresh_pins()
        if Topic.STOPS in topics or self.model.stopped_at != self._stopped_at:
            self.model.refresh_stops()
            self._reveal_stop()
        if topics & {Topic.SESSION, Topic.MODEL, Topic.SELECTION}:
            self._follow_selection()

    @Slot(object)
    def _on_theme_changed(self, theme: Theme) -> None:
        self.model.set_theme(theme)

    @Slot(str)
    def _on_filter_changed(self, wanted: str) -> None:
        if self._expanded is None:
            self._expanded = self._expanded_names()
        with self._is_following:
            self.model.set_filter(wanted)
            if self.model.is_filtered():
                self._expand_to(_DEEPEST)
                self.set_title_note(self.tr("{count} found").format(count=self.model.matches()))
            else:
                self._restore_expanded()
                self.set_title_note("")
        self._follow_selection()

    @Slot(QModelIndex, QModelIndex)
    def _on_current_changed(self, current: QModelIndex, _previous: QModelIndex) -> None:
        node = self.model.node(current)
        if self._is_following or node is None:
            return
        # The view makes its first row current when it gets the keyboard, without selecting it.
        flags = QItemSelectionModel.SelectionFlag
        self.view.selectionModel().select(current, flags.ClearAndSelect | flags.Rows)
        kind = self._controller.state.selection.kind
        self._controller.select(Selection.of(node, kind))

    @Slot(QModelIndex, QPoint)
    def _on_menu_requested(self, index: QModelIndex, place: QPoint) -> None:
        node = self.model.node(index)
        if node is not None:
            self.menu.show_for(node, place)

    @Slot(QModelIndex)
    def _on_unfolding_wanted(self, index: QModelIndex) -> None:
        """All that is below a row; of a large model as many levels as can be laid out at once."""
        rows = self.model.rows_within(len(self.model.nodes), at_most=_MOST_UNFOLDED, below=index)
        depth = -1 if rows <= _MOST_UNFOLDED else self._fitting_depth(_DEEPEST, _MOST_UNFOLDED, index)
        self.view.expandRecursively(index.siblingAtColumn(Column.NAME), depth)
        if depth >= 0:
            self.set_title_note(self.tr("too many to unfold all"))

    # ------------------------------------------------------------------------------------------ private

    def _make_view(self) -> LayerView:
        view = LayerView(self)
        view.setModel(self.model)
        view.setAccessibleName(self.tr("Layers"))
        view.setUniformRowHeights(True)
        view.setAllColumnsShowFocus(True)
        view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        view.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        view.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        view.setTextElideMode(Qt.TextElideMode.ElideRight)
        view.setIndentation(round(0.65 * view.fontMetrics().height()))
        side = view.fontMetrics().ascent()
        view.setIconSize(QSize(side, side))
        header = view.header()
        header.setStretchLastSection(True)
        header.setSectionsMovable(False)
        header.setResizeContentsPrecision(LOOKED_AT)
        header.setMinimumSectionSize(32)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        view.setItemDelegateForColumn(Column.NAME, self._names)
        view.setItemDelegateForColumn(Column.FLAGS, self._flags)
        for column in NUMBERS:
            view.setItemDelegateForColumn(column, self._numbers)
        view.menu_requested.connect(self._on_menu_requested)
        view.unfolding_wanted.connect(self._on_unfolding_wanted)
        view.selectionModel().currentChanged.connect(self._on_current_changed)
        self.model.dataChanged.connect(view.viewport().update)
        return view

    def _buffers(self) -> Sequence[BufferInfo]:
        session = self._controller.state.session
        return () if session is None else session.buffers

    def _start_session(self) -> None:
        self.remember()
        state = self._controller.state
        self._path = "" if state.session is None else state.session.path
        shape = self._memory.recall(self._path) if self._path else None
        with self._is_following:
            self._expanded = None
            self.filter.clear()
            self.model.show_state(self._controller.state)
            has_session = self._controller.state.session is not None
            self._stack.setCurrentWidget(self.view if has_session else self._empty)
            self._filter_holder.setVisible(has_session)
            if shape is not None and shape.unfolded is not None:
                self._expanded = set(shape.unfolded)
                self._restore_expanded()
            elif self.model.matches() <= _FULLY_EXPANDED_UP_TO:
                self.view.expandAll()
            else:
                self._expand_to(1)
            self._columns.fit()
        self.filled.emit()
        if shape is not None and shape.selected is not None and state.selection.name is None:
            self._select(shape.selected, is_parameter=shape.is_parameter)

    def _take_in(self) -> None:
        """The same session has other layers: those that were known stay unfolded, those that are new are as at first."""
        known = {node.name for node in self.model.nodes}
        unfolded = self._expanded_names() if self._expanded is None else self._expanded
        with self._is_following:
            self.model.rebuild()
            new = {node.name for node in self.model.nodes} - known
            if len(self.model.nodes) <= _FULLY_EXPANDED_UP_TO:
                unfolded = unfolded | new
            self._expanded = unfolded | {""}
            if not self.model.is_filtered():
                self._restore_expanded()
            self._columns.fit()
        self.filled.emit()

    def _select(self, name: str, *, is_parameter: bool) -> None:
        """Everywhere, if there still is such a layer, parameter or buffer."""
        node = self.model.node(self.model.index_of(name, is_parameter=is_parameter))
        if node is not None:
            self._controller.select(Selection.of(node))

    def _expand_to(self, depth: int) -> None:
        """As deep as that, or less where a view of it would hold up the window: it asks for every row."""
        self.view.expandToDepth(self._fitting_depth(depth, _MOST_EXPANDED, QModelIndex()))

    def _fitting_depth(self, depth: int, at_most: int, below: QModelIndex) -> int:
        """As deep as that, or less where there were more rows then."""
        while depth > 0 and self.model.rows_within(depth + 1, at_most=at_most, below=below) > at_most:
            depth = depth - 1 if depth < _DEEPEST else 3
        return depth

    def _follow_selection(self) -> None:
        selection = self._selection = self._controller.state.selection
        index = QModelIndex()
        if selection.name is not None:
            index = self.model.index_of(selection.name, is_parameter=selection.is_parameter)
        if self.model.node(index) is self.model.node(self.view.currentIndex()) and index.isValid():
            return
        with self._is_following:
            flags = QItemSelectionModel.SelectionFlag
            if index.isValid():
                self.view.selectionModel().setCurrentIndex(index, flags.ClearAndSelect | flags.Rows)
                self.view.scrollTo(index)
            else:
                self.view.selectionModel().clear()

    def _reveal_stop(self) -> None:
        """Bring into sight, once, what training has stopped at."""
        here = self.model.stopped_at
        if here is not None and here != self._stopped_at:
            index = self.model.index_of(here[0], is_parameter=here[1])
            if index.isValid():
                with self._is_following:
                    self.view.scrollTo(index)
        self._stopped_at = here

    def _expanded_names(self) -> set[str]:
        return self.model.unfolded_names(self.view.isExpanded)

    def _restore_expanded(self) -> None:
        for name in self._expanded or ():
            self.view.expand(self.model.index_of(name, is_parameter=False))
        self._expanded = None
