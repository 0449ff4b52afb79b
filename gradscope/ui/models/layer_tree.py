"""The layer tree as a Qt model: state.tree with the newest numbers of every node, and a filter of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import Any

import numpy as np
from PySide6.QtCore import QAbstractItemModel, QModelIndex, QObject, QPersistentModelIndex, QSize, Qt
from PySide6.QtGui import QColor, QFont, QIcon

from gradscope.protocol import numbers
from gradscope.protocol.subjects import SubjectKind
from gradscope.protocol.visible import visible
from gradscope.state.app_state import AppState
from gradscope.state.tree import Node
from gradscope.ui.look.colours import Theme, blend
from gradscope.ui.look.theme import icon
from gradscope.ui.models.layer_flags import Flag, LayerFlags, Severity
from gradscope.ui.models.layer_pins import LayerPins
from gradscope.ui.models.layer_stops import LayerStops
from gradscope.ui.models.layer_text import describe_node
from gradscope.ui.models.layer_values import LayerValues
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import plain_items
from gradscope.ui.widgets.redraw import resetting
from gradscope.ui.words import text
from gradscope.ui.words.capture import why_no_value, why_not_captured

Index = QModelIndex | QPersistentModelIndex
_Role = Qt.ItemDataRole


class Column(IntEnum):
    NAME = 0
    FORM = 1
    VALUE = 2
    GRADIENT = 3
    UPDATE = 4
    FLAGS = 5


_OF_TYPE = "type:"
_NUMBERS = (Column.VALUE, Column.GRADIENT, Column.UPDATE)
_TINT = 0.14
"""Of the row at which training is stopped."""
_NOT_FINITE = frozenset({"NaN", "Inf", "-Inf"})


@guarded
@plain_items
class LayerTreeModel(QAbstractItemModel):
    """Rows are nodes; an index carries the number of its node in `walk` order."""

    def __init__(self, state: AppState, theme: Theme, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._theme = theme
        self._filter = ""
        self._root: Node | None = None
        """Of the tree that is shown; the state may have another one already."""
        self._nodes: list[Node] = []
        self._number: dict[tuple[str, bool], int] = {}
        self._parents: list[int] = []
        self._children: Mapping[int, Sequence[int]] | Sequence[Sequence[int]] = []
        self._place: list[int] = []
        self._matching = 0
        self._types: list[str] | None = None
        """What a filter by type looks through, once there is one."""
        self._values = LayerValues(state)
        self._flags = LayerFlags(state)
        self._flags_of: dict[int, list[Flag]] = {}
        self._pins = LayerPins(state)
        self._stops = LayerStops(state)
        self._take_icons()
        self._headers = {
            Column.NAME: (self.tr("Name"), self.tr("The name in the model")),
            Column.FORM: (self.tr("Type, shape"), self.tr("The type of a layer, the shape of a parameter or buffer")),
            Column.VALUE: (
                self.tr("Value"),
                self.tr("Mean ± standard deviation: of a layer's newest output, of a parameter or of a buffer"),
            ),
            Column.GRADIENT: (
                self.tr("Gradient"),
                self.tr("L2 norm of the newest gradient: of a layer's output, or of a parameter (its .grad)"),
            ),
            Column.UPDATE: (
                self.tr("Update"),
                self.tr("||update|| / ||parameter|| of the newest step; 1e-4 to 1e-1 is usual"),
            ),
            Column.FLAGS: (self.tr("Flags"), self.tr("What is remarkable: NaN, no gradient, frozen, tied ...")),
        }
        self.rebuild()

    # ------------------------------------------------------------------------------------------ public

    def show_state(self, state: AppState) -> None:
        """Another session, or a snapshot: every row anew."""
        self._state = state
        self.rebuild()

    def rebuild(self) -> None:
        """Every row anew."""
        with resetting(self):
            self._root = root = self._state.tree
            self._nodes = root.rows.nodes if root is not None else []
            self._number = root.rows.numbers if root is not None else {}
            self._parents = root.rows.parents if root is not None else []
            self._types = None
            self._arrange()
            self._values = LayerValues(self._state)
            self._flags = LayerFlags(self._state)
            self._pins = LayerPins(self._state)
            self._stops = LayerStops(self._state)
            self._read_reports()

    @property
    def nodes(self) -> Sequence[Node]:
        """All of them, also those that a filter leaves out."""
        return self._nodes

    def refresh_values(self) -> None:
        """A report came in."""
        self._read_reports()
        self._tell_all_changed()

    def refresh_settings(self) -> None:
        """Layers or parameters have other settings now."""
        self._types = None
        self.refresh_values()

    def refresh_pins(self) -> None:
        """Something was pinned or unpinned."""
        self._pins.read()
        self._tell_all_changed()

    def refresh_stops(self) -> None:
        """Other stops, or training stands elsewhere."""
        self._stops.read()
        self._tell_all_changed()

    @property
    def stopped_at(self) -> tuple[str, bool] | None:
        """(name, whether it is a parameter's) of what training is stopped at."""
        return self._stops.here

    def set_theme(self, theme: Theme) -> None:
        self._theme = theme
        self._take_icons()
        self._tell_all_changed()

    def set_filter(self, wanted: str) -> None:
        """Keep the nodes whose name contains the text, or the type after "type:", with what lies above; "" keeps all."""
        wanted = wanted.strip().lower()
        if wanted != self._filter:
            with resetting(self):
                self._filter = wanted
                self._arrange()

    def rows_within(self, depth: int, *, at_most: int, below: Index | None = None) -> int:
        """How many rows lie at most so deep below one, with itself; the first one, where none is given. Not counted beyond
        `at_most`."""
        first = 0 if below is None or not below.isValid() else below.internalId()
        count, level = 0, [first] if self._nodes and self._place[0] >= 0 else []
        for _ in range(depth + 1):
            count += len(level)
            if not level or count > at_most:
                break
            level = [below for number in level for below in self._children[number]]
        return count

    def unfolded_names(self, is_unfolded: Callable[[QModelIndex], bool]) -> set[str]:
        """Of the layers that are unfolded, with all above them, and have anything below them."""
        found, waiting = set(), [0] if self._nodes and self._place[0] >= 0 else []
        while waiting:
            number = waiting.pop()
            below = self._children[number]
            if below and is_unfolded(self.createIndex(self._place[number], 0, number)):
                found.add(self._nodes[number].name)
                waiting.extend(below)
        return found

    def is_filtered(self) -> bool:
        return bool(self._filter)

    def matches(self) -> int:
        """How many nodes the filter keeps by themselves."""
        return self._matching

    def node(self, index: Index) -> Node | None:
        return self._nodes[index.internalId()] if index.isValid() else None

    def index_of(self, name: str, *, is_parameter: bool) -> QModelIndex:
        """The row of a node; an invalid index if there is none, or if it is filtered out."""
        number = self._number.get((name, is_parameter))
        if number is None or self._place[number] < 0:
            return QModelIndex()
        return self.createIndex(self._place[number], 0, number)

    # ------------------------------------------------------------------------------------------ private

    def _arrange(self) -> None:
        """Which nodes are rows, and where."""
        count, root = len(self._nodes), self._root
        if not self._filter or root is None:
            self._matching = count
            self._children, self._place = (root.rows.children, root.rows.places) if root is not None else ([], [])
            return
        is_type = self._filter.startswith(_OF_TYPE)
        wanted = self._filter.removeprefix(_OF_TYPE).strip()
        texts = self._types_in_words() if is_type else root.rows.names
        is_matching = np.array([wanted in text for text in texts])
        self._matching = int(is_matching.sum())
        self._children, self._place = root.rows.kept(is_matching)

    def _types_in_words(self) -> list[str]:
        if self._types is None:
            self._types = [describe_node(node).lower() for node in self._nodes]
        return self._types

    def _read_reports(self) -> None:
        self._values.read_new_subjects()
        self._flags.read_new_reports()
        self._flags_of.clear()

    def _tell_all_changed(self) -> None:
        # One signal for all: one for every parent of a large model would take longer than the painting. A view repaints
        # only the rows that are named, so the dock has it repaint all that is visible.
        if self._nodes and self._place[0] >= 0:
            first = self.createIndex(0, 0, 0)
            self.dataChanged.emit(first, first.siblingAtColumn(Column.FLAGS))

    def _display(self, number: int, column: int) -> str:
        node = self._nodes[number]
        match column:
            case Column.NAME:
                return node.label or self.tr("(model)")
            case Column.FORM:
                return describe_node(node)
            case Column.VALUE:
                return self._values.value(node)
            case Column.GRADIENT:
                return numbers.number(self._values.gradient(node), digits=3)
            case Column.UPDATE:
                return numbers.number(self._values.update_ratio(node), digits=2)
            case _:
                return ", ".join(flag.word for flag in self._flags_at(number))

    def _flags_at(self, number: int) -> list[Flag]:
        if number not in self._flags_of:
            self._flags_of[number] = self._flags.of(self._nodes[number])
        return self._flags_of[number]

    def _tooltip(self, number: int, column: int) -> str:
        text = self._told(number, column)
        is_said = column == Column.NAME and self._is_here(number)
        return f"{self._stops.told_here()}\n{text}" if is_said else text

    def _told(self, number: int, column: int) -> str:
        node = self._nodes[number]
        if column == Column.FLAGS:
            flags = [f"{flag.word}: {flag.explanation}" for flag in self._flags_at(number)]
            return "\n".join(line for line in (*flags, self._pins.of(node), self._stops.of(node)) if line)
        if column in _NUMBERS:
            exact = self._trouble(node, column) or self._exact(node, column)
            lines = (exact, self._headers[Column(column)][1], self._why_no_number(node, column))
            return "\n".join(line for line in lines if line)
        name = visible(node.name) or self.tr("The model itself")
        if node.module is not None:
            return f"{name}\n{visible(node.module.type)}({visible(node.module.description)})"
        if node.parameter is not None:
            return f"{name}\n{text.shape(node.parameter.shape)}, {node.parameter.dtype}"
        if node.buffer is not None:
            about = f"{text.shape(node.buffer.shape)}, {node.buffer.dtype}"
            lines = (name, self.tr("Buffer: {about}").format(about=about), self._values.value(node))
            return "\n".join(line for line in lines if line)
        return name

    def _why_no_number(self, node: Node, column: int) -> str:
        """Why a cell has no number because of what is captured; "" where it has one, or for another reason."""
        shown = self._display(self._number[node.name, node.is_parameter], column)
        if column == Column.VALUE and shown == "–":
            return why_no_value(self._state)
        is_possible = column == Column.VALUE or node.is_parameter or (column == Column.GRADIENT and not node.is_buffer)
        return "" if shown or not is_possible else why_not_captured(self._state, node.value_kind, node.name)

    def _trouble(self, node: Node, column: int) -> str:
        """How much of what a cell tells of is NaN or Inf."""
        gradient = SubjectKind.GRAD if node.is_parameter else SubjectKind.ACTIVATION_GRAD
        kinds = {Column.VALUE: node.value_kind, Column.GRADIENT: gradient, Column.UPDATE: SubjectKind.UPDATE}
        kind = kinds.get(Column(column))
        return "" if kind is None else self._values.trouble(kind, node)

    def _exact(self, node: Node, column: int) -> str:
        if column == Column.VALUE:
            return self._values.exact_value(node)
        number = self._values.gradient(node) if column == Column.GRADIENT else self._values.update_ratio(node)
        return "" if number is None else repr(number)

    def _foreground(self, number: int, column: int) -> QColor | None:
        if column == Column.FLAGS:
            flags = self._flags_at(number)
            return QColor(getattr(self._theme, flags[0].severity.value)) if flags else None
        if column in _NUMBERS and self._display(number, column) in _NOT_FINITE:
            return QColor(self._theme.bad)
        # What is left out by what is captured stands back.
        is_left_out = not self._state.capture.is_off and not self._state.capture.wants(self._nodes[number].name)
        return QColor(self._theme.muted) if column == Column.FORM or is_left_out else None

    # ------------------------------------------------------------------------------------------ Qt

    def index(self, row: int, column: int, parent: Index = QModelIndex()) -> QModelIndex:  # noqa: B008
        if not parent.isValid():
            is_there = row == 0 and bool(self._nodes) and self._place[0] >= 0
            return self.createIndex(0, column, 0) if is_there else QModelIndex()
        children = self._children[parent.internalId()]
        return self.createIndex(row, column, children[row]) if 0 <= row < len(children) else QModelIndex()

    def parent(self, index: Index) -> QModelIndex:  # type: ignore[override]
        number = self._parents[index.internalId()] if index.isValid() else -1
        return self.createIndex(self._place[number], 0, number) if number >= 0 else QModelIndex()

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        if not parent.isValid():
            return int(bool(self._nodes) and self._place[0] >= 0)
        return len(self._children[parent.internalId()]) if parent.column() == 0 else 0

    def hasChildren(self, parent: Index = QModelIndex()) -> bool:  # noqa: B008
        # What a view asks of each row; Qt's own asks for rows and columns.
        return self.rowCount(parent) > 0

    def columnCount(self, _parent: Index = QModelIndex()) -> int:  # noqa: B008
        return len(Column)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = _Role.DisplayRole) -> Any:
        if orientation is not Qt.Orientation.Horizontal:
            return None
        title, explanation = self._headers[Column(section)]
        match role:
            case _Role.DisplayRole:
                return title
            case _Role.ToolTipRole:
                return explanation
            case _Role.TextAlignmentRole:
                side = Qt.AlignmentFlag.AlignRight if section in _NUMBERS else Qt.AlignmentFlag.AlignLeft
                return side | Qt.AlignmentFlag.AlignVCenter
        return None

    def data(self, index: Index, role: int = _Role.DisplayRole) -> Any:
        if not index.isValid():
            return None
        number, column = index.internalId(), index.column()
        match role:
            case _Role.DisplayRole:
                return self._display(number, column)
            case _Role.TextAlignmentRole if column in _NUMBERS:
                return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
            case _Role.ForegroundRole:
                return self._foreground(number, column)
            case _Role.ToolTipRole:
                return self._tooltip(number, column)
            case _Role.FontRole if column == Column.NAME and not self._nodes[number].is_parameter:
                return self._module_font(number)
            case _Role.SizeHintRole if column == Column.NAME and self._nodes[number].is_buffer:
                # Long names of many rows that are looked at less: numbers are worth more than the ends of these.
                return QSize(0, 0)
            case _Role.BackgroundRole if self._is_here(number):
                return QColor(blend(self._theme.accent, self._theme.surface, _TINT))
            case _Role.DecorationRole if column == Column.NAME:
                flags = self._flags_at(number)
                if self._is_here(number):
                    return self._here
                return self._signs.get(flags[0].severity) if flags else None
            case _Role.DecorationRole if column == Column.FLAGS:
                return self._mark(self._nodes[number])
            case _Role.AccessibleTextRole if column == Column.FLAGS:
                node = self._nodes[number]
                words = (self._pins.of(node), self._stops.of(node), self._display(number, column))
                return "; ".join(word for word in words if word)
            case _Role.AccessibleTextRole if column == Column.NAME and self._is_here(number):
                return f"{self._display(number, column)}; {self._stops.told_here()}"
        return None

    def _is_here(self, number: int) -> bool:
        here = self._stops.here
        return here is not None and self._number.get(here) == number

    def _mark(self, node: Node) -> QIcon | None:
        """Of what a person has put there; a stop goes before a pin, which its tooltip still tells of."""
        if self._stops.at(node):
            return self._halt if self._stops.is_on(node) else self._halt_off
        return self._pin if self._pins.of(node) else None

    def _take_icons(self) -> None:
        theme = self._theme
        self._signs = _signs(theme)
        self._pin, self._here, self._halt = (icon(name, theme, colour=theme.accent) for name in ("pin", "here", "halt"))
        self._halt_off = icon("halt", theme, colour=theme.muted)

    def _module_font(self, number: int) -> QFont | None:
        if self._parents[number] >= 0:
            return None
        font = QFont()
        font.setBold(True)
        return font


def _signs(theme: Theme) -> dict[Severity, QIcon]:
    """The icon beside the name of what deserves a look, also where the flags are scrolled out of sight."""
    return {
        Severity.BAD: icon("error", theme, colour=theme.bad),
        Severity.WARNING: icon("warning", theme, colour=theme.warning),
    }
