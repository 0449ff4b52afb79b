"""The list of what is pinned: a click goes there, the button at the end of a row, or Delete, unpins it."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import QEvent, QModelIndex, QObject, QSize, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QColor, QIcon, QKeyEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QToolButton,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from gradscope.protocol.subjects import SubjectKey
from gradscope.state.app_state import AppState
from gradscope.state.pins import PinStatus, status_of
from gradscope.ui.look.theme import ThemeManager, icon
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import plain_tip
from gradscope.ui.words.pins import status_explanation, status_text

_MOST_ROWS = 10
_NAME_DIGITS = (12, 36)
_NAME, _KIND, _BUTTON = range(3)
_PADDING = QSize(8, 4)
"""Of an item, by the stylesheet."""
_KEY = Qt.ItemDataRole.UserRole


@guarded
class PinList(QWidget):
    chosen = Signal(object)
    """SubjectKey, as of the others."""
    unpin_wanted = Signal(object)
    unpin_all_wanted = Signal()

    def __init__(self, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._themes = themes
        self.setObjectName("pinList")
        self.rows = QTreeWidget()
        self.rows.setColumnCount(3)
        self.rows.setHeaderHidden(True)
        self.rows.setRootIsDecorated(False)
        self.rows.setUniformRowHeights(True)
        self.rows.setAllColumnsShowFocus(True)
        self.rows.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.rows.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.rows.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.rows.setMouseTracking(True)
        self.rows.setAccessibleName(self.tr("Pinned"))
        header = self.rows.header()
        header.setStretchLastSection(False)
        header.setMinimumSectionSize(16)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.rows.clicked.connect(self._on_clicked)
        self.rows.installEventFilter(self)
        self.unpin_all = QPushButton(self.tr("Unpin all"))
        self.unpin_all.setProperty("role", "link")
        self.unpin_all.setProperty("flat", True)
        self.unpin_all.clicked.connect(self.unpin_all_wanted)
        below = QHBoxLayout()
        below.setContentsMargins(0, 0, 0, 0)
        below.addStretch(1)
        below.addWidget(self.unpin_all)
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 4, 4, 0)
        column.setSpacing(4)
        column.addWidget(self.rows)
        column.addLayout(below)

    def show_pins(self, state: AppState, shown: SubjectKey, *, is_again: bool = False) -> None:
        """List what is pinned. The subject that is shown is the current row; once more, the row of the same place."""
        place = self.rows.currentIndex().row()
        self.rows.clear()
        tree, theme = state.tree, self._themes.theme
        cross = icon("close", theme, colour=theme.muted)
        for key in state.pins:
            status = PinStatus.THERE if tree is None else status_of(key, tree, state.history)
            item = QTreeWidgetItem([key.shown(), status_text(key, status), ""])
            item.setData(_NAME, _KEY, key)
            explanation = status_explanation(status)
            item.setToolTip(_NAME, plain_tip(f"{key.shown()}\n{explanation}" if explanation else key.shown()))
            item.setToolTip(_KIND, plain_tip(explanation))
            item.setForeground(_KIND, QColor(theme.muted if status is PinStatus.THERE else theme.warning))
            if status is not PinStatus.THERE:
                item.setForeground(_NAME, QColor(theme.muted))
            button = self._unpin_button(key, cross)
            item.setSizeHint(_BUTTON, button.sizeHint() + _PADDING)
            self.rows.addTopLevelItem(item)
            self.rows.setItemWidget(item, _BUTTON, button)
            if key == shown and not is_again:
                place = self.rows.topLevelItemCount() - 1
        place = min(max(place, 0), len(state.pins) - 1)
        self.rows.setCurrentIndex(self.rows.model().index(place, _NAME))

    def fit(self) -> None:
        """As wide as its texts, within reason, and as high as its rows; what is longer is scrolled."""
        count, digit = self.rows.topLevelItemCount(), self.fontMetrics().horizontalAdvance("0")
        least, most = (digits * digit for digits in _NAME_DIGITS)
        first = self.rows.topLevelItem(0)
        if first is None:
            return
        widths = [max(least, min(self.rows.sizeHintForColumn(_NAME) + digit, most))]
        widths += [self.rows.sizeHintForColumn(_KIND) + digit, first.sizeHint(_BUTTON).width()]
        for column, width in enumerate(widths):
            self.rows.header().resizeSection(column, width)
        self.rows.doItemsLayout()
        row = self.rows.visualItemRect(first).height()
        bar = self.rows.verticalScrollBar().sizeHint().width() if count > _MOST_ROWS else 0
        frame = 2 * self.rows.frameWidth()
        self.rows.setFixedSize(QSize(sum(widths) + bar + frame, min(count, _MOST_ROWS) * row + frame))
        self.adjustSize()

    def take_keyboard(self) -> None:
        """Once the menu that it is in is open."""
        QTimer.singleShot(0, self.rows, self.rows.setFocus)

    # ------------------------------------------------------------------------------------------ slots

    @Slot(QModelIndex)
    def _on_clicked(self, index: QModelIndex) -> None:
        if index.column() != _BUTTON:
            self.chosen.emit(index.siblingAtColumn(_NAME).data(_KEY))

    # ------------------------------------------------------------------------------------------ private

    def _unpin_button(self, key: SubjectKey, cross: QIcon) -> QToolButton:
        button = QToolButton()
        button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        button.setIcon(cross)
        side = self.fontMetrics().ascent()
        button.setIconSize(QSize(side, side))
        name = self.tr("Unpin {name}").format(name=key.shown())
        button.setToolTip(plain_tip(name))
        button.setAccessibleName(name)
        button.clicked.connect(partial(self._want_unpinned, key))
        return button

    def _want_unpinned(self, key: SubjectKey) -> None:
        self.unpin_wanted.emit(key)

    # ------------------------------------------------------------------------------------------ Qt

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        item = self.rows.currentItem()
        if isinstance(event, QKeyEvent) and event.type() is QEvent.Type.KeyPress and item is not None:
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
                self.chosen.emit(item.data(_NAME, _KEY))
                return True
            if event.key() in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace):
                self.unpin_wanted.emit(item.data(_NAME, _KEY))
                return True
        return super().eventFilter(watched, event)
