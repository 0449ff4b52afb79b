"""How much of a window each panel at its edges takes, so that a layout looks the same in a window of another size.

Qt keeps the sizes of panels in pixels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDockWidget, QMainWindow, QTabBar

_SIDES = Qt.DockWidgetArea.LeftDockWidgetArea | Qt.DockWidgetArea.RightDockWidgetArea
_WINDOW = "window"
_MOST = 0.9
_SAME_PIXELS = 4


def shares_of(window: QMainWindow, panels: Sequence[QDockWidget]) -> str:
    """Of those that are seen, as a text: width for a panel at a side, height for one above or below."""
    found: dict[str, object] = {_WINDOW: [window.width(), window.height()]}
    for panel in _docked(window, panels):
        is_at_side = bool(window.dockWidgetArea(panel) & _SIDES)
        share = panel.width() / window.width() if is_at_side else panel.height() / window.height()
        found[panel.objectName()] = round(share, 4)
    return json.dumps(found)


def take_shares(window: QMainWindow, panels: Sequence[QDockWidget], text: str) -> None:
    """Make the panels that are seen as large as they were, where the window was of another size. A text that cannot be
    understood changes nothing."""
    shares = _read(text)
    size = shares.get(_WINDOW)
    if not isinstance(size, list) or len(size) != 2 or not all(isinstance(side, int) for side in size):
        return
    if abs(size[0] - window.width()) <= _SAME_PIXELS and abs(size[1] - window.height()) <= _SAME_PIXELS:
        return
    widths, heights = {}, {}
    for panel in _docked(window, panels):
        share = shares.get(panel.objectName())
        if not isinstance(share, float) or not 0 < share <= _MOST:
            continue
        if window.dockWidgetArea(panel) & _SIDES:
            widths[panel] = round(share * window.width())
        else:
            heights[panel] = round(share * window.height()) + _tabs_height(window, panel)
    for sizes, orientation in ((widths, Qt.Orientation.Horizontal), (heights, Qt.Orientation.Vertical)):
        if sizes:
            window.resizeDocks(list(sizes), list(sizes.values()), orientation)


def _docked(window: QMainWindow, panels: Sequence[QDockWidget]) -> list[QDockWidget]:
    """At an edge of the window, and neither hidden nor behind another one's tab."""
    nowhere = Qt.DockWidgetArea.NoDockWidgetArea
    return [
        panel
        for panel in panels
        if not panel.isFloating()
        and window.dockWidgetArea(panel) is not nowhere
        and not panel.visibleRegion().isEmpty()
    ]


def _tabs_height(window: QMainWindow, panel: QDockWidget) -> int:
    """Of the tabs of those that share a panel's place: for Qt they are a part of its height."""
    if not window.tabifiedDockWidgets(panel):
        return 0
    bars = window.findChildren(QTabBar, options=Qt.FindChildOption.FindDirectChildrenOnly)
    named = [bar for bar in bars if panel.windowTitle() in (bar.tabText(i) for i in range(bar.count()))]
    return max((bar.height() for bar in named if bar.isVisible()), default=0)


def _read(text: str) -> Mapping[str, object]:
    try:
        shares = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return shares if isinstance(shares, dict) else {}
