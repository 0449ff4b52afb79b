"""Where the panels are: their places at first, as wide as what is in them, and the layout that was left the last time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from PySide6.QtCore import QObject, Qt, QTimer, Slot
from PySide6.QtWidgets import QApplication, QMainWindow, QTabBar

from gradscope.ui.docks.inspector import InspectorDock
from gradscope.ui.docks.layers import LayersDock
from gradscope.ui.docks.lesson import LessonDock
from gradscope.ui.docks.moments import MomentsDock
from gradscope.ui.docks.panel import Panel
from gradscope.ui.docks.source import SourceDock
from gradscope.ui.docks.training import TrainingDock
from gradscope.ui.look.settings import Setting, Settings
from gradscope.ui.widgets.dock_shares import shares_of, take_shares
from gradscope.ui.window.tabs import Workspace

_LAYOUT_VERSION = 1
_INSPECTOR_DIGITS = 41
_SIDE_SHARES = (0.39, 0.25)
_SIDE_SHARES_IN_LITTLE = (0.3, 0.34)
"""The panels at the sides are as wide as what is in them, and at most so much of the window."""
_LEAST_LAYERS_SHARE = 0.33
_BOTTOM_LINES = 13
_NARROW_DIGITS = 140
"""In a window that is narrower, the panels at the right have no room for one more name."""
_LITTLE_LINES = 40
"""In a window that is lower, panels below the others would leave no room for either."""
_LEAST_CENTRE_SHARE = 0.35
"""Where the window has become narrow, the plots keep so much of it."""


@dataclass(frozen=True, kw_only=True)
class Panels:
    """All of them, in the order in which the keyboard goes through them."""

    layers: LayersDock
    inspector: InspectorDock
    training: TrainingDock
    source: SourceDock
    lesson: LessonDock
    moments: MomentsDock
    lower: tuple[Panel, ...]
    """Those behind the moments, in their order."""

    @property
    def all(self) -> tuple[Panel, ...]:
        right = (self.inspector, self.training, self.source, self.lesson)
        return (self.layers, *right, self.moments, *self.lower)


class PanelLayout(QObject):
    """Of a main window, whose middle is `workspace`."""

    def __init__(self, window: QMainWindow, panels: Panels, workspace: Workspace, settings: Settings) -> None:
        super().__init__(window)
        self._window, self._panels, self._workspace, self._settings = window, panels, workspace, settings
        self.has_panels = False
        """They are on the screen; without a session they are not."""
        self._is_width_chosen = False
        """By a person, for the layers."""
        panels.layers.view.resized.connect(self._on_layers_resized)
        panels.layers.filled.connect(self.fit_layers, Qt.ConnectionType.QueuedConnection)
        for panel in panels.all:
            panel.leaving.connect(partial(self._bring_first, panel))

    # ------------------------------------------------------------------------------------------ in and out

    def show(self) -> None:
        """A session is open: bring the panels in, as they were left the last time."""
        self.has_panels = True
        window, panels = self._window, self._panels
        layout = self._settings.get(Setting.LAYOUT)
        self._is_width_chosen = not layout.isEmpty() and window.restoreState(layout, _LAYOUT_VERSION)
        if not self._is_width_chosen:
            self.reset()
        # What a layout of an older version did not have. It was not closed by anybody.
        if self._has_no_place(panels.source):
            self._place_source()
            panels.source.show()
            panels.inspector.raise_()
        if self._has_no_place(panels.lesson):
            self._place_lesson()
            panels.lesson.hide()
        before: Panel = panels.moments
        for panel in panels.lower:
            # Qt leaves a panel that a layout does not know where it was, and hidden.
            is_new = self._is_width_chosen and not layout.contains(panel.objectName().encode("utf-16-be"))
            if self._has_no_place(panel) or is_new:
                window.tabifyDockWidget(before, panel)
                panel.show()
                panels.moments.raise_()
            before = panel
        for panel in panels.all:
            # Qt does not say when a layout that it brings back has put one behind another.
            panel.title_bar.refresh()
        panels.layers.view.setFocus()
        # It may have been left in a window of another size. Once it is laid out.
        QTimer.singleShot(0, self, self._take_shares if self._is_width_chosen else self.keep_centre)

    def hide(self) -> None:
        """No session is open any more, or it is not what is wanted now."""
        self.save()
        self.has_panels = False
        for panel in self._panels.all:
            panel.hide()

    def put_away(self, panel: Panel) -> None:
        """It has nothing to show. Where it was seen, another of those that share its place is."""
        names = (bar.tabText(bar.currentIndex()) for bar in self._tab_bars())
        if not panel.isHidden() and panel.windowTitle() in names:
            self._bring_first(panel)
        panel.hide()

    def _bring_first(self, panel: Panel) -> None:
        """The first of those that share a place, before this one goes: Qt would bring its neighbour to the front."""
        together = self._window.tabifiedDockWidgets(panel)
        first = next((each for each in (self._panels.inspector, self._panels.moments) if each in together), None)
        if first is not None and first is not panel and not first.isHidden():
            first.raise_()

    def save(self) -> None:
        """For the next time, where panels are shown."""
        if self.has_panels:
            self._settings.set(Setting.LAYOUT, self._window.saveState(_LAYOUT_VERSION))
            self._settings.set(Setting.LAYOUT_SHARES, shares_of(self._window, self._panels.all))

    def show_alone(self, panel: Panel, *, is_shown: bool) -> None:
        """One panel below the start page, while the others are out of sight."""
        window = self._window
        window.addDockWidget(Qt.DockWidgetArea.BottomDockWidgetArea, panel)
        panel.setVisible(is_shown)
        height = min(_BOTTOM_LINES * window.fontMetrics().lineSpacing(), window.height() // 3)
        window.resizeDocks([panel], [height], Qt.Orientation.Vertical)

    @Slot()
    def reset(self) -> None:
        """All of them at their first places."""
        lesson = self._panels.lesson
        for panel in self._panels.all:
            panel.setFloating(False)
            panel.setVisible(panel is not lesson or lesson.lesson is not None)
        self.has_panels, self._is_width_chosen = True, False
        self.place()

    # ------------------------------------------------------------------------------------------ places

    def place(self) -> None:
        """Those that are shown, and those that are not, at their first places."""
        window, panels, areas = self._window, self._panels, Qt.DockWidgetArea
        is_little = self._is_little()
        shown = [panel for panel in panels.all if not panel.isHidden()]
        for panel in panels.all:
            # Qt forgets to hide the tabs of panels that are moved from one place to another.
            window.removeDockWidget(panel)
        window.addDockWidget(areas.LeftDockWidgetArea, panels.layers)
        window.addDockWidget(areas.RightDockWidgetArea, panels.inspector)
        window.addDockWidget(areas.RightDockWidgetArea, panels.training)
        window.tabifyDockWidget(panels.inspector, panels.training)
        self._place_lesson()
        if is_little:
            window.tabifyDockWidget(panels.layers, panels.moments)
        else:
            window.addDockWidget(areas.BottomDockWidgetArea, panels.moments)
        self._place_source()
        before: Panel = panels.moments
        for panel in panels.lower:
            window.tabifyDockWidget(before, panel)
            before = panel
        for panel in shown:
            panel.show()
        for panel in panels.all:
            panel.title_bar.refresh()
        panels.inspector.raise_()
        panels.moments.raise_()
        if is_little:
            panels.layers.raise_()
        self._resize()
        # Panels that have just been shown take the sizes only once they are laid out.
        QTimer.singleShot(0, self, self._resize)

    def _has_no_place(self, panel: Panel) -> bool:
        return self._window.dockWidgetArea(panel) is Qt.DockWidgetArea.NoDockWidgetArea

    def _place_lesson(self) -> None:
        self._window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, self._panels.lesson)
        self._window.tabifyDockWidget(self._panels.training, self._panels.lesson)

    def _place_source(self) -> None:
        """Behind the inspector, where its lines are seen beside the moments; where four names have no room, behind those."""
        window, panels = self._window, self._panels
        is_narrow = window.width() < _NARROW_DIGITS * window.fontMetrics().horizontalAdvance("0")
        window.tabifyDockWidget(panels.moments if is_narrow else panels.training, panels.source)

    # ------------------------------------------------------------------------------------------ sizes

    @Slot()
    def _take_shares(self) -> None:
        if self.has_panels:
            take_shares(self._window, self._panels.all, self._settings.get(Setting.LAYOUT_SHARES))
        QTimer.singleShot(0, self, self.keep_centre)

    @Slot()
    def keep_centre(self) -> None:
        """A window that becomes narrower takes everything from the middle, and nothing from the sides."""
        if self.has_panels and self._workspace.width() < _LEAST_CENTRE_SHARE * self._window.width():
            self._resize()

    @Slot()
    def fit_layers(self) -> None:
        """Another model has longer or shorter names; a width that somebody has chosen stays."""
        if self.has_panels and not self._is_width_chosen:
            self._resize()

    @Slot()
    def _on_layers_resized(self) -> None:
        if QApplication.mouseButtons() & Qt.MouseButton.LeftButton:
            self._is_width_chosen = True

    @Slot()
    def _resize(self) -> None:
        window, panels, metrics = self._window, self._panels, self._window.fontMetrics()
        digit, line = metrics.horizontalAdvance("0"), metrics.lineSpacing()
        is_little = self._is_little()
        most = [round(share * window.width()) for share in (_SIDE_SHARES_IN_LITTLE if is_little else _SIDE_SHARES)]
        right = min(_INSPECTOR_DIGITS * digit, most[1])
        # The names of the tabs in the middle have room, where that leaves enough to the layers.
        room = window.width() - right - self._workspace.tabBar().sizeHint().width() - digit
        least = most[0] if is_little else round(_LEAST_LAYERS_SHARE * window.width())
        left = panels.layers.width_for(min(most[0], max(room, least)))
        window.resizeDocks([panels.layers, panels.inspector], [left, right], Qt.Orientation.Horizontal)
        if window.dockWidgetArea(panels.moments) is Qt.DockWidgetArea.BottomDockWidgetArea:
            height = min(_BOTTOM_LINES * line, window.height() // 4)
            window.resizeDocks([panels.moments], [height], Qt.Orientation.Vertical)
        QTimer.singleShot(0, self, self._show_tabs)

    @Slot()
    def _show_tabs(self) -> None:
        """Qt leaves them hidden where panels are resized before they have been laid out."""
        for bar in self._tab_bars():
            # Names that have no room are scrolled to: of "L…" and "S…" nobody knows what they are.
            bar.setElideMode(Qt.TextElideMode.ElideNone)
            if bar.count() > 1:
                bar.show()

    def _tab_bars(self) -> list[QTabBar]:
        return self._window.findChildren(QTabBar, options=Qt.FindChildOption.FindDirectChildrenOnly)

    def _is_little(self) -> bool:
        return self._window.height() < _LITTLE_LINES * self._window.fontMetrics().lineSpacing()
