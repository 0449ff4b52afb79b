"""What Qt calls of ours: an exception in it is our bug and is reported as one, and Qt gets an answer all the same.

PySide6 looks into an exception that leaves an override of a Qt virtual. On Python 3.11 one that was raised by C code
(`len(5)`) and has passed no handler is not an object yet, and the process dies of it. Slots need no guard: what they
raise goes to `sys.excepthook`, and the other slots are called.
"""

from __future__ import annotations

import functools
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

from PySide6.QtCore import (
    QAbstractItemModel,
    QAbstractProxyModel,
    QModelIndex,
    QObject,
    QRectF,
    QRunnable,
    QSortFilterProxyModel,
    QThread,
)
from PySide6.QtGui import QSyntaxHighlighter, QValidator
from PySide6.QtWidgets import (
    QAbstractItemDelegate,
    QAbstractItemView,
    QAbstractScrollArea,
    QAbstractSpinBox,
    QComboBox,
    QDialog,
    QDoubleSpinBox,
    QGraphicsItem,
    QGraphicsLayoutItem,
    QGraphicsScene,
    QGraphicsView,
    QLayoutItem,
    QSpinBox,
    QStyle,
    QStyledItemDelegate,
    QWidget,
)

_Class = TypeVar("_Class", bound=type)

Instead = Callable[[], object] | None


def _nothing() -> None:
    pass


_LEFT_TO_QT = None
_VIRTUALS: tuple[tuple[type, Instead, str], ...] = (
    (QObject, bool, "event eventFilter"),
    (QWidget, bool, "focusNextPrevChild"),
    (QWidget, _LEFT_TO_QT, "sizeHint minimumSizeHint heightForWidth hasHeightForWidth"),
    (QWidget, _nothing, "setVisible"),
    (QDialog, _nothing, "accept"),
    # The ways out of a dialog lead out of it.
    (QDialog, _LEFT_TO_QT, "reject done"),
    (QAbstractScrollArea, bool, "viewportEvent"),
    (QAbstractScrollArea, _LEFT_TO_QT, "viewportSizeHint"),
    (QAbstractScrollArea, _nothing, "scrollContentsBy"),
    (QAbstractItemView, _LEFT_TO_QT, "sizeHintForRow sizeHintForColumn visualRect indexAt"),
    (QAbstractItemView, bool, "edit"),
    (QAbstractItemView, _nothing, "selectionChanged currentChanged dataChanged scrollTo updateGeometries reset"),
    (QComboBox, _nothing, "showPopup hidePopup"),
    (QAbstractSpinBox, _LEFT_TO_QT, "validate fixup stepEnabled"),
    (QAbstractSpinBox, _nothing, "stepBy"),
    (QSpinBox, _LEFT_TO_QT, "textFromValue valueFromText"),
    (QDoubleSpinBox, _LEFT_TO_QT, "textFromValue valueFromText"),
    (QLayoutItem, _LEFT_TO_QT, "sizeHint minimumSize maximumSize heightForWidth hasHeightForWidth"),
    (QLayoutItem, _nothing, "setGeometry"),
    (QStyle, _LEFT_TO_QT, "styleHint pixelMetric subControlRect subElementRect sizeFromContents"),
    (QStyle, _nothing, "drawControl drawPrimitive drawComplexControl drawItemText"),
    (QAbstractItemModel, int, "rowCount columnCount"),
    (QAbstractItemModel, _nothing, "data sort fetchMore"),
    (QAbstractItemModel, QModelIndex, "index parent"),
    (QAbstractItemModel, _LEFT_TO_QT, "headerData flags span buddy mimeTypes mimeData canFetchMore hasChildren"),
    (QAbstractItemModel, bool, "setData setHeaderData submit dropMimeData insertRows removeRows"),
    (QAbstractProxyModel, QModelIndex, "mapToSource mapFromSource"),
    (QSortFilterProxyModel, _LEFT_TO_QT, "lessThan filterAcceptsRow filterAcceptsColumn mapToSource mapFromSource"),
    (QAbstractItemDelegate, _LEFT_TO_QT, "sizeHint updateEditorGeometry"),
    (QAbstractItemDelegate, bool, "editorEvent helpEvent"),
    (QAbstractItemDelegate, _nothing, "paint createEditor setEditorData setModelData"),
    (QStyledItemDelegate, _LEFT_TO_QT, "displayText initStyleOption"),
    (QGraphicsItem, QRectF, "boundingRect"),
    (QGraphicsItem, bool, "sceneEvent sceneEventFilter"),
    (QGraphicsItem, _LEFT_TO_QT, "shape opaqueArea contains collidesWithItem itemChange"),
    (QGraphicsItem, _nothing, "paint"),
    (QGraphicsLayoutItem, _LEFT_TO_QT, "sizeHint"),
    (QGraphicsLayoutItem, _nothing, "setGeometry"),
    (QGraphicsScene, _nothing, "drawBackground drawForeground"),
    (QGraphicsView, _nothing, "drawBackground drawForeground"),
    (QValidator, _LEFT_TO_QT, "fixup"),
    (QValidator, lambda: QValidator.State.Invalid, "validate"),
    (QSyntaxHighlighter, _nothing, "highlightBlock"),
    (QRunnable, _nothing, "run"),
    (QThread, _nothing, "run"),
)
"""Qt's virtuals, and what Qt gets where an override fails: nothing, a value, or what its own method gives.

Handlers of events, which are called "...Event", are not listed: where one fails, nothing more happens.
"""
_INSTEAD: dict[tuple[type, str], Instead] = {
    (base, name): instead for base, instead, names in _VIRTUALS for name in names.split()
}
_NAMES = frozenset(name for _, name in _INSTEAD)


