"""The sign in the status bar that NaN or Inf has begun, and where: it stays until it is closed, and leads there."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, Signal, Slot
from PySide6.QtWidgets import QHBoxLayout, QSizePolicy, QToolButton, QWidget

from gradscope.protocol.nonfinite import FirstNonFinite
from gradscope.protocol.visible import visible
from gradscope.state.topics import Topic
from gradscope.ui.actions.controller import Controller
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager, icon
from gradscope.ui.widgets.elided_label import elided
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import caption, plain_tip
from gradscope.ui.widgets.redraw import owing


@guarded
class NonFiniteSign(QWidget):
    """No higher than a line of text: the window's height does not depend on it."""

    wanted = Signal()
    """Somebody wants to see the place."""

    def __init__(self, controller: Controller, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._themes = themes
        self.setObjectName("nonFiniteSign")
        self.go = QToolButton(self)
        self.go.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.go.clicked.connect(self.wanted)
        self.close_button = QToolButton(self)
        self.close_button.setToolTip(self.tr("Close: the loss and the log still tell of it"))
        self.close_button.setAccessibleName(self.tr("Close"))
        self.close_button.clicked.connect(controller.dismiss_nonfinite)
        line = QHBoxLayout(self)
        line.setContentsMargins(8, 0, 0, 0)
        line.setSpacing(0)
        for button in (self.go, self.close_button):
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            button.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Ignored)
            line.addWidget(button)
        self._room = 0
        """Pixels that it may take; 0 is as many as it likes."""
        self._refresh()
        self._on_theme_changed(themes.theme)
        controller.refreshed.connect(self._on_refreshed)
        themes.changed.connect(self._on_theme_changed)

    def fit(self, room: int) -> bool:
        """Say as much as there is room for, the layer's name in any case; whether all of it is said."""
        self._room = room
        self._refresh()
        first = self._controller.state.first_nonfinite
        return first is None or self.go.text() == caption(visible(first.title))

    # ------------------------------------------------------------------------------------------ slots

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if topics & {Topic.SESSION, Topic.NONFINITE}:
            self._refresh()

    @Slot(object)
    def _on_theme_changed(self, theme: Theme) -> None:
        side = round(0.8 * self.fontMetrics().height())
        for button, name, colour in ((self.go, "error", theme.bad), (self.close_button, "close", theme.muted)):
            button.setIcon(icon(name, theme, colour=colour))
            button.setIconSize(QSize(side, side))

    # ------------------------------------------------------------------------------------------ private

    def _refresh(self) -> None:
        state = self._controller.state
        first = state.first_nonfinite
        self.setVisible(first is not None and not state.is_nonfinite_dismissed)
        if first is None:
            return
        self.go.setText(caption(self._text(first)))
        self.go.setAccessibleName(visible(first.title))
        self.go.setToolTip(plain_tip(f"{visible(first.sentence)}\n{self.tr('Press to go there')}"))

    def _text(self, first: FirstNonFinite) -> str:
        """The longest form that there is room for. The place is what has to be read: all else goes before it."""
        where = first.place or first.stage.value
        forms = [visible(form) for form in (first.title, f"First {first.kind}: {where}", f"{first.kind}: {where}")]
        around = self.sizeHint().width() - self.fontMetrics().horizontalAdvance(self.go.text().replace("&&", "&"))
        room, metrics = self._room - around, self.fontMetrics()
        if not self._room:
            return forms[0]
        fitting = (form for form in forms if metrics.horizontalAdvance(form) <= room)
        # A name that is longer than the whole line ends as itself: its last part is the layer.
        return next(fitting, elided(forms[-1], metrics, room, Qt.TextElideMode.ElideMiddle))

    # ------------------------------------------------------------------------------------------ Qt

    def sizeHint(self) -> QSize:
        return QSize(super().sizeHint().width(), self.fontMetrics().height() + 2)

    def minimumSizeHint(self) -> QSize:
        return QSize(super().minimumSizeHint().width(), self.fontMetrics().height())
