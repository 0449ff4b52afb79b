"""A part of a panel under a heading that shows and hides it."""

from __future__ import annotations

from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import QSizePolicy, QToolButton, QVBoxLayout, QWidget

from gradscope.ui.widgets.plain import caption, plain_tip


class Section(QWidget):
    def __init__(self, title: str, body: QWidget, *, is_open: bool, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.body = body
        self._title = title
        self._reason = ""
        self._was_open = is_open
        self.header = QToolButton(self)
        self.header.setProperty("flat", True)
        self.header.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.header.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.header.setCheckable(True)
        font = self.header.font()
        font.setBold(True)
        self.header.setFont(font)
        self.header.toggled.connect(self._on_toggled)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.header)
        column.addWidget(body)
        self.set_title(title)
        self.header.setChecked(is_open)
        self._on_toggled(is_open)

    def set_title(self, title: str) -> None:
        self._title = title
        self.header.setText(caption(title))
        self.header.setToolTip(plain_tip("\n".join(line for line in (title, self._reason) if line)))

    def refuse(self, reason: str) -> None:
        """Nothing in it can be used, for this reason: it is closed. "": it is as it was before."""
        if reason and not self._reason:
            self._was_open = self.header.isChecked()
        if bool(reason) != bool(self._reason):
            self.header.setChecked(not reason and self._was_open)
        self._reason = reason
        self.header.setEnabled(not reason)
        self.body.setEnabled(not reason)
        self.set_title(self._title)

    @Slot(bool)
    def _on_toggled(self, is_open: bool) -> None:
        self.header.setArrowType(Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow)
        self.body.setVisible(is_open)
