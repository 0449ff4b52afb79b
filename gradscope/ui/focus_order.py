"""The way of the keyboard through the main window: as one reads it, and past what is out of sight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtWidgets import QScrollArea, QWidget


def next_in_order(current: QWidget | None, zones: Sequence[QWidget], *, forward: bool) -> QWidget | None:
    """What gets the keyboard after `current`: zone by zone, and within one in the order of Qt's chain.

    Qt's chain goes through the window in the order in which things were made, and into panels behind a tab.
    """
    places = {zone: number for number, zone in enumerate(zones)}
    stops = [widget for widget in _chain(zones[0].window()) if _can_stop_at(widget)]
    ordered = sorted(stops, key=lambda widget: _zone_of(widget, places))
    if not ordered:
        return None
    if current not in ordered:
        return ordered[0 if forward else -1]
    return ordered[(ordered.index(current) + (1 if forward else -1)) % len(ordered)]


def part_in_sight(widget: QWidget, *, past_scrolling: bool = False) -> QRect:
    """The rectangle of a widget that nothing around it cuts off, in coordinates of its window; `past_scrolling`: or could
    be scrolled there."""
    window, corner = widget.window(), QPoint()
    part = QRect(widget.mapTo(window, corner), widget.size())
    holder = widget.parentWidget()
    while holder is not None and widget is not window:
        if past_scrolling and isinstance(holder, QScrollArea):
            # Wherever it is in there now.
            part = QRect(holder.mapTo(window, corner), holder.size())
        part &= QRect(holder.mapTo(window, corner), holder.size())
        if holder is window:
            break
        holder = holder.parentWidget()
    return part if widget.isVisible() else QRect()


def _chain(window: QWidget) -> Iterator[QWidget]:
    widget = window.nextInFocusChain()
    while widget is not None and widget is not window:
        yield widget
        widget = widget.nextInFocusChain()


def _can_stop_at(widget: QWidget) -> bool:
    takes_tab = bool(widget.focusPolicy() & Qt.FocusPolicy.TabFocus) and widget.focusProxy() is None
    return takes_tab and widget.isEnabled() and not part_in_sight(widget, past_scrolling=True).isEmpty()


def _zone_of(widget: QWidget, places: dict[QWidget, int]) -> int:
    holder: QWidget | None = widget
    while holder is not None:
        if holder in places:
            return places[holder]
        holder = holder.parentWidget()
    return len(places)
