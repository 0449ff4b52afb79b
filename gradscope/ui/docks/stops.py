"""The Stops panel: where training is to stop, what has made it stop, and in which recorded steps a stop has held."""

from __future__ import annotations

from PySide6.QtCore import QItemSelectionModel, QPoint, Signal, Slot
from PySide6.QtGui import QAction, QGuiApplication, QKeySequence
from PySide6.QtWidgets import QMenu, QStackedLayout, QToolButton, QWidget

from gradscope.protocol.stops.parsing import parse
from gradscope.protocol.stops.point import StopPoint
from gradscope.protocol.stops.recheck import Found
from gradscope.state.stops import Wanted, as_wanted
from gradscope.state.topics import Topic
from gradscope.ui.actions.controller import Controller
from gradscope.ui.actions.stops import Stops, problem_of
from gradscope.ui.docks.panel import Panel
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.stops.examples import Examples
from gradscope.ui.stops.held_view import HeldView
from gradscope.ui.stops.model import StopsModel
from gradscope.ui.stops.rechecker import Rechecker
from gradscope.ui.stops.view import StopsView
from gradscope.ui.widgets.access_keys import give_access_keys
from gradscope.ui.widgets.plain import plain_tip
from gradscope.ui.widgets.redraw import Held, owing
from gradscope.ui.widgets.turning_split import TurningSplit
from gradscope.ui.words.stops import stops_in_words

_TOPICS = frozenset({Topic.SESSION, Topic.STOPS, Topic.POSITION})
_WIDE_DIGITS = 90
_LIST_SHARE = 0.55
"""Of the table, beside the steps in which a stop has held."""


