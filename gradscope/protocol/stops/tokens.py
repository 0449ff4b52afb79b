"""The words of a stop, one after the other, each with its column. What a layer's name may hold is read where one is due."""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple, NoReturn

from gradscope.protocol.failure import BadInput
from gradscope.protocol.visible import visible

_BLANK = re.compile(r"\s*")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_SYMBOL = re.compile(r"<=|>=|==|!=|[-<>=+*/().#%]")
_PATTERN = re.compile(r"(?:[\w.*?!-]|\[[^\]\s]*\])+|\(model\)")
_QUOTED = re.compile(r'"([^"]*)"')
_FILE_AND_LINE = re.compile(r'(?:"([^"]+)"|([^\s"].*?)):(\d+)(?=\s*$|\s+if\b)')
_MOST_SHOWN = 60


class Kind(Enum):
    WORD = "word"
    NUMBER = "number"
    SYMBOL = "symbol"
    END = "end"


class Token(NamedTuple):
    kind: Kind
    text: str
    at: int
    """The index of its first character."""

    def is_word(self, *words: str) -> bool:
        return self.kind is Kind.WORD and self.text.lower() in words

    def is_symbol(self, *symbols: str) -> bool:
        return self.kind is Kind.SYMBOL and self.text in symbols


class Scanner:
    """Goes through a text once. Columns in what it raises count from 1."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._at = 0
        self._next: Token | None = None

    def peek(self) -> Token:
        """The next token, which stays the next one."""
        if self._next is None:
            self._next = self._read()
        return self._next

    def after_next(self) -> Token:
        """The one behind the next."""
        ahead = Scanner(self.text)
        token = self.peek()
        ahead._at = token.at + len(token.text)
        return ahead._read()

    def take(self) -> Token:
        token = self.peek()
        self._at, self._next = token.at + len(token.text), None
        return token

    def takes_word(self, *words: str) -> bool:
        """Whether the next token is one of these words, which is passed then."""
        return self.peek().is_word(*words) and bool(self.take())

    def takes_symbol(self, *symbols: str) -> bool:
        return self.peek().is_symbol(*symbols) and bool(self.take())

    def pattern(self, expected: str) -> str:
        """A name or a pattern of names; in quotes with anything in it."""
        start = self._skip_blank()
        found = _QUOTED.match(self.text, start) or _PATTERN.match(self.text, start)
        if found is None:
            self.fail(expected)
        self._at, self._next = found.end(), None
        return found[1] if found.re is _QUOTED else found[0]

    def file_and_line(self, expected: str) -> tuple[str, int]:
        """ "train.py:42"."""
        found = _FILE_AND_LINE.match(self.text, self._skip_blank())
        if found is None:
            self.fail(expected)
        self._at, self._next = found.end(), None
        return found[1] or found[2], int(found[3][:18])

    def fail(self, expected: str, at: Token | None = None) -> NoReturn:
        """Raises BadInput: what stands where something else was expected."""
        start = self._skip_blank() if at is None else at.at
        shown = visible(self.text if len(self.text) <= _MOST_SHOWN else f"{self.text[:_MOST_SHOWN]}...")
        if start >= len(self.text):
            raise BadInput(f"'{shown}' ends at column {len(self.text.rstrip()) + 1}; expected {expected}")
        word = _WORD.match(self.text, start) or _NUMBER.match(self.text, start) or _SYMBOL.match(self.text, start)
        found = visible(word[0][:_MOST_SHOWN] if word else self.text[start])
        raise BadInput(f"'{shown}' has '{found}' at column {start + 1}; expected {expected}")

    def _skip_blank(self) -> int:
        if self._next is not None:
            return self._next.at
        found = _BLANK.match(self.text, self._at)
        return self._at if found is None else found.end()

    def _read(self) -> Token:
        start = self._skip_blank()
        if start >= len(self.text):
            return Token(Kind.END, "", len(self.text))
        for kind, form in ((Kind.WORD, _WORD), (Kind.NUMBER, _NUMBER), (Kind.SYMBOL, _SYMBOL)):
            found = form.match(self.text, start)
            if found is not None:
                return Token(kind, found[0], start)
        # Told by whoever expected something else.
        return Token(Kind.SYMBOL, self.text[start], start)
