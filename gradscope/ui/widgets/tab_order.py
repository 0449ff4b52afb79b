"""The order in which Tab goes through widgets. Qt's own is that in which they were made, and many are made when needed."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Protocol, runtime_checkable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QWidget


@runtime_checkable
class Ordered(Protocol):
    """A part of the window that knows its order better than Qt."""

    def tab_stops(self) -> list[QWidget]:
        """What gets the keyboard, in the order in which it is seen."""


def stops_of(part: QWidget) -> list[QWidget]:
    """What Tab goes through in a part of the window: in the order that it says itself, or else that of its parts.

    Not nextInFocusChain(): PySide takes what that returns for a child of what it is asked of.
    """
    if isinstance(part, Ordered):
        return part.tab_stops()
    inside = (child for child in part.children() if isinstance(child, QWidget) and not child.isWindow())
    return [part, *(stop for child in inside for stop in stops_of(child))]


def follow(first: QWidget, stops: Iterable[QWidget]) -> None:
    """From the first one, Tab goes through these in their order, and then to what came behind it before. What never gets
    the keyboard is passed over: Qt would leave the order as it is."""
    parts = [widget.focusProxy() or widget for widget in (first, *stops)]
    takers = [part for part in parts if part.focusPolicy() & Qt.FocusPolicy.TabFocus]
    for before, after in pairwise(takers):
        QWidget.setTabOrder(before, after)
