"""Texts from anybody's code and files, put into widgets so that they are shown and never obeyed.

Names go through `gradscope.protocol.visible.visible` where they become part of a text; what is here is for whole texts.
"""

from __future__ import annotations

import functools
import html
import re
from collections.abc import Callable
from typing import Any, TypeVar

from PySide6 import QtGui
from PySide6.QtCore import QAbstractItemModel, Qt
from PySide6.QtWidgets import QLabel, QWidget

from gradscope.protocol.visible import visible, visible_lines

_Model = TypeVar("_Model", bound=type[QAbstractItemModel])
_ONE_LINE = (int(Qt.ItemDataRole.DisplayRole), int(Qt.ItemDataRole.AccessibleTextRole))
_LONG_WORD = re.compile(r"\S{16,}")
_PART = re.compile(r"\w{1,12}[^\w\s]?|[^\w\s]{1,12}")
_MAY_BREAK = "\u200b"
"""A space without width."""
_TOOLTIP = int(Qt.ItemDataRole.ToolTipRole)


class PlainLabel(QLabel):
    """A label that shows any text as it is, in as many lines as it has. A label of Qt's would look for HTML in it."""

    def __init__(self, text: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setText(text)

    def setText(self, text: str) -> None:
        super().setText(visible_lines(text))


class WrappedLabel(PlainLabel):
    """A label of sentences that fits into any width: a long word, as paths and dotted names are, is broken too."""

    def __init__(self, text: str = "", parent: QWidget | None = None) -> None:
        super().__init__(text, parent)
        self.setWordWrap(True)
        # Else it would ask for the width of its longest word, and for the height that goes with it.
        self.setMinimumWidth(1)

    def setText(self, text: str) -> None:
        super().setText(_LONG_WORD.sub(lambda word: _PART.sub(rf"\g<0>{_MAY_BREAK}", word[0]), text))

    def text(self) -> str:
        return super().text().replace(_MAY_BREAK, "")


def plain_tip(text: str) -> str:
    """A tooltip that shows the text. Qt looks for HTML in it, and takes what it finds at its word."""
    shown = visible_lines(text)
    return f'<p style="white-space:pre">{html.escape(shown)}</p>' if QtGui.Qt.mightBeRichText(shown) else shown


def caption(text: str) -> str:
    """A name on a button, a tab or in a menu, where "&" would make the next letter a shortcut."""
    return visible(text).replace("&", "&&")


def window_title(text: str) -> str:
    """A name in a window's title, where "[*]" would stand for unsaved changes."""
    return visible(text).replace("[*]", "[*][*]")


def plain_items(cls: _Model) -> _Model:
    """A class decorator for models: what they show is on one line, and their tooltips are no HTML."""
    for name in ("data", "headerData"):
        if name in vars(cls):
            setattr(cls, name, _plain(vars(cls)[name]))
    return cls


def _plain(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*arguments: Any, **named: Any) -> Any:
        found = method(*arguments, **named)
        if isinstance(found, str):
            role = named.get("role", arguments[-1] if len(arguments) > 2 else Qt.ItemDataRole.DisplayRole)
            if role == _TOOLTIP:
                return plain_tip(found)
            if role in _ONE_LINE:
                return visible(found)
        return found

    return call
