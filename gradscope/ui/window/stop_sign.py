"""Where training has stopped inside a phase, in the status bar; pressing it leads to the Stops panel."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, Signal, Slot
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QSizePolicy, QToolButton, QWidget

from gradscope.state.topics import Topic
from gradscope.ui.actions.controller import Controller
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager, icon
from gradscope.ui.widgets.elided_label import elided
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import caption, plain_tip
from gradscope.ui.widgets.redraw import owing
from gradscope.ui.words.stops import hit_place, stopped_in_words

_MOST_DIGITS, _LEAST_DIGITS = 60, 9


@guarded
class StopSign(QToolButton):
    """Hidden while nothing is stopped. No higher than a line of text: the window's height does not depend on it."""

    wanted = Signal()

    def __init__(self, controller: Controller, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._themes = themes
        self._where = ""
        self.setObjectName("stopSign")
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
        if topics & {Topic.SESSION, Topic.STOPS, Topic.POSITION}:
            self._refresh()

    @Slot(object)
    def _on_theme_changed(self, _theme: Theme) -> None:
        self._refresh()

    # ------------------------------------------------------------------------------------------ private

    def _refresh(self) -> None:
        state = self._controller.state
        now = () if state.position.running or state.snapshot is not None else state.stops.now
        where = stopped_in_words(state.position)
        if now and not where:
            # Between two phases.
            where = self.tr("Stopped at a stop: %1").replace("%1", hit_place(now[0]))
        self.setVisible(bool(where) and state.snapshot is None)
        if not where:
            return
        side = round(0.8 * self.fontMetrics().height())
        name = "halt" if now else "pause"
        self.setIcon(icon(name, self._themes.theme, colour=self._themes.theme.accent))
        self.setIconSize(QSize(side, side))
        self._where = where
        self.setAccessibleName(where)
        self._fit()
        self.updateGeometry()
        sentences = [hit.sentence for hit in now if hit.sentence]
        self.setToolTip(plain_tip("\n".join([where, *sentences, self.tr("Press to see all stops")])))
        self.setAccessibleDescription("\n".join(sentences))

    def _fit(self) -> None:
        """As much of the text as there is room for: a layer may have any name, and the window need not be wider for it."""
        room = self.width() - self._around()
        # Qt leaves no gap between icon and text.
        self.setText(" " + caption(elided(self._where, self.fontMetrics(), room, Qt.TextElideMode.ElideMiddle)))

    def _around(self) -> int:
        """What is beside the text: the sign and margins."""
        return self.iconSize().width() + 2 * self.fontMetrics().height()

    # ------------------------------------------------------------------------------------------ Qt

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def sizeHint(self) -> QSize:
        metrics = self.fontMetrics()
        most = _MOST_DIGITS * metrics.horizontalAdvance("0")
        width = min(metrics.horizontalAdvance(self._where) + metrics.horizontalAdvance(" ") + 2, most)
        return QSize(width + self._around(), metrics.height() + 2)

    def minimumSizeHint(self) -> QSize:
        metrics = self.fontMetrics()
        return QSize(self._around() + _LEAST_DIGITS * metrics.horizontalAdvance("0"), metrics.height())
