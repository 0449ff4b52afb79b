"""The menu bar, made from the action table; recent files and samples are filled in when their menus open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from PySide6.QtCore import QCoreApplication, QObject, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMenu, QMenuBar

from gradscope.assets import sample_docs, sample_paths
from gradscope.ui.actions.actions import Actions
from gradscope.ui.actions.rows import ActionId, Menu
from gradscope.ui.actions.table import TABLE
from gradscope.ui.dialogs.script_memory import ScriptMemory
from gradscope.ui.look.settings import Setting, Settings
from gradscope.ui.widgets.access_keys import give_access_keys
from gradscope.ui.widgets.plain import caption, plain_tip


class Menus(QObject):
    """Fills a menu bar. `open_file` is called with the path of a sample or of a recent file; `layer_menu` fills itself."""

    def __init__(
        self,
        bar: QMenuBar,
        actions: Actions,
        settings: Settings,
        *,
        layer_menu: QMenu,
        panels: Sequence[QAction],
        open_file: Callable[[str], None],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._settings = settings
        self._memory = ScriptMemory(settings)
        self._open_file = open_file
        self._menus: dict[Menu, QMenu] = {Menu.LAYER: layer_menu}
        for menu in (Menu.FILE, Menu.EDIT, Menu.SESSION, Menu.TIME, Menu.VIEW, Menu.HELP):
            self._menus[menu] = bar.addMenu(title_of(menu))
            self._menus[menu].setToolTipsVisible(True)
            if menu is Menu.TIME:
                bar.addMenu(layer_menu)
        self._menus[Menu.THEME] = QMenu(title_of(Menu.THEME), self._menus[Menu.VIEW])
        self._menus[Menu.CAPTURE] = QMenu(title_of(Menu.CAPTURE), self._menus[Menu.SESSION])
        self._menus[Menu.STOPS] = QMenu(title_of(Menu.STOPS), self._menus[Menu.SESSION])
        for submenu in (self._menus[Menu.CAPTURE], self._menus[Menu.STOPS]):
            submenu.setToolTipsVisible(True)
        for action_id, row in TABLE.items():
            self._menus[row.menu].addAction(actions[action_id])
            if row.ends_section:
                self._menus[row.menu].addSeparator()
        self._samples = QMenu(self.tr("Open s&ample"), bar)
        self._recent = QMenu(self.tr("Open re&cent"), bar)
        for submenu in (self._samples, self._recent):
            self._menus[Menu.FILE].insertMenu(actions[ActionId.EXPORT], submenu)
        session = self._menus[Menu.SESSION]
        session.insertMenu(actions[ActionId.ZERO_GRAD], self._menus[Menu.STOPS])
        session.insertSeparator(actions[ActionId.ZERO_GRAD])
        session.insertMenu(actions[ActionId.INTERRUPT], self._menus[Menu.CAPTURE])
        session.insertSeparator(actions[ActionId.INTERRUPT])
        view = self._menus[Menu.VIEW]
        view.insertActions(actions[ActionId.RESET_LAYOUT], [*panels, view.addSeparator()])
        view.addSeparator()
        view.addMenu(self._menus[Menu.THEME])
        for filled in self._menus.values():
            give_access_keys(filled)
        self._samples.aboutToShow.connect(self._on_samples_about_to_show)
        self._recent.aboutToShow.connect(self._on_recent_about_to_show)

    @Slot()
    def _on_samples_about_to_show(self) -> None:
        self._samples.clear()
        for path in sample_paths():
            title, _ = sample_docs(path)
            self._add(self._samples, path.stem, str(path), title)
        give_access_keys(self._samples)

    @Slot()
    def _on_recent_about_to_show(self) -> None:
        self._recent.clear()
        for path in self._settings.get(Setting.RECENT_FILES):
            label = self._memory.label(path)
            text = f"{label.name} ({label.folder})" if label.folder else label.name
            self._add(self._recent, text, path, label.whole)
        if self._recent.isEmpty():
            self._recent.addAction(self.tr("Nothing has been opened yet")).setEnabled(False)
        give_access_keys(self._recent)

    def _add(self, menu: QMenu, text: str, path: str, tooltip: str) -> None:
        menu.setToolTipsVisible(True)
        action = menu.addAction(caption(text))
        action.setToolTip(plain_tip(tooltip))
        action.triggered.connect(partial(self._on_file_chosen, path))

    def _on_file_chosen(self, path: str) -> None:
        self._open_file(path)


def title_of(menu: Menu) -> str:
    """In the user's language, with the mark of its access key."""
    return QCoreApplication.translate("Actions", menu.value)
