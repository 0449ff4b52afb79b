"""The main window: puts the parts in their places, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from PySide6.QtCore import QSize, Qt, QTimer, Slot
from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent, QKeyEvent, QKeySequence, QResizeEvent
from PySide6.QtWidgets import QMainWindow, QTabWidget

from gradscope.protocol.messages import Attachment
from gradscope.script_kind import SUFFIXES
from gradscope.state.selection import Selection
from gradscope.state.topics import Topic
from gradscope.ui.actions.actions import Actions, plain, translated
from gradscope.ui.actions.check_ups import CheckUps
from gradscope.ui.actions.comparer import Comparer
from gradscope.ui.actions.console import Console
from gradscope.ui.actions.controller import Controller
from gradscope.ui.actions.rows import ActionId, Menu
from gradscope.ui.actions.stops import Stops
from gradscope.ui.actions.table import TABLE
from gradscope.ui.compare.compare_tab import CompareTab
from gradscope.ui.compare.run_paths import RunPaths
from gradscope.ui.console.watch_paths import WatchPaths
from gradscope.ui.dialogs.open_snapshot import may_be_snapshot
from gradscope.ui.dialogs.script_memory import key_of
from gradscope.ui.docks.console import ConsoleDock
from gradscope.ui.docks.findings import FindingsDock
from gradscope.ui.docks.inspector import InspectorDock
from gradscope.ui.docks.layers import LayersDock
from gradscope.ui.docks.lesson import LessonDock
from gradscope.ui.docks.log import LogDock
from gradscope.ui.docks.moments import MomentsDock
from gradscope.ui.docks.source import SourceDock
from gradscope.ui.docks.stops import StopsDock
from gradscope.ui.docks.timeline import TimelineDock
from gradscope.ui.docks.training import TrainingDock
from gradscope.ui.look.settings import Setting
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.training.layer_menu import LayerMenu
from gradscope.ui.widgets.action_button import ActionButton
from gradscope.ui.widgets.focus_keeper import FocusKeeper
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import window_title
from gradscope.ui.widgets.redraw import owing
from gradscope.ui.window.centre import Centre
from gradscope.ui.window.commands import Commands
from gradscope.ui.window.failure_bar import FailureBar
from gradscope.ui.window.file_bar import FileBar
from gradscope.ui.window.finding_paths import FindingPaths
from gradscope.ui.window.menus import Menus, title_of
from gradscope.ui.window.panel_layout import PanelLayout, Panels
from gradscope.ui.window.phase_strip import PhaseStrip
from gradscope.ui.window.script_bar import ScriptBar
from gradscope.ui.window.shown_step_band import ShownStepBand
from gradscope.ui.window.snapshot_band import SnapshotBand
from gradscope.ui.window.start_page import StartPage
from gradscope.ui.window.status_bar import StatusBar
from gradscope.ui.window.stop_paths import StopPaths
from gradscope.ui.window.tabs import Workspace
from gradscope.ui.window.toolbar import ToolBar
from gradscope.ui.window.trial_tabs import lead_to_trials

_SIZE = (1440, 900)


@guarded
class MainWindow(QMainWindow):
    """While no session is open it shows the start page, and no panels."""

    def __init__(self, controller: Controller, themes: ThemeManager) -> None:
        super().__init__()
        self.controller = controller
        self.themes = themes
        self.setAcceptDrops(True)
        self.setTabPosition(Qt.DockWidgetArea.AllDockWidgetAreas, QTabWidget.TabPosition.North)
        # What was dismissed is known before anything is shown of it.
        self.check_ups = CheckUps(controller, self)
        self.stops = Stops(controller, self)
        self.commands = Commands(controller, window=self, plot_images=self._plot_images)
        self.actions_ = Actions(controller, themes, self.commands.handlers(), self)
        self._has_log_alone = False
        """A script runs that has not come to a training step, or could not be opened: what it prints is shown."""
        self._is_at_start = False
        """Somebody wants to see the start page, although a session is open."""
        self._taught = ""
        """The path of the file whose first panel has been brought forward."""
        # In the order in which they are seen: Tab goes through them so.
        self._make_top(controller, themes)
        self._make_centre(controller, themes)
        self._make_panels(controller, themes)
        self._make_menus(controller)
        self._assemble()
        self._focus_keeper = FocusKeeper(self, fallback=self.centre)
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
        self.phase_strip.take_band(ShownStepBand(controller, themes, actions=self.actions_, parent=self.phase_strip))
        self.band = SnapshotBand(controller, themes, actions=self.actions_, parent=self)

    def _make_centre(self, controller: Controller, themes: ThemeManager) -> None:
        """With what is seen before it: the layers."""
        self.layers = LayersDock(controller, themes, self)
        self.comparer = Comparer(controller, self)
        self.centre = Centre(self)
        self.file_bar = FileBar(controller, themes, self)
        self.failure_bar = FailureBar(controller, themes, self, watch=self.file_bar.watch)
        self.script_bar = ScriptBar(controller, themes, self)
        self.start_page = StartPage(
            controller,
            themes,
            open_action=self.actions_[ActionId.OPEN],
            start_action=self.actions_[ActionId.START_PAGE],
            open_file=self.commands.open_file,
            parent=self,
        )
        self.workspace = Workspace(controller, themes, self)
        self.compare = self.workspace.add_closable(
            lambda: CompareTab(controller, self.comparer, themes), self.tr("Compare"), on_close=self.comparer.close
        )
        self.trials = lead_to_trials(controller, themes, self.commands.what_ifs, self.workspace)

    def _make_panels(self, controller: Controller, themes: ThemeManager) -> None:
        self.inspector = InspectorDock(controller, themes, self, comparer=self.comparer)
        self.training = TrainingDock(controller, themes, self)
        self.source = SourceDock(controller, themes, self)
        self.lesson = LessonDock(
            controller,
            themes,
            self,
            start_action=self.actions_[ActionId.START_PAGE],
            open_file=self.commands.open_file,
        )
        self.moments = MomentsDock(controller, themes, self)
        self.findings = FindingsDock(
            controller, themes, self, check_ups=self.check_ups, check_up=self.actions_[ActionId.CHECK_UP]
        )
        self.stops_dock = StopsDock(controller, themes, self, stops=self.stops)
        self.timeline = TimelineDock(controller, themes, self)
        self.console = ConsoleDock(controller, themes, self, console=Console(controller, self))
        self.log = LogDock(controller, themes, self)
        self.status = StatusBar(controller, themes, self)
        panels = Panels(
            layers=self.layers,
            inspector=self.inspector,
            training=self.training,
            source=self.source,
            lesson=self.lesson,
            moments=self.moments,
            lower=(self.findings, self.stops_dock, self.timeline, self.console, self.log),
        )
        self.panels = panels.all
        self.panel_layout = PanelLayout(self, panels, self.workspace, controller.settings)

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
            self._bring_first_panel()
        if topics & {Topic.SESSION, Topic.ENGINE, Topic.POSITION, Topic.FAILURE}:
            self._show_log_of_script()

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
    def _on_details_shown(self) -> None:
        self.centre.notices.scroll_to(self.failure_bar.details)

    @Slot()
    def _on_training_settings_wanted(self) -> None:
        self.training.show()
        self.training.raise_()
        self.training.table.setFocus()

    @Slot()
    def _on_source_wanted(self) -> None:
        self.source.show()
        self.source.raise_()

    @Slot()
    def _on_nonfinite_wanted(self) -> None:
        first = self.controller.state.first_nonfinite
        if first is None:
            return
        if first.subject is not None:
            self.controller.select(Selection.of_subject(first.subject))
        kind = None if first.subject is None else first.subject.kind
        self.workspace.show_stage(first.stage, kind, step=first.step)
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
        self.centre.notices.add(self.script_bar)
        self.centre.notices.add(self.failure_bar)
        self._stack = self.centre.pages
        self._stack.addWidget(self.start_page)
        self._stack.addWidget(self.workspace)
        self.centre.notices.add(self.file_bar)
        self.setCentralWidget(self.centre)
        self.panel_layout.place()
        for panel in self.panels:
            panel.hide()

    def _connect(self) -> None:
        self.controller.refreshed.connect(self._on_refreshed)
        self.commands.told.connect(self.status.tell)
        paths = FindingPaths(self.controller, self.themes, self.check_ups, window=self)
        paths.lead(self.findings, self.workspace)
        self.status.findings.wanted.connect(paths.show_panel)
        self.commands.check_up_wanted.connect(paths.check_up)
        stop_paths = StopPaths(self.controller, self.stops, window=self)
        stop_paths.lead(self.stops_dock, (self.layers.menu, self.layer_menu), self.moments, self.source)
        self.status.stopped.wanted.connect(stop_paths.show_panel)
        self.commands.stop_wanted.connect(stop_paths.add)
        self.commands.run_to_selected_wanted.connect(stop_paths.run_to_selected)
        self.timeline.go_wanted.connect(self.commands.time.go)
        self.run_paths = RunPaths(self.controller, self.themes, self.workspace, window=self)
        self.watch_paths = WatchPaths(self.controller, self.themes, self.workspace, self)
        self.console.watches.chart_wanted.connect(self.watch_paths.show)
        self.timeline.compare_wanted.connect(self.run_paths.compare_branch)
        self.commands.run_comparison_wanted.connect(self.run_paths.ask)
        self.status.nonfinite.wanted.connect(self._on_nonfinite_wanted)
        self.commands.layer_filter_wanted.connect(self.layers.focus_filter)
        self.commands.console_wanted.connect(self.console.focus_field)
        self.commands.training_settings_wanted.connect(self._on_training_settings_wanted)
        self.commands.comparison_wanted.connect(self.comparer.start)
        self.comparer.changed.connect(self._on_comparison_changed)
        self.moments.place_chosen.connect(self.source.show_place)
        self.moments.source_wanted.connect(self._on_source_wanted)
        # Whoever points at a layer wants to see its numbers, also where a lesson lies before them.
        self.layers.view.clicked.connect(self._bring_inspector)
        self.failure_bar.details_shown.connect(self._on_details_shown)
        self.commands.layout_reset_wanted.connect(self.panel_layout.reset)
        self.commands.start_page_toggled.connect(self._on_start_page_toggled)

    def _bring_first_panel(self) -> None:
        """What is read first of another file comes to the front: a sample's lesson, the line at which a script stands.

        Once for each file: a panel that somebody has closed stays closed while the file is opened again.
        """
        session = self.controller.state.session
        if session is None or session.path == self._taught:
            return
        self._taught = session.path
        self.lesson.refresh()
        lesson = self.lesson.lesson
        in_front = self.inspector if self.training.visibleRegion().isEmpty() else self.training
        if lesson is None:
            self.panel_layout.put_away(self.lesson)
        else:
            self.lesson.show()
            # A panel that is shown comes to the front by itself.
            (self.lesson if lesson.number is not None else in_front).raise_()
        is_before_layers = self.source in self.tabifiedDockWidgets(self.layers)
        if self.controller.state.in_script and not (self.source.isHidden() or is_before_layers):
            self.source.raise_()
        # A panel that is laid out anew may have taken from the layers.
        QTimer.singleShot(0, self, self.panel_layout.fit_layers)

    @Slot()
    def _bring_inspector(self) -> None:
        if not self.inspector.isHidden():
            self.inspector.raise_()

    def _show_panels(self) -> None:
        self.panel_layout.show()
        if not self.toolBarBreak(self.band):
            # A layout of a version that had no such band.
            self.insertToolBarBreak(self.band)
        self.band.refresh()

    def _show_log_of_script(self) -> None:
        state = self.controller.state
        is_unopened = state.unopened is not None and state.unopened.script is not None
        # What an attached process prints is said where it was started.
        is_awaited = state.awaited is not None and not state.is_attached
        wanted = not self.panel_layout.has_panels and state.snapshot is None and (is_awaited or is_unopened)
        if wanted != self._has_log_alone:
            # Once: a panel that somebody has closed stays closed.
            self._has_log_alone = wanted
            if not self.panel_layout.has_panels:
                # Where the panels are laid out anew, they find their own places.
                self.panel_layout.show_alone(self.log, is_shown=wanted)

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
        if is_at_start and self.panel_layout.has_panels:
            self.panel_layout.hide()
        if session is None:
            self.setWindowTitle("gradscope")
            return
        snapshot = self.controller.state.snapshot
        self.setWindowTitle(f"{window_title(self.band.text or session.name)} – gradscope")
        path = session.path if snapshot is None else snapshot.path
        if session.script is not None and snapshot is None:
            path = "" if self.controller.state.is_attached else key_of(session.script)
        if path:
            self.controller.settings.add_recent_file(path)
        if not is_at_start and not self.panel_layout.has_panels:
            self._show_panels()

    def _plot_images(self) -> Iterator[Attachment]:
        return self.workspace.each_plot_image()

    def _dropped_file(self, event: QDragEnterEvent | QDropEvent) -> str | None:
        files = [url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile()]
        return next((file for file in files if Path(file).suffix in SUFFIXES or may_be_snapshot(Path(file))), None)

    # ------------------------------------------------------------------------------------------ Qt

    def focusNextPrevChild(self, next: bool) -> bool:
        # Qt asks for the next one too when what has the keyboard is switched off, or hidden.
        return self._focus_keeper.take_over() or super().focusNextPrevChild(next)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if event.size().width() < event.oldSize().width():
            # Once it is laid out.
            QTimer.singleShot(0, self, self.panel_layout.keep_centre)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Of keys that nothing has taken: those of an action that cannot be used now do not go by without a word."""
        refusal = self.actions_.refusal_of_key(QKeySequence(event.keyCombination()))
        if event.key() == Qt.Key.Key_Escape and self.controller.state.shown.step is not None:
            self.controller.show_step(None)
        elif refusal:
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
            self.commands.ask_file(path)

    def closeEvent(self, event: QCloseEvent) -> None:
        settings = self.controller.settings
        settings.set(Setting.GEOMETRY, self.saveGeometry())
        self.panel_layout.save()
        self.layers.remember()
        settings.sync()
        self.hide()
        self.controller.shut_down()
        super().closeEvent(event)