def guarded(cls: _Class) -> _Class:
    """A class decorator: every override of a Qt virtual reports what it raises, instead of handing it to Qt.

    Where Qt has an answer of its own (a size hint), that is given; else a neutral one: no rows, not handled, nothing.
    """
    for name, member in list(vars(cls).items()):
        if is_virtual(cls, name) and inspect.isfunction(member) and not is_guarded(member):
            setattr(cls, name, _guard(member, _fallback(cls, name)))
    return cls


def guard_library(package: str) -> None:
    """The same for every class of a package that is imported: Qt calls its overrides as well."""
    for base in (QObject, QGraphicsItem, QGraphicsLayoutItem):
        for cls in _subclasses(base):
            if cls.__module__.startswith(f"{package}."):
                guarded(cls)


def is_virtual(cls: type, name: str) -> bool:
    """Whether Qt may call the method of that name of a class that is derived from one of Qt's."""
    if name in _NAMES:
        return any((base, name) in _INSTEAD for base in cls.__mro__)
    return name.endswith("Event") and qt_base(cls, name) is not None


def is_guarded(member: object) -> bool:
    return getattr(member, "__code__", None) is _CODE


def qt_base(cls: type, name: str) -> type | None:
    """The next class of Qt's own that has the name."""
    return next((base for base in cls.__mro__ if base.__module__.startswith("PySide6.") and name in vars(base)), None)


def _subclasses(cls: type) -> Iterator[type]:
    subclasses: list[type] = type.__subclasses__(cls)
    for subclass in subclasses:
        yield subclass
        yield from _subclasses(subclass)


def _fallback(cls: type, name: str) -> Callable[..., object]:
    instead = next((_INSTEAD[base, name] for base in cls.__mro__ if (base, name) in _INSTEAD), _nothing)
    if instead is _LEFT_TO_QT:
        return cast(Callable[..., object], getattr(qt_base(cls, name), name))
    return lambda *_arguments: instead()


def _guard(override: Callable[..., Any], fallback: Callable[..., object]) -> Callable[..., Any]:
    @functools.wraps(override)
    def call(*arguments: Any, **named: Any) -> Any:
        try:
            return override(*arguments, **named)
        except Exception as error:
            sys.excepthook(type(error), error, error.__traceback__)
            # A painter that was left behind in one of the frames ends with them: Qt dies of one that outlives its paint.
            traceback.clear_frames(error.__traceback__)
        return fallback(*arguments)

    return call


_CODE = _guard(len, len).__code__
