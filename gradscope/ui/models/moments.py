"""What ran in the newest training step, in order, as a Qt table model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import numpy as np
from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt
from PySide6.QtGui import QColor

from gradscope.protocol.arrays import FloatArray
from gradscope.protocol.messages import Place, Report
from gradscope.protocol.phases import Phase
from gradscope.state.app_state import AppState
from gradscope.ui.look.colours import Theme
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import plain_items
from gradscope.ui.widgets.redraw import resetting
from gradscope.ui.words import text

Index = QModelIndex | QPersistentModelIndex
_Role = Qt.ItemDataRole


class Column(IntEnum):
    SUBSTEP = 0
    LAYER = 1
    CALL = 2
    SHAPE = 3
    START = 4
    DURATION = 5
    MEMORY = 6


_NUMBERS = (Column.START, Column.DURATION, Column.MEMORY)


@dataclass(frozen=True)
class Section:
    """The places of one phase, sorted by when they began."""

    phase: Phase
    places: list[Place]
    numbers: tuple[int, ...]
    times: FloatArray


def _from_start(sections: list[Section]) -> list[Section]:
    """With times since the first of them began: each goes on where the one before has ended, however long it stood still."""
    moved, start = [], 0.0
    for section in sections:
        times = section.times + np.array([start, 0.0, 0.0])
        moved.append(replace(section, times=times))
        ends = times[:, 0] + np.nan_to_num(times[:, 1])
        start = float(np.max(ends, where=np.isfinite(ends), initial=start))
    return moved


@guarded
@plain_items
class MomentsModel(QAbstractTableModel):
    """Rows are places: sub-steps, layer calls, gradients arriving. One step at a time: the one that is shown."""

    SHARE_ROLE = _Role.UserRole + 1
    """How much of the step's longest call a row took, from 0 to 1; None where no duration is known."""

    def __init__(self, state: AppState, theme: Theme, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._theme = theme
        self._rows: list[Place] = []
        self._times = np.zeros((0, 3))
        self._structure: tuple[Any, ...] = ()
        self._longest = 0.0
        self.step: int | None = None
        self._headers = {
            Column.SUBSTEP: (self.tr("Sub-step"), self.tr("The part of the training step")),
            Column.LAYER: (self.tr("Layer"), self.tr("The layer that was called, or whose gradient arrived")),
            Column.CALL: (self.tr("Call"), self.tr("Which call of the layer in this forward, from 0")),
            Column.SHAPE: (self.tr("Shape"), self.tr("The shape of what came out")),
            Column.START: (
                self.tr("Start"),
                self.tr("Time since the step began, without what passed between its phases"),
            ),
            Column.DURATION: (self.tr("Duration"), self.tr("Without the time that gradscope took to look")),
            Column.MEMORY: (self.tr("Memory"), self.tr("The size of the output")),
        }
        self.refresh()

    # ------------------------------------------------------------------------------------------ public

    def show_state(self, state: AppState) -> None:
        """Show a session or a snapshot, which may be another than before."""
        if state is not self._state:
            # The numbers of the places mean others.
            self._state, self._structure = state, ()
        self.refresh()

    def refresh(self) -> None:
        """Take in the reports of the step; rows are only made anew if other things ran."""
        sections = _from_start([self._section(report) for report in self._newest_reports()])
        structure = (len(self._state.places), *[(section.phase, section.numbers) for section in sections])
        times = np.concatenate([section.times for section in sections]) if sections else np.zeros((0, 3))
        durations = times[:, 1][np.isfinite(times[:, 1])]
        self._longest = float(durations.max()) if durations.size else 0.0
        if structure == self._structure and len(times) == len(self._rows):
            self._times = times
            if self._rows:
                self.dataChanged.emit(self.index(0, Column.START), self.index(len(times) - 1, Column.MEMORY))
            return
        with resetting(self):
            self._rows = [place for section in sections for place in section.places]
            self._structure, self._times = structure, times

    def set_theme(self, theme: Theme) -> None:
        self._theme = theme
        if self._rows:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self._rows) - 1, Column.MEMORY))

    def place(self, row: int) -> Place:
        return self._rows[row]

    def row_of(self, layer: str, *, is_parameter: bool, call: int = 0) -> int | None:
        """The first row of a layer's call, or of a parameter's gradient."""
        event = "gradient" if is_parameter else "call"
        wanted = (layer, call, event)
        return next((i for i, place in enumerate(self._rows) if (place.layer, place.call, place.event) == wanted), None)

    # ------------------------------------------------------------------------------------------ private

    def _newest_reports(self) -> list[Report]:
        shown, undone = self._state.shown, self._state.undone_step
        reports = shown.reports
        if undone is not None and shown.step is None:
            # It did run, as far as it came.
            reports = {**reports, Phase.STEP: undone}
        self.step = max((report.step for report in reports.values()), default=None)
        return [reports[phase] for phase in Phase if phase in reports and reports[phase].step == self.step]

    def _section(self, report: Report) -> Section:
        starts = np.nan_to_num(report.times[:, 0], nan=np.inf)
        order = np.argsort(starts, kind="stable")
        numbers = tuple(report.places[order].tolist())
        return Section(
            phase=report.phase,
            places=[self._state.places[number] for number in numbers],
            numbers=numbers,
            times=report.times[order],
        )

    def _display(self, row: int, column: int) -> str:
        place, (start, duration, size) = self._rows[row], self._times[row].tolist()
        match column:
            case Column.SUBSTEP:
                return place.substep.value
            case Column.LAYER:
                if place.event == "":
                    return ""
                return (place.layer or self.tr("(model)")) + (".grad" if place.event == "gradient" else "")
            case Column.CALL:
                return str(place.call) if place.event == "call" else ""
            case Column.SHAPE:
                return place.detail
            case Column.START:
                return text.duration(start)
            case Column.DURATION:
                return text.duration(duration)
            case _:
                return text.byte_size(size)

    def _foreground(self, row: int, column: int) -> QColor | None:
        if column == Column.SUBSTEP and self._rows[row].event != "":
            return QColor(self._theme.muted)
        return None

    # ------------------------------------------------------------------------------------------ Qt

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(Column)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = _Role.DisplayRole) -> Any:
        if orientation is not Qt.Orientation.Horizontal:
            return None
        title, explanation = self._headers[Column(section)]
        match role:
            case _Role.DisplayRole:
                return title
            case _Role.ToolTipRole:
                return explanation
            case _Role.TextAlignmentRole if section == Column.CALL:
                return Qt.AlignmentFlag.AlignCenter
            case _Role.TextAlignmentRole:
                side = Qt.AlignmentFlag.AlignRight if section in _NUMBERS else Qt.AlignmentFlag.AlignLeft
                return side | Qt.AlignmentFlag.AlignVCenter
        return None

    def data(self, index: Index, role: int = _Role.DisplayRole) -> Any:
        if not index.isValid():
            return None
        row, column = index.row(), index.column()
        match role:
            case _Role.DisplayRole:
                return self._display(row, column)
            case _Role.TextAlignmentRole if column == Column.CALL:
                return Qt.AlignmentFlag.AlignCenter
            case _Role.TextAlignmentRole if column in _NUMBERS:
                return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
            case _Role.ForegroundRole:
                return self._foreground(row, column)
            case self.SHARE_ROLE if column == Column.DURATION and self._longest > 0:
                duration = float(self._times[row, 1])
                return duration / self._longest if np.isfinite(duration) else None
        return None
