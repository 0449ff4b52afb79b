"""What was different about two runs: versions, settings, data, weights; and what has to be known of the comparison."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import QCheckBox, QHeaderView, QVBoxLayout, QWidget

from gradscope.comparing import Comparison
from gradscope.comparing.comparison import Fact
from gradscope.comparing.telling import sentences
from gradscope.protocol.numbers import number
from gradscope.ui.plots.parts.number_table import NumberTable, TableData
from gradscope.ui.widgets.copy_table import CopyTable
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import PlainLabel, WrappedLabel


@guarded
class FactsPage(QWidget):
    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._facts: Sequence[Fact] = ()
        self._comparison: Comparison | None = None
        self.told = WrappedLabel(parent=self)
        self.told.setProperty("role", "muted")
        self.also_same = QCheckBox(self.tr("Also what is the same"), self)
        self.also_same.toggled.connect(self._show)
        self.facts, self._facts_model = self._make_table(self.tr("What differs"))
        self.tensors_title = PlainLabel(self.tr("Tensors whose elements differ, at the moment of both snapshots"), self)
        self.tensors, self._tensors_model = self._make_table(self.tensors_title.text())
        self.notes = WrappedLabel(parent=self)
        self.notes.setProperty("role", "muted")
        self.notes.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 6, 0, 0)
        column.setSpacing(6)
        column.addWidget(self.told)
        column.addWidget(self.also_same)
        column.addWidget(self.facts, 3)
        column.addWidget(self.tensors_title)
        column.addWidget(self.tensors, 2)
        column.addWidget(self.notes)

    @property
    def differing(self) -> int:
        """What is known of both and not the same."""
        return 0 if self._comparison is None else sum(fact.differs for fact in self._comparison.facts)

    def show_comparison(self, comparison: Comparison) -> None:
        self._comparison = comparison
        told = sentences.facts_line(comparison)
        self.told.setText(told[0].upper() + told[1:])
        self.notes.setText("\n".join(comparison.notes))
        self.notes.setVisible(bool(comparison.notes))
        tensors = comparison.tensors
        for widget in (self.tensors_title, self.tensors):
            widget.setVisible(bool(tensors))
        cells = [
            (f"{one.kind} {one.name}", f"{one.differing:,} of {one.count:,}", number(one.absolute), str(list(one.at)))
            for one in tensors
        ]
        heads = (self.tr("Tensor"), self.tr("Elements that differ"), self.tr("Largest difference"), self.tr("At"))
        self._tensors_model.set_data(TableData(heads, len(cells), lambda row, column: cells[row][column]))
        self._show()

    @Slot()
    def _show(self) -> None:
        comparison = self._comparison
        if comparison is None:
            return
        facts = sentences.differing_facts(comparison)
        if self.also_same.isChecked():
            facts += [fact for fact in comparison.facts if fact not in facts]
        cells = [
            (fact.topic, fact.name, fact.ours or sentences.UNKNOWN, fact.theirs or sentences.UNKNOWN) for fact in facts
        ]
        heads = (self.tr("Of"), self.tr("What"), "A", "B")
        self._facts_model.set_data(TableData(heads, len(cells), lambda row, column: cells[row][column]))

    def _make_table(self, name: str) -> tuple[CopyTable, NumberTable]:
        table, model = CopyTable(self), NumberTable(self)
        table.setModel(model)
        table.setAccessibleName(name)
        table.setShowGrid(False)
        table.verticalHeader().hide()
        header = table.horizontalHeader()
        header.setHighlightSections(False)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        header.setDefaultSectionSize(28 * table.fontMetrics().averageCharWidth())
        header.setStretchLastSection(True)
        return table, model
