"""The count of errors and warnings in the status bar; pressing it leads to the Findings panel."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, Signal, Slot
from PySide6.QtWidgets import QSizePolicy, QToolButton, QWidget

from gradscope.protocol.findings import Severity
from gradscope.state.topics import Topic
from gradscope.ui.actions.controller import Controller
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager, icon
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import caption, plain_tip
from gradscope.ui.widgets.redraw import owing
from gradscope.ui.words.findings import SIGNS, looked_at, place_of, summary

_MOST_LISTED = 8


@guarded
class FindingsSign(QToolButton):
    """Hidden while nothing that counts is known. No higher than a line of text: the window's height does not depend on it."""

    wanted = Signal()

    def __init__(self, controller: Controller, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._themes = themes
        self.setObjectName("findingsSign")
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Ignored)
        self.clicked.connect(self.wanted)
        self._refresh()
        controller.refreshed.connect(self._on_refreshed)
        themes.changed.connect(self._on_theme_changed)

    # ------------------------------------------------------------------------------------------ slots

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if topics & {Topic.SESSION, Topic.FINDINGS}:
            self._refresh()

    @Slot(object)
    def _on_theme_changed(self, _theme: Theme) -> None:
        self._refresh()

    # ------------------------------------------------------------------------------------------ private

    def _refresh(self) -> None:
        found = self._controller.state.findings
        counted = [finding for finding in found.shown if finding.severity.counts]
        self.setVisible(bool(counted))
        if not counted:
            return
        worst = Severity.ERROR if found.count(Severity.ERROR) else Severity.WARNING
        name, colour = SIGNS[worst]
        side = round(0.8 * self.fontMetrics().height())
        self.setIcon(icon(name, self._themes.theme, colour=getattr(self._themes.theme, colour)))
        self.setIconSize(QSize(side, side))
        # Qt leaves no gap between icon and text.
        self.setText(f" {caption(summary(found))}")
        lines = [f"{finding.title} ({place_of(finding)})" for finding in counted[:_MOST_LISTED]]
        lines += ["…"] if len(counted) > _MOST_LISTED else []
        self.setToolTip(plain_tip("\n".join([*lines, looked_at(found), self.tr("Press to go there")])))

    # ------------------------------------------------------------------------------------------ Qt

    def sizeHint(self) -> QSize:
        return QSize(super().sizeHint().width(), self.fontMetrics().height() + 2)

    def minimumSizeHint(self) -> QSize:
        return QSize(super().minimumSizeHint().width(), self.fontMetrics().height())
