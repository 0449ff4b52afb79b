"""The tabs of what is tried beside the training, shown when somebody wants to see them."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import QCoreApplication
from PySide6.QtWidgets import QWidget

from gradscope.ui.actions.controller import Controller
from gradscope.ui.actions.what_ifs import WhatIfs
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.what_if.probe_tab import ProbeTab
from gradscope.ui.what_if.what_if_tab import WhatIfTab
from gradscope.ui.window.tabs import Workspace

_CONTEXT = "TrialTabs"


def lead_to_trials(controller: Controller, themes: ThemeManager, what_ifs: WhatIfs, workspace: Workspace) -> None:
    """Said once. A tab that is closed keeps what it shows, and the probe runs on."""
    translate = QCoreApplication.translate
    for page, label, wanted in (
        (WhatIfTab(controller, what_ifs, themes), translate(_CONTEXT, "What if"), what_ifs.wanted),
        (ProbeTab(controller, what_ifs, themes), translate(_CONTEXT, "Probe"), what_ifs.probe_wanted),
    ):
        workspace.add_closable(page, label, on_close=partial(workspace.hide_page, page))
        wanted.connect(partial(_show, workspace, page))


def _show(workspace: Workspace, page: QWidget) -> None:
    workspace.show_page(page)
    workspace.go_to(page)
