"""What leads to the comparison of two runs, and where it is shown: a window for two files, a tab for two branches."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, Slot
from PySide6.QtWidgets import QWidget

from gradscope.comparing import Beside
from gradscope.ui.actions.controller import Controller
from gradscope.ui.actions.run_comparisons import BranchComparison, FileComparison
from gradscope.ui.compare.branches_tab import BranchesTab
from gradscope.ui.compare.run_window import RunWindow
from gradscope.ui.dialogs.compare_runs import CompareRunsDialog
from gradscope.ui.look.settings import Setting
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.widgets.closable_tabs import ClosableTabs
from gradscope.ui.widgets.room import Room


class RunPaths(QObject):
    """`window` is the parent of the dialog, and of the windows that come of it."""

    def __init__(self, controller: Controller, themes: ThemeManager, tabs: ClosableTabs, *, window: QWidget) -> None:
        super().__init__(window)
        self._controller, self._themes, self._window = controller, themes, window
        self._tabs = tabs
        self.branches = BranchComparison(controller, self)
        self._room: Room[BranchesTab] | None = None
        """Made when it is wanted first."""

    @Slot()
    def ask(self) -> None:
        """For two files."""
        settings = self._controller.settings
        dialog = CompareRunsDialog(
            FileComparison(self._controller),
            paths=[path for path in settings.get(Setting.COMPARED_RUNS) if Path(path).expanduser().exists()],
            folder=settings.get(Setting.EXPORT_FOLDER),
            parent=self._window,
        )
        dialog.chosen.connect(lambda paths: settings.set(Setting.COMPARED_RUNS, paths))
        dialog.compared.connect(self.show_window)
        dialog.open()

    @Slot(object)
    def show_window(self, beside: Beside) -> None:
        RunWindow(self._controller, self._themes, beside, self._window).show()

    @Slot(int)
    def compare_branch(self, other: int) -> None:
        """With the branch that training is on."""
        if self._room is None:
            self._room = self._tabs.add_closable(self._make, self.tr("Branches"), on_close=self.branches.close)
            self.branches.changed.connect(self._on_changed)
        self.branches.start(other)
        self._tabs.go_to(self._room)

    def _make(self) -> BranchesTab:
        tab = BranchesTab(self._controller, self.branches, self._themes)
        tab.window_wanted.connect(self.show_window)
        return tab

    @Slot()
    def _on_changed(self) -> None:
        assert self._room is not None
        if self.branches.other is not None:
            self._tabs.show_page(self._room)
        else:
            self._tabs.hide_page(self._room)
