"""The main window: puts the parts in their places, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from PySide6.QtCore import QSize, Qt, QTimer, Slot
from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent, QKeyEvent, QKeySequence, QResizeEvent
from PySide6.QtWidgets import QApplication, QMainWindow, QTabBar, QTabWidget

from gradscope.protocol.messages import Attachment
from gradscope.state.selection import Selection
from gradscope.state.topics import Topic
from gradscope.ui.actions.actions import Actions, plain, translated
from gradscope.ui.actions.comparer import Comparer
from gradscope.ui.actions.controller import Controller
from gradscope.ui.actions.rows import ActionId, Menu
from gradscope.ui.actions.table import TABLE
from gradscope.ui.compare.compare_tab import CompareTab
from gradscope.ui.dialogs.open_snapshot import may_be_snapshot
from gradscope.ui.docks.inspector import InspectorDock
from gradscope.ui.docks.layers import LayersDock
from gradscope.ui.docks.lesson import LessonDock
from gradscope.ui.docks.log import LogDock
from gradscope.ui.docks.moments import MomentsDock
from gradscope.ui.docks.training import TrainingDock
from gradscope.ui.look.settings import Setting
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.training.layer_menu import LayerMenu
from gradscope.ui.widgets.action_button import ActionButton
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import window_title
from gradscope.ui.widgets.redraw import owing
from gradscope.ui.window.centre import Centre
from gradscope.ui.window.commands import Commands
from gradscope.ui.window.failure_bar import FailureBar
from gradscope.ui.window.file_bar import FileBar
from gradscope.ui.window.menus import Menus, title_of
from gradscope.ui.window.phase_strip import PhaseStrip
from gradscope.ui.window.snapshot_band import SnapshotBand
from gradscope.ui.window.start_page import StartPage
from gradscope.ui.window.status_bar import StatusBar
from gradscope.ui.window.tabs import Workspace
from gradscope.ui.window.toolbar import ToolBar

_LAYOUT_VERSION = 1
_SIZE = (1440, 900)
_INSPECTOR_DIGITS = 41
_SIDE_SHARES = (0.37, 0.25)
_SIDE_SHARES_IN_LITTLE = (0.34, 0.34)
"""The panels at the sides are as wide as what is in them, and at most so much of the window."""
_LEAST_LAYERS_SHARE = 0.33
_BOTTOM_LINES = 11
_LITTLE_LINES = 40
"""In a window that is lower, panels below the others would leave no room for either."""
_LEAST_CENTRE_SHARE = 0.35
"""Where the window has become narrow, the plots keep so much of it."""


@guarded
class MainWindow(QMainWindow):
    """While no session is open it shows the start page, and no panels."""

    def __init__(self, controller: Controller, themes: ThemeManager) -> None:
        super().__init__()
        self.controller = controller
        self.themes = themes
        self.setAcceptDrops(True)
        self.setTabPosition(Qt.DockWidgetArea.AllDockWidgetAreas, QTabWidget.TabPosition.North)
        self.commands = Commands(controller, window=self, plot_images=self._plot_images)
        self.actions_ = Actions(controller, themes, self.commands.handlers(), self)
        self._has_panels = False
        self._is_at_start = False
        """Somebody wants to see the start page, although a session is open."""
        self._taught = ""
        """The path of the recipe whose lesson has been brought forward."""
        self._is_width_chosen = False
        """By a person, for the layers."""
        # In the order in which they are seen: Tab goes through them so.
        self._make_top(controller, themes)
        self._make_centre(controller, themes)
        self._make_panels(controller, themes)
        self._make_menus(controller)
        self._assemble()
        self._connect()
        self._restore_geometry()
        self._refresh()
        self.start_page.open_button.setFocus()

    def _make_top(self, controller: Controller, themes: ThemeManager) -> None:
        row = TABLE[ActionId.START_PAGE]
        self.home = ActionButton(
            self.actions_[ActionId.START_PAGE],
            icon_name=row.icon or "",
            text=plain(translated(row.text, steps=0)),
            themes=themes,
            parent=self,
        )
        self.toolbar = ToolBar(controller, themes, self.actions_, self)
        self.phase_strip = PhaseStrip(controller, themes, self)
        self.band = SnapshotBand(controller, themes, actions=self.actions_, parent=self)

    def _make_centre(self, controller: Controller, themes: ThemeManager) -> None:
        """With what is seen before it: the layers."""
        self.layers = LayersDock(controller, themes, self)
        self.comparer = Comparer(controller, self)
        self.centre = Centre(self)
        self.file_bar = FileBar(controller, themes, self)
        self.failure_bar = FailureBar(controller, themes, self, watch=self.file_bar.watch)
        self.start_page = StartPage(
            controller,
            themes,
            open_action=self.actions_[ActionId.OPEN],
            start_action=self.actions_[ActionId.START_PAGE],
            open_file=self.commands.open_file,
            parent=self,
        )
        self.workspace = Workspace(controller, themes, self)
        self.compare = CompareTab(controller, self.comparer, themes)
        self.workspace.add_closable(self.compare, self.tr("Compare"), on_close=self.comparer.close)

    def _make_panels(self, controller: Controller, themes: ThemeManager) -> None:
        self.inspector = InspectorDock(controller, themes, self, comparer=self.comparer)
        self.training = TrainingDock(controller, themes, self)
        self.lesson = LessonDock(
            controller,
            themes,
            self,
            start_action=self.actions_[ActionId.START_PAGE],
            open_file=self.commands.open_file,
        )
        self.moments = MomentsDock(controller, themes, self)
        self.log = LogDock(controller, themes, self)
        self.status = StatusBar(controller, themes, self)
        self.panels = (self.layers, self.inspector, self.training, self.lesson, self.moments, self.log)

    def _make_menus(self, controller: Controller) -> None:
        self.layer_menu = LayerMenu(controller, self, title=title_of(Menu.LAYER), pin=self.actions_[ActionId.PIN])
        self.layer_menu.aboutToShow.connect(self.layer_menu.fill_for_selection)
        self.menus = Menus(
            self.menuBar(),
            self.actions_,
            controller.settings,
            layer_menu=self.layer_menu,
            panels=[panel.toggleViewAction() for panel in self.panels],
            open_file=self.commands.open_file,
            parent=self,
        )

    # ------------------------------------------------------------------------------------------ slots

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if Topic.SESSION in topics:
            self._is_at_start = False
            self._refresh()
            self._bring_lesson()

    @Slot()
    def _on_start_page_toggled(self) -> None:
        self._is_at_start = not self._is_at_start
        self._refresh()

    @Slot()
    def _on_comparison_changed(self) -> None:
        if self.comparer.comparison is not None or self.comparer.is_busy:
            self.workspace.show_page(self.compare)
        else:
            self.workspace.hide_page(self.compare)

    @Slot()
    def _on_layout_reset(self) -> None:
        for panel in self.panels:
            panel.setFloating(False)
            panel.setVisible(panel is not self.lesson or self.lesson.lesson is not None)
        self._has_panels, self._is_width_chosen = True, False
        self._default_layout()

    @Slot()
    def _on_details_shown(self) -> None:
        self.centre.notices.scroll_to(self.failure_bar.details)

    @Slot()
    def _on_training_settings_wanted(self) -> None:
        self.training.show()
        self.training.raise_()
        self.training.table.setFocus()

    @Slot()
    def _on_nonfinite_wanted(self) -> None:
        first = self.controller.state.first_nonfinite
        if first is None:
            return
        if first.subject is not None:
            self.controller.select(Selection.of_subject(first.subject))
        self.workspace.show_stage(first.stage, None if first.subject is None else first.subject.kind)
        self.inspector.raise_()

    # ------------------------------------------------------------------------------------------ private

    def _assemble(self) -> None:
        self.home.setProperty("flat", True)
        self.menuBar().setCornerWidget(self.home)
        self.addToolBar(self.toolbar)
        self.addToolBarBreak()
        self.addToolBar(self.phase_strip)
        self.addToolBarBreak()
        self.addToolBar(self.band)
        self.setStatusBar(self.status)
        self.centre.notices.add(self.failure_bar)
        self._stack = self.centre.pages
        self._stack.addWidget(self.start_page)
        self._stack.addWidget(self.workspace)
        self.centre.notices.add(self.file_bar)
        self.setCentralWidget(self.centre)
        self._default_layout()
        for panel in self.panels:
            panel.hide()

    def _connect(self) -> None:
        self.controller.refreshed.connect(self._on_refreshed)
        self.commands.told.connect(self.status.tell)
        self.status.nonfinite.wanted.connect(self._on_nonfinite_wanted)
        self.commands.layer_filter_wanted.connect(self.layers.focus_filter)
        self.commands.training_settings_wanted.connect(self._on_training_settings_wanted)
        self.commands.comparison_wanted.connect(self.comparer.start)
        self.comparer.changed.connect(self._on_comparison_changed)
        self.layers.view.resized.connect(self._on_layers_resized)
        self.layers.filled.connect(self._fit_layers, Qt.ConnectionType.QueuedConnection)
        # Whoever points at a layer wants to see its numbers, also where a lesson lies before them.
        self.layers.view.clicked.connect(self._bring_inspector)
        self.failure_bar.details_shown.connect(self._on_details_shown)
        self.commands.layout_reset_wanted.connect(self._on_layout_reset)
        self.commands.start_page_toggled.connect(self._on_start_page_toggled)

    def _default_layout(self) -> None:
        areas, is_little = Qt.DockWidgetArea, self._is_little()
        shown = [panel for panel in self.panels if not panel.isHidden()]
        for panel in self.panels:
            # Qt forgets to hide the tabs of panels that are moved from one place to another.
            self.removeDockWidget(panel)
        self.addDockWidget(areas.LeftDockWidgetArea, self.layers)
        self.addDockWidget(areas.RightDockWidgetArea, self.inspector)
        self.addDockWidget(areas.RightDockWidgetArea, self.training)
        self.tabifyDockWidget(self.inspector, self.training)
        self._place_lesson()
        if is_little:
            self.tabifyDockWidget(self.layers, self.moments)
        else:
            self.addDockWidget(areas.BottomDockWidgetArea, self.moments)
        self.tabifyDockWidget(self.moments, self.log)
        for panel in shown:
            panel.show()
        for panel in self.panels:
            panel.title_bar.refresh()
        self.inspector.raise_()
        self.moments.raise_()
        if is_little:
            self.layers.raise_()
        self._resize_panels()
        # Panels that have just been shown take the sizes only once they are laid out.
        QTimer.singleShot(0, self, self._resize_panels)

    @Slot()
    def _keep_centre(self) -> None:
        """A window that becomes narrower takes everything from the middle, and nothing from the sides."""
        if self._stack.width() < _LEAST_CENTRE_SHARE * self.width():
            self._resize_panels()

    @Slot()
    def _resize_panels(self) -> None:
        digit, line = self.fontMetrics().horizontalAdvance("0"), self.fontMetrics().lineSpacing()
        shares = _SIDE_SHARES_IN_LITTLE if self._is_little() else _SIDE_SHARES
        most = [round(share * self.width()) for share in shares]
        right = min(_INSPECTOR_DIGITS * digit, most[1])
        # The names of the tabs in the middle have room, where that leaves enough to the layers.
        room = self.width() - right - self.workspace.tabBar().sizeHint().width() - digit
        least = most[0] if self._is_little() else round(_LEAST_LAYERS_SHARE * self.width())
        left = self.layers.width_for(min(most[0], max(room, least)))
        self.resizeDocks([self.layers, self.inspector], [left, right], Qt.Orientation.Horizontal)
        if self.dockWidgetArea(self.moments) is Qt.DockWidgetArea.BottomDockWidgetArea:
            self.resizeDocks([self.moments], [min(_BOTTOM_LINES * line, self.height() // 5)], Qt.Orientation.Vertical)

        QTimer.singleShot(0, self, self._show_tabs_of_panels)

    @Slot()
    def _show_tabs_of_panels(self) -> None:
        """Qt leaves them hidden where panels are resized before they have been laid out."""
        for bar in self.findChildren(QTabBar, options=Qt.FindChildOption.FindDirectChildrenOnly):
            if bar.count() > 1:
                bar.show()

    @Slot()
    def _fit_layers(self) -> None:
        """Another model has longer or shorter names; a width that somebody has chosen stays."""
        if self._has_panels and not self._is_width_chosen:
            self._resize_panels()

    @Slot()
    def _on_layers_resized(self) -> None:
        if QApplication.mouseButtons() & Qt.MouseButton.LeftButton:
            self._is_width_chosen = True

    def _is_little(self) -> bool:
        return self.height() < _LITTLE_LINES * self.fontMetrics().lineSpacing()

    def _place_lesson(self) -> None:
        self.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, self.lesson)
        self.tabifyDockWidget(self.training, self.lesson)

    def _bring_lesson(self) -> None:
        """The lesson of another recipe comes to the front if it is a sample, and goes where there is none.

        Once for each recipe: a panel that somebody has closed stays closed while the recipe is opened again.
        """
        session = self.controller.state.session
        if session is None or session.path == self._taught:
            return
        self._taught = session.path
        self.lesson.refresh()
        lesson = self.lesson.lesson
        in_front = self.inspector if self.training.visibleRegion().isEmpty() else self.training
        self.lesson.setVisible(lesson is not None)
        if lesson is not None:
            # A panel that is shown comes to the front by itself.
            (self.lesson if lesson.number is not None else in_front).raise_()
        # A panel that is laid out anew may have taken from the layers.
        QTimer.singleShot(0, self, self._fit_layers)

    @Slot()
    def _bring_inspector(self) -> None:
        if not self.inspector.isHidden():
            self.inspector.raise_()

    def _show_panels(self) -> None:
        """A session is open: bring the panels in, as they were left the last time."""
        self._has_panels = True
        layout = self.controller.settings.get(Setting.LAYOUT)
        self._is_width_chosen = not layout.isEmpty() and self.restoreState(layout, _LAYOUT_VERSION)
        if not self._is_width_chosen:
            self._on_layout_reset()
        if self.dockWidgetArea(self.lesson) is Qt.DockWidgetArea.NoDockWidgetArea:
            # A layout of a version that had no such panel.
            self._place_lesson()
            self.lesson.hide()
        if not self.toolBarBreak(self.band):
            # A layout of a version that had no such band.
            self.insertToolBarBreak(self.band)
        for panel in self.panels:
            # Qt does not say when a layout that it brings back has put one behind another.
            panel.title_bar.refresh()
        self.band.refresh()
        self.layers.view.setFocus()

    def _hide_panels(self) -> None:
        """No session is open any more, or it is not what is wanted now."""
        self.controller.settings.set(Setting.LAYOUT, self.saveState(_LAYOUT_VERSION))
        self._has_panels = False
        for panel in self.panels:
            panel.hide()

    def _restore_geometry(self) -> None:
        geometry = self.controller.settings.get(Setting.GEOMETRY)
        if geometry.isEmpty() or not self.restoreGeometry(geometry):
            # The frame comes on top; its height is not known before the window is shown.
            available = self.screen().availableSize() - QSize(0, 2 * self.fontMetrics().lineSpacing())
            self.resize(min(_SIZE[0], available.width()), min(_SIZE[1], available.height()))

    def _refresh(self) -> None:
        session = self.controller.state.session
        is_at_start = session is None or self._is_at_start
        self._stack.setCurrentWidget(self.start_page if is_at_start else self.workspace)
        self.actions_[ActionId.START_PAGE].setChecked(is_at_start)
        if is_at_start and self._has_panels:
            self._hide_panels()
        if session is None:
            self.setWindowTitle("gradscope")
            return
        snapshot = self.controller.state.snapshot
        self.setWindowTitle(f"{window_title(self.band.text or session.name)} – gradscope")
        path = session.path if snapshot is None else snapshot.path
        if path:
            self.controller.settings.add_recent_file(path)
        if not is_at_start and not self._has_panels:
            self._show_panels()

    def _plot_images(self) -> Iterator[Attachment]:
        return self.workspace.each_plot_image()

    def _dropped_file(self, event: QDragEnterEvent | QDropEvent) -> str | None:
        files = [url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile()]
        return next((file for file in files if Path(file).suffix == ".py" or may_be_snapshot(Path(file))), None)

    # ------------------------------------------------------------------------------------------ Qt

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if self._has_panels and event.size().width() < event.oldSize().width():
            # Once it is laid out.
            QTimer.singleShot(0, self, self._keep_centre)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Of keys that nothing has taken: those of an action that cannot be used now do not go by without a word."""
        refusal = self.actions_.refusal_of_key(QKeySequence(event.keyCombination()))
        if refusal:
            self.status.tell(refusal)
        else:
            super().keyPressEvent(event)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if self._dropped_file(event) is not None:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        path = self._dropped_file(event)
        if path is not None:
            event.acceptProposedAction()
            self.commands.open_file(path)

    def closeEvent(self, event: QCloseEvent) -> None:
        settings = self.controller.settings
        settings.set(Setting.GEOMETRY, self.saveGeometry())
        if self._has_panels:
            settings.set(Setting.LAYOUT, self.saveState(_LAYOUT_VERSION))
        self.layers.remember()
        settings.sync()
        self.hide()
        self.controller.shut_down()
        super().closeEvent(event)
