"""In which recorded steps a stop has held: a line for each, which leads to that step."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, QSize, Qt, Signal, Slot
from PySide6.QtWidgets import QHBoxLayout, QHeaderView, QToolButton, QVBoxLayout, QWidget

from gradscope.protocol.stops.recheck import Found
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager, icon
from gradscope.ui.models.cell_table import Cell, CellTableModel
from gradscope.ui.stops.rechecker import Rechecker
from gradscope.ui.widgets.copy_table import CopyTable
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import WrappedLabel

_STEP_DIGITS = 9
_MOST_SHOWN = 2000


@guarded
class _HeldModel(CellTableModel):
    """Its columns are texts."""

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        return super().headerData(section, orientation, role)


class HeldView(QWidget):
    """Its owner starts the look-up."""

    chosen = Signal(object)
    """Found: the step that a person wants to see, and what held there."""
    closed = Signal()

    def __init__(self, rechecker: Rechecker, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._rechecker = rechecker
        self._found: list[Found] = []
        self.headline = WrappedLabel(parent=self)
        self.close_button = QToolButton(self)
        self.close_button.setProperty("flat", True)
        self.close_button.setToolTip(self.tr("Close the list"))
        self.close_button.setAccessibleName(self.tr("Close the list"))
        side = self.fontMetrics().height()
        self.close_button.setIconSize(QSize(side, side))
        self.close_button.clicked.connect(self.closed)
        self.model = _HeldModel((self.tr("Step"), self.tr("What was found")), self)
        self.table = CopyTable(self)
        self.table.setModel(self.model)
        self.table.setAccessibleName(self.tr("Recorded steps in which it has held"))
        self.table.setShowGrid(False)
        self.table.setSelectionBehavior(CopyTable.SelectionBehavior.SelectRows)
        self.table.setMinimumSize(1, 1)
        self.table.verticalHeader().hide()
        header = self.table.horizontalHeader()
        header.setHighlightSections(False)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        header.resizeSection(0, _STEP_DIGITS * self.fontMetrics().horizontalAdvance("0"))
        self.table.clicked.connect(self._on_chosen)
        self.table.activated.connect(self._on_chosen)
        line = QHBoxLayout()
        line.setContentsMargins(8, 2, 2, 2)
        line.addWidget(self.headline, 1)
        line.addWidget(self.close_button, 0, Qt.AlignmentFlag.AlignTop)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(line)
        column.addWidget(self.table, 1)
        self._on_theme_changed(themes.theme)
        rechecker.changed.connect(self._refresh)
        themes.changed.connect(self._on_theme_changed)

    @Slot()
    def _refresh(self) -> None:
        known = self._rechecker
        self.headline.setText(f"{known.stop}: {known.told()}" if known.stop is not None else "")
        self.table.setVisible(not known.refusal)
        if len(self._found) == len(known.found) and self._found[:1] == known.found[:1]:
            return
        self._found = list(known.found[:_MOST_SHOWN])
        self.model.show_rows(tuple((Cell(text=str(step)), Cell(text=told, tip=told)) for step, _, told in self._found))

    @Slot(QModelIndex)
    def _on_chosen(self, index: QModelIndex) -> None:
        if index.isValid() and index.row() < len(self._found):
            self.chosen.emit(self._found[index.row()])

    @Slot(object)
    def _on_theme_changed(self, theme: Theme) -> None:
        self.close_button.setIcon(icon("close", theme, colour=theme.muted))