class StopsDock(Panel):
    """A table of stops, or, while there are none, what one can do. Buttons and menu act on the selected rows."""

    show_wanted = Signal(object)
    """StopHit: where it was is to be seen."""
    step_wanted = Signal(object, str, int)
    """Stop, the label of a subject, and a recorded step: this is to be seen."""

    def __init__(
        self, controller: Controller, themes: ThemeManager, parent: QWidget | None = None, *, stops: Stops
    ) -> None:
        super().__init__(self.tr("Stops"), name="stopsDock", themes=themes, parent=parent)
        self._controller = controller
        self._stops = stops
        self._is_following = Held()
        self.model = StopsModel(themes.theme, self)
        self.view = StopsView(self.model, self)
        self.examples = Examples(self)
        self._stack = QStackedLayout()
        self._stack.addWidget(self.examples)
        self.rechecker = Rechecker(self)
        self.held = HeldView(self.rechecker, themes, self)
        self.held.hide()
        self.split = TurningSplit(
            self.view, self.held, self, wide_digits=_WIDE_DIGITS, shares=(_LIST_SHARE, _LIST_SHARE)
        )
        self._stack.addWidget(self.split)
        self.body.addLayout(self._stack, 1)
        self._make_buttons()
        self.model.enable_wanted.connect(self._on_enable_wanted)
        self.view.toggle_wanted.connect(self._on_toggle_wanted)
        self.view.remove_wanted.connect(self._on_remove_wanted)
        self.view.edit_wanted.connect(self._on_edit_wanted)
        self.view.menu_wanted.connect(self._on_menu_wanted)
        self.view.selectionModel().selectionChanged.connect(self._refresh_buttons)
        self.examples.chosen.connect(self._on_example_chosen)
        self.held.chosen.connect(self._on_held_chosen)
        self.held.closed.connect(self._on_held_closed)
        stops.added.connect(self._on_added)
        self._refresh()
        controller.panels_refreshed.connect(self._on_refreshed)
        themes.changed.connect(self._on_theme_changed)
        self.visibilityChanged.connect(self._on_visibility_changed)

    # ------------------------------------------------------------------------------------------ public

    def selected(self) -> list[StopPoint]:
        points = (self.model.point(row) for row in self.view.rows())
        return [point for point in points if point is not None]

    def select(self, number: int) -> None:
        """Show one of the list."""
        self._refresh()
        row = self.model.row_of(number)
        if row is not None:
            flags = QItemSelectionModel.SelectionFlag
            index = self.model.index(row, 1)
            self.view.selectionModel().setCurrentIndex(index, flags.ClearAndSelect | flags.Rows)
            self.view.scrollTo(index)

    # ------------------------------------------------------------------------------------------ slots

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if topics & _TOPICS:
            self._show_note()
            if not self.visibleRegion().isEmpty():
                self._refresh()
        if Topic.SESSION in topics:
            self._on_held_closed()

    @Slot(bool)
    def _on_visibility_changed(self, is_visible: bool) -> None:
        if is_visible:
            self._refresh()

    @Slot(object)
    def _on_theme_changed(self, theme: Theme) -> None:
        self.model.set_theme(theme)

    @Slot()
    def _on_add_wanted(self) -> None:
        self._stops.ask(Wanted(text=""))

    @Slot(str)
    def _on_example_chosen(self, text: str) -> None:
        self._stops.ask(Wanted(text=text))

    @Slot()
    def _on_edit_wanted(self) -> None:
        selected = self.selected()
        if selected:
            self._stops.ask(as_wanted(selected[0]), selected[0].id)

    @Slot()
    def _on_remove_wanted(self) -> None:
        rows = self.view.rows()
        self._stops.remove([point.id for point in self.selected()])
        # The keyboard stays where it was.
        if rows and self.model.rowCount():
            self.view.selectRow(min(rows[0], self.model.rowCount() - 1))

    @Slot()
    def _on_toggle_wanted(self) -> None:
        selected = self.selected()
        self._stops.enable([point.id for point in selected], not all(point.is_enabled for point in selected))

    @Slot(int, bool)
    def _on_enable_wanted(self, number: int, is_enabled: bool) -> None:
        self._stops.enable([number], is_enabled)

    @Slot(int)
    def _on_added(self, number: int) -> None:
        self.select(number)

    @Slot()
    def _on_recheck_wanted(self) -> None:
        """Look the selected stop up in what is recorded."""
        selected = self.selected()
        if len(selected) != 1 or problem_of(selected[0]) is not None:
            return
        self.rechecker.start(parse(selected[0].text), self._controller.state.history)
        self.held.show()
        self.split.arrange()

    @Slot(object)
    def _on_held_chosen(self, found: Found) -> None:
        step, subject, _ = found
        if self.rechecker.stop is not None:
            self.step_wanted.emit(self.rechecker.stop, subject, step)

    @Slot()
    def _on_held_closed(self) -> None:
        self.rechecker.give_up()
        self.held.hide()

    @Slot(QPoint)
    def _on_menu_wanted(self, place: QPoint) -> None:
        self.make_menu().popup(place)

    @Slot()
    def _on_show_wanted(self) -> None:
        hits = [self._stops.known.hits.get(point.id) for point in self.selected()]
        if hits and hits[0] is not None:
            self.show_wanted.emit(hits[0])

    @Slot()
    def _on_copy_wanted(self) -> None:
        QGuiApplication.clipboard().setText("\n".join(point.text for point in self.selected()))

    # ------------------------------------------------------------------------------------------ private

    def make_menu(self) -> QMenu:
        """Of the selected rows."""
        menu = QMenu(self)
        menu.aboutToHide.connect(menu.deleteLater)
        menu.setToolTipsVisible(True)
        points, known = self.selected(), self._stops.known
        self._add(menu, self.tr("Add..."), self._on_add_wanted, is_enabled=self._stops.refusal() is None)
        if points:
            menu.addSeparator()
            edit = self._add(menu, self.tr("Edit..."), self._on_edit_wanted, is_enabled=len(points) == 1)
            edit.setShortcut(QKeySequence("Return"))
            is_on = all(point.is_enabled for point in points)
            toggle = self._add(menu, self.tr("Turn off") if is_on else self.tr("Turn on"), self._on_toggle_wanted)
            toggle.setShortcut(QKeySequence("Space"))
            can_look = len(points) == 1 and problem_of(points[0]) is None
            self._add(menu, self.tr("Recheck in what is recorded"), self._on_recheck_wanted, is_enabled=can_look)
            has_hit = points[0].id in known.hits
            self._add(menu, self.tr("Show where it was hit"), self._on_show_wanted, is_enabled=has_hit)
            self._add(menu, self.tr("Copy text"), self._on_copy_wanted)
            remove = self._add(menu, self.tr("Remove"), self._on_remove_wanted)
            remove.setShortcut(QKeySequence("Delete"))
        menu.addSeparator()
        are_on = {point.is_enabled for point in known.points}
        self._add(menu, self.tr("Turn all on"), lambda: self._stops.enable_all(True), is_enabled=False in are_on)
        self._add(menu, self.tr("Turn all off"), lambda: self._stops.enable_all(False), is_enabled=True in are_on)
        self._add(menu, self.tr("Remove all"), self._stops.remove_all, is_enabled=bool(known.points))
        give_access_keys(menu)
        return menu

    def _add(self, menu: QMenu, text: str, slot: object, *, is_enabled: bool = True) -> QAction:
        action = menu.addAction(text)
        action.triggered.connect(slot)
        action.setEnabled(is_enabled)
        return action

    def _make_buttons(self) -> None:
        bar = self.title_bar
        self.add_button: QToolButton = bar.add_button("add", self.tr("Add a stop..."), self._on_add_wanted)
        self.edit_button = bar.add_button("edit", self.tr("Edit... (Enter)"), self._on_edit_wanted)
        self.remove_button = bar.add_button("remove", self.tr("Remove (Delete)"), self._on_remove_wanted)
        self.recheck_button = bar.add_button(
            "search", self.tr("Recheck: in which recorded steps it has held; nothing is run"), self._on_recheck_wanted
        )
        self.clear_button = bar.add_button("clear", self.tr("Remove all"), self._stops.remove_all)

    def _refresh(self) -> None:
        state = self._controller.state
        selected = [point.id for point in self.selected()]
        with self._is_following:
            self.model.show_state(state.stops, is_stopped=not state.position.running and state.snapshot is None)
            if selected and not self.view.selectionModel().hasSelection():
                rows = [row for number in selected if (row := self.model.row_of(number)) is not None]
                if rows:
                    self.view.selectRow(rows[0])
        has_rows = self.model.rowCount() > 0
        refusal = self._stops.refusal()
        self._stack.setCurrentWidget(self.split if has_rows else self.examples)
        if not has_rows:
            self.examples.show_state(state, refusal)
        self.add_button.setEnabled(refusal is None)
        self.add_button.setToolTip(plain_tip(refusal or self.tr("Add a stop...")))
        self._show_note()
        self._refresh_buttons()

    @Slot()
    def _refresh_buttons(self) -> None:
        count = len(self.selected())
        self.edit_button.setEnabled(count == 1)
        self.recheck_button.setEnabled(count == 1)
        self.remove_button.setEnabled(count > 0)
        self.clear_button.setEnabled(self.model.rowCount() > 0)

    def _show_note(self) -> None:
        known = self._controller.state.stops
        self.set_title_note(stops_in_words(known.points))
