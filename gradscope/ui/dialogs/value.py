"""One tensor that was evaluated, looked at: its numbers, how they are distributed, and the upper left of them."""

from __future__ import annotations

import math
from typing import Any

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QDialogButtonBox, QHeaderView, QSplitter, QVBoxLayout, QWidget

from gradscope.protocol.messages.evaluate import TensorTold
from gradscope.protocol.numbers import EXACT_FLOAT32, number
from gradscope.protocol.subjects import COUNT, INF, L2, MAX, MEAN, MIN, NAN, STD, ZERO
from gradscope.protocol.visible import visible
from gradscope.ui.console.bars import Bars
from gradscope.ui.console.transcript import told_of
from gradscope.ui.dialogs.sized_dialog import SizedDialog
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.models.cell_table import Cell, CellTableModel
from gradscope.ui.widgets.copy_table import CopyTable
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import WrappedLabel

_COUNTS = ((COUNT, "count"), (NAN, "NaN"), (INF, "Inf"), (ZERO, "zeros"))
_NUMBERS = ((MIN, "min"), (MAX, "max"), (MEAN, "mean"), (STD, "std"), (L2, "L2"))
_DIGITS, _LINES = 110, 30


@guarded
class ValueDialog(SizedDialog):
    """As it was when it was evaluated. It asks the engine nothing."""

    def __init__(
        self, expression: str, tensor: TensorTold, themes: ThemeManager, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._tensor, self._themes = tensor, themes
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        line = visible(" ".join(expression.split()))
        name = line if len(line) <= 60 else f"{line[:60]} ..."
        self.setWindowTitle(f"{name} {tensor.leaf}".strip())
        form = WrappedLabel(told_of(tensor), self)
        self.numbers = self._table(self.tr("Summary"), ("", ""), self._rows_of_numbers())
        self.numbers.horizontalHeader().hide()
        self.bars = Bars(themes, self)
        self.bars.show_histogram(tensor.edges, tensor.counts)
        headers = ("", *(str(i) for i in range(tensor.values.shape[1])))
        self.values = self._table(self.tr("Values"), headers, self._rows_of_values())
        rest = WrappedLabel(self._what_is_not_shown(), self)
        rest.setProperty("role", "muted")
        rest.setVisible(bool(rest.text()))
        left = QWidget(self)
        column = QVBoxLayout(left)
        column.setContentsMargins(0, 0, 0, 0)
        self.numbers.setSizeAdjustPolicy(CopyTable.SizeAdjustPolicy.AdjustToContents)
        column.addWidget(self.numbers)
        column.addWidget(self.bars, 1)
        self.split = QSplitter(Qt.Orientation.Horizontal, self)
        self.split.setChildrenCollapsible(False)
        self.split.addWidget(left)
        self.split.addWidget(self.values)
        self.split.setStretchFactor(1, 1)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close, self)
        self.buttons.rejected.connect(self.reject)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(16, 16, 16, 16)
        whole.setSpacing(10)
        whole.addWidget(form)
        whole.addWidget(self.split, 1)
        whole.addWidget(rest)
        whole.addWidget(self.buttons)
        self.values.setFocus()

    def _table(self, name: str, headers: tuple[str, ...], rows: tuple[tuple[Cell, ...], ...]) -> CopyTable:
        table, model = CopyTable(self), CellTableModel(headers, self)
        model.show_rows(rows)
        table.setModel(model)
        table.setAccessibleName(name)
        table.verticalHeader().hide()
        table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        return table

    def _rows_of_numbers(self) -> tuple[tuple[Cell, ...], ...]:
        summary, bad = self._tensor.summary, self._themes.theme.bad
        rows = []
        for column, name in _COUNTS:
            value = float(summary[column])
            if math.isfinite(value):
                colour = bad if value and column in (NAN, INF) else ""
                rows.append(
                    (
                        Cell(text=name),
                        Cell(text=f"{int(value):,}", exact=str(int(value)), is_number=True, colour=colour),
                    )
                )
        for column, name in _NUMBERS:
            value = float(summary[column])
            if not math.isnan(value):
                rows.append((Cell(text=name), Cell(text=number(value, digits=7), exact=repr(value), is_number=True)))
        return tuple(rows)

    def _rows_of_values(self) -> tuple[tuple[Cell, ...], ...]:
        muted = self._themes.theme.muted
        return tuple(
            (Cell(text=str(i), is_number=True, colour=muted), *(self._cell(value) for value in row))
            for i, row in enumerate(self._tensor.values.tolist())
        )

    def _cell(self, value: Any) -> Cell:
        text = str(int(value)) if self._tensor.integer and math.isfinite(value) else number(value, digits=EXACT_FLOAT32)
        colour = "" if math.isfinite(value) else self._themes.theme.bad
        return Cell(text=text, exact=repr(value), is_number=True, colour=colour)

    def _what_is_not_shown(self) -> str:
        shape, (rows, columns) = self._tensor.shape, self._tensor.values.shape
        total = math.prod(side for side in shape if side >= 0)
        if not self._tensor.values.size or self._tensor.values.size >= total:
            return ""
        place = f"[{', '.join(map(str, self._tensor.index))}]" if self._tensor.index else ""
        said = self.tr("The first %1 x %2 values%3 of %4: evaluate a part of it to see others, as value[64:128]")
        where = self.tr(" at %1").replace("%1", place) if place else ""
        return (
            said.replace("%1", str(rows)).replace("%2", str(columns)).replace("%3", where).replace("%4", f"{total:,}")
        )

    # ------------------------------------------------------------------------------------------ Qt

    def sizeHint(self) -> QSize:
        metrics = self.fontMetrics()
        return QSize(_DIGITS * metrics.horizontalAdvance("0"), _LINES * metrics.lineSpacing())

    def least_height(self) -> int:
        return self.sizeHint().height()
