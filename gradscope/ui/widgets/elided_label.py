"""A label of one line that shortens its text to the room it has; the whole text is its tooltip."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QFontMetrics, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QStyle, QWidget

from gradscope.protocol.numbers import without_part_of_number
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import PlainLabel, plain_tip

_SPARE = 2


def elided(text: str, metrics: QFontMetrics, width: int, mode: Qt.TextElideMode = Qt.TextElideMode.ElideRight) -> str:
    """A text made shorter to have room; what is cut off at its end is whole numbers, never some of their digits."""
    short = metrics.elidedText(text, mode, width)
    if short in ("", text) or mode is not Qt.TextElideMode.ElideRight:
        # Where not even the dots have room there is nothing.
        return short
    return text[: without_part_of_number(text, len(short) - 1)].rstrip() + "…"


@guarded
class ElidedLabel(PlainLabel):
    def __init__(
        self,
        text: str = "",
        *,
        mode: Qt.TextElideMode = Qt.TextElideMode.ElideRight,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent=parent)
        self._mode = mode
        self._shorter: tuple[str, ...] = ()
        self._has_forms = False
        self.keeps_room = False
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setText(text)

    def show_text(self, text: str) -> None:
        """Set the text, and the tooltip with it."""
        self._show([text])
        self._has_forms = False

    def show_forms(self, forms: Sequence[str]) -> None:
        """The same in more and in less room. The tooltip has the first one; seen is the first that has room, and never a part
        of one. With `keeps_room` there is always room for the last."""
        self._show(forms)
        self._has_forms = True
        if self.keeps_room:
            # Never less than it was: what stands beside it would move with each digit.
            self.setMinimumWidth(max(self.minimumWidth(), self._needed_for(forms[-1])))

    def _show(self, forms: Sequence[str]) -> None:
        if tuple(forms) != (self.text(), *self._shorter):
            self._shorter = tuple(forms[1:])
            self.setText(forms[0])
            self.setToolTip(plain_tip(forms[0]))

    @property
    def seen_text(self) -> str:
        """What has room of it."""
        metrics, room = self.fontMetrics(), self.contentsRect().width()
        fitting = (text for text in (self.text(), *self._shorter) if metrics.horizontalAdvance(text) <= room)
        return next(fitting, "" if self._has_forms else elided(self.text(), metrics, room, self._mode))

    def _needed_for(self, text: str) -> int:
        return self.fontMetrics().horizontalAdvance(text) + _SPARE + self.width() - self.contentsRect().width()

    # ------------------------------------------------------------------------------------------ Qt

    def minimumSizeHint(self) -> QSize:
        return QSize(self.fontMetrics().horizontalAdvance("…"), super().minimumSizeHint().height())

    def sizeHint(self) -> QSize:
        return QSize(self._needed_for(self.text()), super().sizeHint().height())

    def paintEvent(self, _event: QPaintEvent) -> None:
        flags = QStyle.visualAlignment(self.layoutDirection(), self.alignment())
        self.style().drawItemText(
            QPainter(self),
            self.contentsRect(),
            int(flags),
            self.palette(),
            self.isEnabled(),
            self.seen_text,
            self.foregroundRole(),
        )
