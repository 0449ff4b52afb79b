"""The order in which Tab goes through widgets. Qt's own is that in which they were made, and many are made when needed."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QWidget


def follow(first: QWidget, stops: Iterable[QWidget]) -> None:
    """From the first one, Tab goes through these in their order, and then to what came behind it before. What never gets
    the keyboard is passed over: Qt would leave the order as it is."""
    parts = [widget.focusProxy() or widget for widget in (first, *stops)]
    takers = [part for part in parts if part.focusPolicy() & Qt.FocusPolicy.TabFocus]
    for before, after in pairwise(takers):
        QWidget.setTabOrder(before, after)
