"""The options of an optimizer's parameter groups as a table model: a row for each option, a column for each group."""

from __future__ import annotations

import math

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt, Signal

from gradscope.protocol.messages import GroupInfo, Schedule
from gradscope.protocol.messages.edits import ArgumentInfo, ArgumentKind, Choices
from gradscope.protocol.numbers import shortened_numbers
from gradscope.protocol.visible import visible
from gradscope.state.app_state import AppState
from gradscope.ui.widgets.copy_table import COPY_ROLE
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import plain_items
from gradscope.ui.widgets.redraw import resetting

Index = QModelIndex | QPersistentModelIndex

_FIRST = ("lr", "momentum", "betas", "weight_decay")
_LAST = ("maximize", "foreach", "differentiable", "capturable", "fused")
_NOT_EDITABLE = ("param_names",)


@guarded
@plain_items
class GroupTableModel(QAbstractTableModel):
    """Editing a cell emits `edited`; the cell changes when the engine says so."""

    edited = Signal(int, str, str)
    """Group, option, text."""
    shape_changed = Signal()

    def __init__(self, state: AppState, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._choices: Choices | None = None
        self._turn = ""
        self._options: list[str] = []
        self._numbers: list[int] = []
        self._groups: list[GroupInfo] = []
        self._texts: list[list[str]] = []

    def show_state(self, state: AppState, turn: str) -> None:
        """Show the groups of an optimizer, of a session or a snapshot, which may be another than before."""
        self._state, self._turn = state, turn
        self.refresh()

    def refresh(self) -> None:
        """Take the groups as they are now."""
        session = self._state.session
        known = enumerate(session.groups) if session is not None else ()
        own = [(number, group) for number, group in known if group.optimizer == self._turn]
        numbers, groups = [number for number, _ in own], [group for _, group in own]
        options = _in_order({option for group in groups for option in group.options if option not in _NOT_EDITABLE})
        texts = [[self._text(number, group, option) for number, group in own] for option in options]
        if options != self._options or numbers != self._numbers:
            with resetting(self):
                self._options, self._numbers, self._groups, self._texts = options, numbers, groups, texts
            self.shape_changed.emit()
        elif texts != self._texts or groups != self._groups:
            self._groups, self._texts = groups, texts
            self.dataChanged.emit(self.index(0, 0), self.index(len(options) - 1, len(groups) - 1))

    def set_turn(self, turn: str) -> None:
        """Show the groups of this optimizer."""
        self._turn = turn
        self.refresh()

    def set_choices(self, choices: Choices | None) -> None:
        """What is known of the options of each optimizer."""
        self._choices = choices

    def argument(self, index: Index) -> ArgumentInfo | None:
        """What can be given for the option in a cell, where torch says so."""
        if self._choices is None or not index.isValid():
            return None
        turn = next((t for t in self._choices.turns if t.turn == self._groups[index.column()].optimizer), None)
        classes = {cls.name: cls for cls in self._choices.optimizers}
        cls = classes.get(turn.optimizer.name) if turn is not None else None
        name = self._options[index.row()]
        known = next((a for a in cls.arguments if a.name == name), None) if cls is not None else None
        if known is None and self._texts[index.row()][index.column()] in ("True", "False"):
            return ArgumentInfo(name=name, kind=ArgumentKind.BOOL)
        return known

    # ------------------------------------------------------------------------------------------ private

    def _text(self, number: int, group: GroupInfo, option: str) -> str:
        """Rates and momenta also move between edits: what the next step will use is in the schedule."""
        text = group.options.get(option, "")
        schedule = self._state.schedule
        if schedule is None:
            return text
        if option == "lr" and number < len(schedule.rates):
            rate = self._rate(number, schedule)
            return repr(rate) if math.isfinite(rate) else text
        if number < len(schedule.momenta) and schedule.momenta.shape[1] and math.isfinite(schedule.momenta[number, 0]):
            momentum = repr(float(schedule.momenta[number, 0]))
            if option == "momentum":
                return momentum
            if option == "betas" and text.startswith("("):
                return f"({momentum},{text.partition(',')[2]}"
        return text

    def _rate(self, number: int, schedule: Schedule) -> float:
        """NaN where only the options tell it."""
        if schedule.rates.shape[1]:
            return float(schedule.rates[number, 0])
        used = self._state.history.lr.values
        # The engine has gone further than it had foretold: the newest step's rate is closer than that of the beginning.
        is_known = self._state.snapshot is None and len(used) > 0 and number < used.shape[1]
        return float(used[-1, number]) if is_known else math.nan

    # ------------------------------------------------------------------------------------------ Qt

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 (Qt's own signature)
        return 0 if parent.isValid() else len(self._options)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 (Qt's own signature)
        return 0 if parent.isValid() else len(self._groups)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if orientation is Qt.Orientation.Vertical:
            is_text = role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole)
            return self._options[section] if is_text else None
        group = self._groups[section]
        if role == Qt.ItemDataRole.DisplayRole:
            return self.tr("Group {number}").format(number=self._numbers[section])
        if role == Qt.ItemDataRole.ToolTipRole:
            return "\n".join(map(visible, group.parameters[:20])) + ("\n…" if len(group.parameters) > 20 else "")
        return None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if not index.isValid():
            return None
        text = self._texts[index.row()][index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return shortened_numbers(text)
        if role == Qt.ItemDataRole.EditRole or role == COPY_ROLE:
            return text
        if role == Qt.ItemDataRole.ToolTipRole:
            argument = self.argument(index)
            doc = argument.doc if argument is not None else ""
            return f"{self._options[index.row()]} = {text}" + (f"\n{doc}" if doc else "")
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        return None

    def flags(self, index: Index) -> Qt.ItemFlag:
        flags = super().flags(index)
        if index.isValid() and self._texts[index.row()][index.column()]:
            flags |= Qt.ItemFlag.ItemIsEditable
        return flags

    def setData(self, index: Index, value: object, role: int = Qt.ItemDataRole.EditRole) -> bool:
        text = str(value).strip()
        if role != Qt.ItemDataRole.EditRole or not index.isValid() or text == self._texts[index.row()][index.column()]:
            return False
        self.edited.emit(self._numbers[index.column()], self._options[index.row()], text)
        return False


def _in_order(options: set[str]) -> list[str]:
    """What people edit first, what is for machines last."""
    middle = sorted(options - set(_FIRST) - set(_LAST))
    return [*(o for o in _FIRST if o in options), *middle, *(o for o in _LAST if o in options)]
