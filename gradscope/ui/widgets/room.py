"""Rooms: places whose content is built when it is first wanted. The window opens without what nobody looks at yet.

App process, GUI thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from PySide6.QtCore import QObject, QTimer, Signal, Slot
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QTabWidget, QVBoxLayout, QWidget

from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.tab_order import follow, stops_of

AHEAD_MS = 300
_Content = TypeVar("_Content", bound=QWidget)


@guarded
class Room(QWidget, Generic[_Content]):
    """Its content is built when the room is first shown, or when it is asked for: `content` is the door to it.

    What is built late has heard of nothing before: it has to draw what is known when it is built.
    """

    built = Signal()

    def __init__(self, build: Callable[[], _Content], *, behind: QWidget, parent: QWidget | None = None) -> None:
        """`behind` is where Tab comes from, the bar of the tabs: without it, what is made last would come last."""
        super().__init__(parent)
        self._build = build
        self._behind = behind
        self._content: _Content | None = None
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)

    @property
    def content(self) -> _Content:
        """What is in it, built if need be."""
        self.build()
        assert self._content is not None
        return self._content

    @property
    def known(self) -> _Content | None:
        """What is in it, if it has been built."""
        return self._content

    def build(self) -> None:
        """Now, if it has not been."""
        if self._content is not None:
            return
        content = self._content = self._build()
        self._layout.addWidget(content)
        # A layout shows it only in the next turn of the event loop.
        content.show()
        follow(self._behind, stops_of(content))
        self.built.emit()

    # ------------------------------------------------------------------------------------------ Qt

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.build()


class Ahead(QObject):
    """Builds rooms one by one while nothing else is to be done, so that going there takes no longer the first time."""

    def __init__(self, holder: QWidget, rooms: Callable[[], Iterable[Room]], *, is_busy: Callable[[], bool]) -> None:
        """While `holder` is seen; `rooms` are those that somebody could go to now, the likeliest first."""
        super().__init__(holder)
        self._holder, self._rooms, self._is_busy = holder, rooms, is_busy
        self._timer = QTimer(self)
        self._timer.setInterval(AHEAD_MS)
        self._timer.timeout.connect(self._build_next)

    def start(self) -> None:
        """There is something to build, or there may be."""
        if self._holder.isVisible() and self._next() is not None:
            self._timer.start()

    @Slot()
    def _build_next(self) -> None:
        if self._is_busy():
            return
        # One that fails is not tried over and over.
        self._timer.stop()
        room = self._next()
        if room is not None and self._holder.isVisible():
            room.build()
            self.start()

    def _next(self) -> Room | None:
        return next((room for room in self._rooms() if room.known is None), None)


class RoomTabs(QTabWidget):
    """Tabs whose pages are rooms. A tab is named by its room, or by what is in it."""

    def add_room(self, build: Callable[[], _Content], label: str) -> Room[_Content]:
        """One more tab."""
        room = Room(build, behind=self.tabBar())
        self.addTab(room, label)
        return room

    def visible_rooms(self) -> Iterator[Room]:
        """Those that can be gone to."""
        for index in range(self.count()):
            room = self.widget(index)
            if isinstance(room, Room) and self.isTabVisible(index):
                yield room

    def content(self) -> QWidget:
        """Of the tab that is in front."""
        room = self.currentWidget()
        assert isinstance(room, Room)
        return room.content

    def indexOf(self, widget: QWidget) -> int:
        """-1 where it is in none of the tabs."""
        return super().indexOf(_room_of(widget))

    def setCurrentWidget(self, widget: QWidget) -> None:
        super().setCurrentWidget(_room_of(widget))


def _room_of(widget: QWidget) -> QWidget:
    parent = widget.parentWidget()
    return parent if isinstance(parent, Room) else widget
