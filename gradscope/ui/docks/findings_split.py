"""The list of findings and the one that is selected."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject
from PySide6.QtWidgets import QTreeView, QWidget

from gradscope.ui.findings.model import Column
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.turning_split import TurningSplit

_WIDE_DIGITS = 110
_STEP_DIGITS = 62
"""In a list that is narrower, the finding says its steps."""
_LIST_SHARES = (0.45, 0.35)


@guarded
class FindingsSplit(TurningSplit):
    """The list is first."""

    def __init__(self, view: QTreeView, page: QWidget, parent: QWidget | None = None) -> None:
        self._view = view
        super().__init__(view, page, parent, wide_digits=_WIDE_DIGITS, shares=_LIST_SHARES)
        view.installEventFilter(self)

    # ------------------------------------------------------------------------------------------ Qt

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize:
            digits = self._view.width() / self.fontMetrics().horizontalAdvance("0")
            self._view.setColumnHidden(Column.STEP, digits < _STEP_DIGITS)
        return super().eventFilter(watched, event)
