"""The line that says what one side of a comparison is: its letter, and in words."""

from __future__ import annotations

from PySide6.QtWidgets import QHBoxLayout, QWidget

from gradscope.ui.widgets.plain import PlainLabel


def side_line(letter: str, label: QWidget) -> QHBoxLayout:
    """`label` takes all the room that the letter leaves."""
    line = QHBoxLayout()
    line.setSpacing(8)
    badge = PlainLabel(letter)
    badge.setProperty("role", "badge")
    badge.setContentsMargins(6, 1, 6, 1)
    line.addWidget(badge)
    line.addWidget(label, 1)
    return line
