"""Two parts of a panel, in whichever shape the panel has."""

from __future__ import annotations

from PySide6.QtCore import Qt, Slot
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QSplitter, QWidget

from gradscope.ui.widgets.guarded import guarded


@guarded
class TurningSplit(QSplitter):
    """Beside each other where there is room, else one above the other; or as it was dragged.

    `wide_digits`: from that width on, in digits of its font, they are beside each other. `shares`: of the first part, of the
    width then, and of the height otherwise.
    """

    def __init__(
        self,
        first: QWidget,
        second: QWidget,
        parent: QWidget | None = None,
        *,
        wide_digits: int,
        shares: tuple[float, float],
    ) -> None:
        super().__init__(Qt.Orientation.Horizontal, parent)
        self._parts, self._wide_digits, self._shares = (first, second), wide_digits, shares
        self._is_dragged = False
        self.setChildrenCollapsible(False)
        for widget in self._parts:
            # The size of a dock is not a matter of what is in it.
            widget.setMinimumSize(1, 1)
            self.addWidget(widget)
        self.splitterMoved.connect(self._on_moved)

    def arrange(self) -> None:
        """After a change of what is in it."""
        is_wide = self.width() > self._wide_digits * self.fontMetrics().horizontalAdvance("0")
        orientation = Qt.Orientation.Horizontal if is_wide else Qt.Orientation.Vertical
        if self.orientation() is not orientation:
            self.setOrientation(orientation)
            self._is_dragged = False
        if self._is_dragged or any(part.isHidden() for part in self._parts):
            return
        whole = self.width() if is_wide else self.height()
        size = self.size_of_first(whole, is_wide=is_wide)
        self.setSizes([size, whole - size])

    def size_of_first(self, whole: int, *, is_wide: bool) -> int:
        """In pixels, of so many."""
        return round(self._shares[0 if is_wide else 1] * whole)

    @Slot()
    def _on_moved(self) -> None:
        self._is_dragged = True

    # ------------------------------------------------------------------------------------------ Qt

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.arrange()
