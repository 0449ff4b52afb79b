"""The steps that were tried, one below the other, the best of them marked."""

from __future__ import annotations

import math

from PySide6.QtCore import QModelIndex, Signal, Slot
from PySide6.QtGui import QFont, QFontMetrics, QResizeEvent
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QSizePolicy, QWidget

from gradscope.protocol.numbers import exact, number
from gradscope.protocol.what_if.tried import Alternative, Trials, Tried
from gradscope.ui.look.colours import Theme
from gradscope.ui.models.cell_table import Cell, CellTableModel
from gradscope.ui.what_if.words import tr
from gradscope.ui.widgets.copy_table import CopyTable
from gradscope.ui.widgets.guarded import guarded

_BEST = "★"
_MOST_ROWS = 10
_OTHERS = 7
"""The last column."""


@guarded
class TrialTable(CopyTable):
    """Choosing a row chooses an alternative."""

    chosen = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._trials: Trials | None = None
        self._model = CellTableModel(
            (
                tr("Alternative"),
                tr("Before"),
                tr("After"),
                tr("Change"),
                tr("Predicted"),
                tr("Ratio"),
                tr("Update"),
                tr("Others"),
            ),
            self,
        )
        self.setModel(self._model)
        self.setAccessibleName(tr("Steps that were tried"))
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setShowGrid(False)
        self.verticalHeader().hide()
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Fixed)
        header.setMinimumSectionSize(self.fontMetrics().horizontalAdvance("0") * 6)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.selectionModel().currentRowChanged.connect(self._on_current_changed)
        self._rows = self._names_width = 0
        self._fit()

    def show_trials(self, trials: Trials, theme: Theme, *, is_stale: bool) -> None:
        self._trials = trials
        best = trials.best
        row = self.currentIndex().row()
        rows = tuple(
            self._cells(tried, trials, theme, is_best=tried is best, is_stale=is_stale) for tried in trials.tried
        )
        self._model.show_rows(rows)
        self.setColumnHidden(_OTHERS, not trials.other_batches)
        self.clearSpans()
        for row_number, tried in enumerate(trials.tried):
            if tried.refusal:
                self.setSpan(row_number, 0, 1, _OTHERS + 1)
        self._rows = len(rows)
        words = [cells[0].text for cells, tried in zip(rows, trials.tried, strict=True) if not tried.refusal]
        metrics = QFontMetrics(_bold(self.font()))
        self._names_width = max(map(metrics.horizontalAdvance, words), default=0) + 2 * metrics.averageCharWidth()
        self._fit()
        if 0 <= row < len(rows):
            self.selectRow(row)

    @property
    def alternative(self) -> Alternative | None:
        """The one that is chosen, where it was tried."""
        row = self.currentIndex().row()
        if self._trials is None or not 0 <= row < len(self._trials.tried):
            return None
        tried = self._trials.tried[row]
        return None if tried.refusal else tried.alternative

    @property
    def chosen_alternative(self) -> Alternative | None:
        """The same, whether it was tried or not."""
        row = self.currentIndex().row()
        return (
            None
            if self._trials is None or not 0 <= row < len(self._trials.tried)
            else self._trials.tried[row].alternative
        )

    def _fit(self) -> None:
        """As high as its rows, and the alternatives as wide as they are, or as there is room."""
        shown = min(max(self._rows, 1), _MOST_ROWS)
        header = self.horizontalHeader()
        numbers = header.length() - header.sectionSize(0)
        header.resizeSection(0, max(self._names_width, self.viewport().width() - numbers))
        height = header.sizeHint().height() + shown * self.verticalHeader().defaultSectionSize()
        if header.length() > self.viewport().width():
            height += self.horizontalScrollBar().sizeHint().height()
        self.setFixedHeight(height + 2 * self.frameWidth() + 2)

    def _cells(self, tried: Tried, trials: Trials, theme: Theme, *, is_best: bool, is_stale: bool) -> tuple[Cell, ...]:
        words = tried.alternative.words
        if tried.refusal:
            blank = tuple(Cell(text="") for _ in range(6))
            return Cell(text=f"{words}: {tried.refusal}", tip=tried.refusal, colour=theme.muted), *blank, Cell(text="")
        tip = tr("The lowest loss of those that were tried") if is_best else ""
        if tried.is_skipped:
            words, tip = f"{words} ({tr('left out by the loss scaler')})", tr("A gradient was not finite")
        change = trials.change(tried)
        colour = theme.muted if is_stale else ""
        ratio = trials.ratio(tried)
        others = ""
        if tried.others is not None and trials.others is not None:
            others = f"{number(trials.others)} → {number(tried.others)}"
        return (
            Cell(text=f"{_BEST} {words}" if is_best else words, tip=tip, is_strong=is_best, colour=colour),
            _value(trials.loss, theme, colour, tr("Loss before the step")),
            _value(tried.loss, theme, colour, tr("Loss after the step"), is_strong=is_best),
            _value(change, theme, colour, tr("How far the loss went")),
            _value(tried.predicted, theme, colour, tr("Change of the loss in first order: gradient times update")),
            _value(
                ratio, theme, colour, tr("Change by predicted change: near 1, the loss is nearly a line along the step")
            ),
            _value(tried.update_norm, theme, colour, tr("L2 norm of how far all parameters move")),
            Cell(text=others, is_number=True, colour=colour, tip=tr("Mean loss of other batches, before and after")),
        )

    # ------------------------------------------------------------------------------------------ slots

    @Slot(QModelIndex, QModelIndex)
    def _on_current_changed(self, _current: QModelIndex, _previous: QModelIndex) -> None:
        self.chosen.emit()

    # ------------------------------------------------------------------------------------------ Qt

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()


def _bold(font: QFont) -> QFont:
    bold = QFont(font)
    bold.setBold(True)
    return bold


def _value(value: float | None, theme: Theme, colour: str, what: str, *, is_strong: bool = False) -> Cell:
    if value is None:
        return Cell(text="–", is_number=True, colour=colour, tip=what)
    return Cell(
        text=number(value),
        exact=exact(value),
        tip=f"{what}: {exact(value)}",
        is_number=True,
        is_strong=is_strong,
        colour=colour if math.isfinite(value) else theme.bad,
    )
