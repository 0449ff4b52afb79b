"""Fields and buttons in rows that wrap, all of one height, each label beside its field."""

from __future__ import annotations

from PySide6.QtWidgets import QHBoxLayout, QPushButton, QWidget

from gradscope.ui.widgets.flow_row import FlowRow

_SPACING = 8


def held(*widgets: QWidget) -> QWidget:
    """What stays together, as high as a button."""
    box = QWidget()
    line = QHBoxLayout(box)
    line.setContentsMargins(0, 0, 0, 0)
    line.setSpacing(6)
    for widget in widgets:
        line.addWidget(widget)
    box.setMinimumHeight(max(QPushButton("A").sizeHint().height(), line.minimumSize().height()))
    return box


def row_of(parent: QWidget, *widgets: QWidget) -> FlowRow:
    """One after the other, in as many lines as it takes."""
    row = FlowRow(parent, spacing=_SPACING)
    for widget in widgets:
        row.add(widget)
    return row
