"""Where stops lead and what leads to them: the dialog, menus of layers, plots, moments and lines, the place of a hit."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from PySide6.QtCore import QObject, QPoint, Slot
from PySide6.QtWidgets import QMenu, QWidget

from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages import Place
from gradscope.protocol.stops.evaluation import kinds_of
from gradscope.protocol.stops.parsing import parse
from gradscope.protocol.stops.point import StopHit
from gradscope.protocol.stops.tree import AtLine, Stop
from gradscope.state.selection import Selection
from gradscope.state.stops import Wanted
from gradscope.state.topics import Topic
from gradscope.state.tree import Node, find
from gradscope.ui.actions.controller import Controller
from gradscope.ui.actions.stops import Stops, problem_of
from gradscope.ui.dialogs.stop import StopDialog
from gradscope.ui.docks.moments import MomentsDock
from gradscope.ui.docks.source import SourceDock
from gradscope.ui.docks.stops import StopsDock
from gradscope.ui.stops.choices import Where, at_layer, at_line
from gradscope.ui.stops.entries import Entries
from gradscope.ui.training.layer_menu import LayerMenu
from gradscope.ui.widgets.access_keys import give_access_keys
from gradscope.ui.widgets.redraw import owing
from gradscope.ui.words.spot import Spot


class StopPaths(QObject):
    """`window` is the parent of dialogs and menus."""

    def __init__(self, controller: Controller, stops: Stops, *, window: QWidget) -> None:
        super().__init__(window)
        self._controller, self._stops, self._window = controller, stops, window
        stops.dialog_wanted.connect(self.ask)
        controller.menu_filling.connect(self._fill_for_spot)

    def lead(self, dock: StopsDock, layer_menus: Sequence[LayerMenu], moments: MomentsDock, source: SourceDock) -> None:
        """From the panels and to them; said once."""
        self._dock, self._source = dock, source
        dock.show_wanted.connect(self.show_hit)
        dock.step_wanted.connect(self.show_step)
        for menu in layer_menus:
            menu.filling.connect(partial(self._fill_for_node, menu))
        moments.menu_wanted.connect(self._on_moment_menu_wanted)
        source.menu_filling.connect(self._fill_for_line)
        source.margin_clicked.connect(self._on_margin_clicked)
        source.file_shown.connect(self._mark_lines)
        self._controller.panels_refreshed.connect(self._on_refreshed)

    # ------------------------------------------------------------------------------------------ public

    @Slot(object, object)
    def ask(self, wanted: Wanted, number: int | None) -> None:
        """Have a person say what to stop at; `number` is that of the stop which is changed, None for a new one."""
        if self._stops.refusal() is not None:
            return
        dialog = StopDialog(self._controller.state, wanted, is_new=number is None, parent=self._window)
        dialog.chosen.connect(partial(self._on_chosen, number))
        dialog.open()

    @Slot()
    def show_panel(self) -> None:
        self._dock.show()
        self._dock.raise_()
        self._dock.view.setFocus()
        now = self._controller.state.stops.now
        if now:
            self._dock.select(now[0].id)

    @Slot()
    def add(self) -> None:
        """From nothing."""
        self.ask(Wanted(text=""), None)

    @Slot()
    def run_to_selected(self) -> None:
        """Until the selected layer is entered, or the gradient of the selected parameter has arrived."""
        selection = self._controller.state.selection
        if selection.name is not None:
            event = Where.GRADIENT if selection.is_parameter else Where.ENTER
            self._stops.run_to(at_layer(event, selection.name))

    @Slot(object, str, int)
    def show_step(self, stop: Stop, subject: str, step: int) -> None:
        """What was recorded of a step, with what a stop has held for in it."""
        self._select(stop, subject)
        self._controller.show_step(step)

    @Slot(object)
    def show_hit(self, hit: StopHit) -> None:
        """Select what a stop has held for, or the layer at which it was."""
        point = self._stops.known.point(hit.id)
        if point is not None and problem_of(point) is None and self._select(parse(point.text), hit.subject):
            return
        names = [hit.subject, *([] if hit.moment is None else [hit.moment.layer])]
        tree = self._controller.state.tree
        for name in names if tree is not None else ():
            for is_parameter in (False, True) if name else ():
                node = None if tree is None else find(tree, name, is_parameter=is_parameter)
                if node is not None:
                    self._controller.select(Selection.of(node))
                    return

    def _select(self, stop: Stop, label: str) -> bool:
        """The subject with a label, of a kind that a condition is about; whether there is one."""
        if stop.condition is None or not label:
            return False
        history = self._controller.state.history
        for kind in sorted(kinds_of(stop.condition)):
            key = next((key for key in history.subjects(kind) if key.label() == label), None)
            if key is not None:
                self._controller.select(Selection.of_subject(key))
                return True
        return False

    # ------------------------------------------------------------------------------------------ slots

    def _on_chosen(self, number: int | None, wanted: Wanted) -> None:
        if number is None:
            self._stops.add(wanted.text, every=wanted.every)
            self._dock.show()
            self._dock.raise_()
        else:
            self._stops.change(number, wanted)

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if topics & {Topic.STOPS, Topic.SESSION}:
            self._mark_lines()

    def _fill_for_node(self, menu: LayerMenu, node: Node) -> None:
        Entries(menu, self._stops).of_node(node, self._controller.state.selection.kind)

    @Slot(object, QPoint)
    def _on_moment_menu_wanted(self, place: Place, point: QPoint) -> None:
        menu = QMenu(self._window)
        menu.aboutToHide.connect(menu.deleteLater)
        Entries(menu, self._stops).of_moment(place)
        give_access_keys(menu)
        menu.popup(point)

    @Slot(object, object)
    def _fill_for_spot(self, menu: QMenu, spot: Spot) -> None:
        Entries(menu, self._stops).of_spot(spot)

    # ------------------------------------------------------------------------------------------ lines

    @Slot(object, str, int)
    def _fill_for_line(self, menu: QMenu, file: str, line: int) -> None:
        Entries(menu, self._stops).of_line(self._short(file), line)

    @Slot(str, int)
    def _on_margin_clicked(self, file: str, line: int) -> None:
        """Remove the stops at a line, or add one."""
        numbers = [number for number, place, _ in self._lines() if place.is_at(file, line)]
        if numbers:
            self._stops.remove(numbers)
        else:
            self._stops.add(at_line(self._short(file), line))

    @Slot()
    def _mark_lines(self) -> None:
        file = self._source.file
        marks: dict[int, bool] = {}
        for _, place, is_on in self._lines():
            if place.is_at(file, place.line):
                marks[place.line] = marks.get(place.line, False) or is_on
        self._source.view.show_stops(marks)

    def _lines(self) -> list[tuple[int, AtLine, bool]]:
        """(the number of a stop, its line, whether it is on) of those at lines."""
        found = []
        for point in self._stops.known.points:
            try:
                place = parse(point.text).place
            except BadInput:
                continue
            if isinstance(place, AtLine):
                found.append((point.id, place, point.is_enabled))
        return found

    def _short(self, file: str) -> str:
        """A path as it is read easily: from the folder of what is open, where it lies in there."""
        session = self._controller.state.session
        folder = "" if session is None else session.path.replace("\\", "/").rpartition("/")[0]
        path = file.replace("\\", "/")
        return path.removeprefix(f"{folder}/") if folder else path
