"""Widgets one below the other, as high as they ask for; where that is too much, they scroll."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QSize, Qt, QTimer, Slot
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QScrollArea, QSizePolicy, QVBoxLayout, QWidget

from gradscope.ui.widgets.guarded import guarded


@guarded
class ScrolledColumn(QScrollArea):
    """At most a share of the height of the widget that it is `within`. Hidden while nothing in it is shown."""

    def __init__(self, *, within: QWidget, share: float) -> None:
        super().__init__(within)
        self._within = within
        self._share = share
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._inner = QWidget()
        # Where it is narrow, texts wrap and get shorter; there is nothing to scroll sideways. The least height of labels
        # that wrap is that of their least width.
        self._inner.setMinimumSize(1, 1)
        self._column = QVBoxLayout(self._inner)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(0)
        self.setWidget(self._inner)
        self._inner.installEventFilter(self)
        within.installEventFilter(self)
        self._wanted: QWidget | None = None
        self.verticalScrollBar().rangeChanged.connect(self._on_range_changed)
        self.verticalScrollBar().actionTriggered.connect(self._on_scrolled)
        self.hide()

    def add(self, widget: QWidget) -> None:
        self._column.addWidget(widget)

    def scroll_to(self, widget: QWidget) -> None:
        """Bring into sight what has just been shown, once it has been laid out."""
        self._wanted = widget

    @Slot()
    def _on_range_changed(self) -> None:
        if self._wanted is not None:
            # Its place is that of before.
            QTimer.singleShot(0, self, self._show_wanted)

    @Slot()
    def _show_wanted(self) -> None:
        if self._wanted is not None:
            # Of a text, Qt's ensureWidgetVisible() would show the line with the cursor.
            rect = self._wanted.rect()
            for corner in (rect.bottomLeft(), rect.topLeft()):
                self.ensureVisible(0, self._wanted.mapTo(self._inner, corner).y(), 0, 0)

    @Slot()
    def _on_scrolled(self) -> None:
        """By a person, who knows better."""
        self._wanted = None

    def _fit(self) -> None:
        needed = 0
        if not self._column.isEmpty():
            width = self.width()
            has_height_for_width = self._column.hasHeightForWidth()
            needed = self._column.heightForWidth(width) if has_height_for_width else self._column.sizeHint().height()
        height = min(needed, round(self._share * self._within.height()))
        if (self.minimumHeight(), self.maximumHeight()) != (height, height):
            self.setFixedHeight(height)
        self.setHidden(needed == 0)
        # A hidden widget's layout is not activated by Qt, and would never again ask for anything.
        self._column.activate()

    # ------------------------------------------------------------------------------------------ Qt

    def minimumSizeHint(self) -> QSize:
        return QSize(0, 0)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        handled = super().eventFilter(watched, event)
        asks = QEvent.Type.LayoutRequest if watched is self._inner else QEvent.Type.Resize
        if event.type() == asks:
            self._fit()
        return handled

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()
