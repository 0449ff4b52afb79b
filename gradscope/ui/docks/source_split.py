"""The code and the stack in the Source panel."""

from __future__ import annotations

from PySide6.QtWidgets import QTableView, QWidget

from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.turning_split import TurningSplit

_WIDE_DIGITS = 90
_STACK_SHARE = 0.3


@guarded
class SourceSplit(TurningSplit):
    """The code is first. Below it, the stack is no higher than its rows."""

    def __init__(self, code: QWidget, stack: QTableView, parent: QWidget | None = None) -> None:
        self._stack = stack
        code_share = 1 - _STACK_SHARE
        super().__init__(code, stack, parent, wide_digits=_WIDE_DIGITS, shares=(code_share, code_share))

    def size_of_first(self, whole: int, *, is_wide: bool) -> int:
        most = whole - super().size_of_first(whole, is_wide=is_wide)
        if not is_wide:
            row = self._stack.verticalHeader().defaultSectionSize()
            header = self._stack.horizontalHeader().sizeHint().height()
            most = max(min(most, header + self._stack.model().rowCount() * row + 2), header + row)
        return whole - most
