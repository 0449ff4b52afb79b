"""Colours for Python source, by Pygments: bit by bit, so that a long file does not hold up the window."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from PySide6.QtCore import QObject, QTimer, Slot
from PySide6.QtGui import QColor, QFont, QTextBlock, QTextCharFormat, QTextDocument, QTextLayout

from gradscope.ui.look.code_colours import CodeColours

_SLICE_SECS = 0.008
_TOKENS_AT_ONCE = 200
"""Between two looks at the clock."""


class CodeHighlighter(QObject):
    """Of one document. `start` once its text is there, and again for other colours."""

    def __init__(self, document: QTextDocument, parent: QObject) -> None:
        super().__init__(parent)
        self._document = document
        self._lexer: Any = None
        self._text = ""
        self._colours: CodeColours
        self._tokens: Iterator[tuple[int, Any, str]] = iter(())
        self._formats: dict[Any, QTextCharFormat | None] = {}
        self._styles: dict[Any, QTextCharFormat] = {}
        self._block = QTextBlock()
        self._column = 0
        """In the block, as Qt counts: two for a character beyond U+FFFF."""
        self._ranges: list[QTextLayout.FormatRange] = []
        self._timer = QTimer(self)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._go_on)

    @property
    def is_busy(self) -> bool:
        return self._timer.isActive()

    def start(self, text: str, colours: CodeColours) -> None:
        """The first lines at once, the rest in between."""
        self._text, self._colours = text, colours
        self._timer.start()
        if self._lexer is not None:
            self._begin()
            self._go_on()

    def _begin(self) -> None:
        self._styles, self._formats = _styles(self._colours), {}
        self._tokens = self._lexer.get_tokens_unprocessed(self._text)
        self._block, self._column, self._ranges = self._document.firstBlock(), 0, []

    def stop(self) -> None:
        """Give up what is not done."""
        self._timer.stop()
        self._tokens = iter(())

    @Slot()
    def _go_on(self) -> None:
        if self._lexer is None:
            # It takes a while to load: the first text is there without colours before. Where it fails, that is said once.
            self._timer.stop()
            from pygments.lexers.python import PythonLexer

            self._lexer = PythonLexer()
            self._begin()
            self._timer.start()
        until, first = time.perf_counter() + _SLICE_SECS, self._block.position()
        while time.perf_counter() < until:
            for _ in range(_TOKENS_AT_ONCE):
                found = next(self._tokens, None)
                if found is None:
                    self._end_line()
                    self.stop()
                    break
                self._take(found[1], found[2])
            if not self.is_busy:
                break
        end = (
            self._block.position() + self._block.length() if self._block.isValid() else self._document.characterCount()
        )
        self._document.markContentsDirty(first, max(0, end - first))

    def _take(self, token: Any, value: str) -> None:
        style = self._format(token)
        for number, piece in enumerate(value.split("\n")):
            if number:
                self._end_line()
                self._block, self._column = self._block.next(), 0
            length = len(piece) if piece.isascii() else len(piece.encode("utf-16-le", "surrogatepass")) // 2
            if length and style is not None:
                marked = QTextLayout.FormatRange()
                marked.start, marked.length, marked.format = self._column, length, style
                self._ranges.append(marked)
            self._column += length

    def _end_line(self) -> None:
        if self._block.isValid():
            self._block.layout().setFormats(self._ranges)
        self._ranges = []

    def _format(self, token: Any) -> QTextCharFormat | None:
        """Of the token's type, or of the nearest one above it that has a style."""
        if token not in self._formats:
            above = token
            while above is not None and above not in self._styles:
                above = above.parent
            self._formats[token] = self._styles.get(above)
        return self._formats[token]


def _styles(colours: CodeColours) -> dict[Any, QTextCharFormat]:
    from pygments.token import Token

    return {
        Token.Keyword: _style(colours.keyword),
        Token.Operator.Word: _style(colours.keyword),
        Token.Name.Function: _style(colours.name, is_bold=True),
        Token.Name.Class: _style(colours.name, is_bold=True),
        Token.Name.Decorator: _style(colours.decorator),
        Token.Name.Builtin: _style(colours.builtin),
        Token.Name.Exception: _style(colours.builtin),
        Token.Literal.String: _style(colours.string),
        Token.Literal.Number: _style(colours.number),
        Token.Comment: _style(colours.comment, is_italic=True),
    }


def _style(colour: str, *, is_bold: bool = False, is_italic: bool = False) -> QTextCharFormat:
    result = QTextCharFormat()
    result.setForeground(QColor(colour))
    if is_bold:
        result.setFontWeight(QFont.Weight.Bold)
    result.setFontItalic(is_italic)
    return result
