"""The tabs of what is tried beside the training, shown when somebody wants to see them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from PySide6.QtCore import QCoreApplication
from PySide6.QtWidgets import QWidget

from gradscope.ui.actions.controller import Controller
from gradscope.ui.actions.what_ifs import WhatIfs
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.what_if.probe_tab import ProbeTab
from gradscope.ui.what_if.what_if_tab import WhatIfTab
from gradscope.ui.widgets.room import Room
from gradscope.ui.window.tabs import Workspace

_Tab = TypeVar("_Tab", bound=QWidget)


@dataclass(frozen=True, kw_only=True)
class Trials:
    """A tab that is closed keeps what it shows, and the probe runs on."""

    what_if: Room[WhatIfTab]
    probe: Room[ProbeTab]


def lead_to_trials(controller: Controller, themes: ThemeManager, what_ifs: WhatIfs, workspace: Workspace) -> Trials:
    """Said once."""

    def add(build: Callable[[], _Tab], label: str) -> Room[_Tab]:
        return workspace.add_closable(build, QCoreApplication.translate("TrialTabs", label))

    trials = Trials(
        what_if=add(lambda: WhatIfTab(controller, what_ifs, themes), "What if"),
        probe=add(lambda: ProbeTab(controller, what_ifs, themes), "Probe"),
    )
    what_ifs.wanted.connect(partial(_show, workspace, trials.what_if))
    what_ifs.probe_wanted.connect(partial(_show, workspace, trials.probe))
    return trials


def _show(workspace: Workspace, page: Room) -> None:
    workspace.show_page(page)
    workspace.go_to(page)
