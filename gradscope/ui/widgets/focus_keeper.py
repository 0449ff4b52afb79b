"""Where the keyboard goes when what has it can no longer have it: near by, and back when it can again.

Qt itself gives it to the next widget in the order of Tab, wherever in the window that is: from a button that a run has
switched off it would go to the far end of the window.
"""

from __future__ import annotations

import shiboken6
from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtWidgets import QWidget

from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.tab_order import stops_of


@guarded
class FocusKeeper(QObject):
    """Of one window, whose `focusNextPrevChild` asks `take_over` first."""

    def __init__(self, window: QWidget, *, fallback: QWidget) -> None:
        """`fallback`: what the keyboard goes to where nothing near by can have it."""
        super().__init__(window)
        self._window, self._fallback = window, fallback
        self._left: QWidget | None = None
        """What has lost it."""
        self._stand_in: QWidget | None = None

    def take_over(self) -> bool:
        """Whether the keyboard was somewhere where it cannot stay, and is now in a sensible place."""
        left = self._window.focusWidget()
        if left is None or left is self._window or not shiboken6.createdByPython(left):
            return False
        if left.isEnabled() and left.isVisible():
            return False
        stand_in = self._near(left)
        if stand_in is None:
            return False
        # Through several that are switched off together, it is the first one that it goes back to.
        if left is not self._stand_in or self._left is None:
            self._listen_to(left)
        self._stand_in = stand_in
        stand_in.setFocus(Qt.FocusReason.OtherFocusReason)
        return True

    # ------------------------------------------------------------------------------------------ private

    def _listen_to(self, widget: QWidget) -> None:
        if self._left is not None and shiboken6.isValid(self._left):
            self._left.removeEventFilter(self)
        self._left = widget
        widget.installEventFilter(self)

    def _near(self, left: QWidget) -> QWidget | None:
        """The next in the order of Tab within the same part of the window, or within the part around that."""
        holder = left.parentWidget()
        while holder is not None and holder is not self._window:
            found = self._next_in(holder, left)
            if found is not None:
                return found
            holder = holder.parentWidget()
        fallback = self._fallback
        return fallback if _can_have_it(fallback) else self._next_in(fallback, fallback)

    @staticmethod
    def _next_in(holder: QWidget, start: QWidget) -> QWidget | None:
        """Behind that one or, from the beginning on, before it."""
        stops = stops_of(holder)
        behind = stops.index(start) + 1 if start in stops else 0
        return next(
            (stop for stop in [*stops[behind:], *stops[:behind]] if stop is not start and _can_have_it(stop)), None
        )

    # ------------------------------------------------------------------------------------------ Qt

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() in (QEvent.Type.EnabledChange, QEvent.Type.Show) and watched is self._left:
            self._give_back()
        return super().eventFilter(watched, event)

    def _give_back(self) -> None:
        left, stand_in = self._left, self._stand_in
        if left is None or not shiboken6.isValid(left) or not _can_have_it(left):
            return
        left.removeEventFilter(self)
        self._left = self._stand_in = None
        # Whoever has gone elsewhere meanwhile stays there.
        if stand_in is not None and shiboken6.isValid(stand_in) and self._window.focusWidget() is stand_in:
            left.setFocus(Qt.FocusReason.OtherFocusReason)


def _can_have_it(widget: QWidget) -> bool:
    takes_keys = bool(widget.focusPolicy() & Qt.FocusPolicy.TabFocus)
    return takes_keys and widget.isEnabled() and widget.isVisible() and widget.focusProxy() is None
