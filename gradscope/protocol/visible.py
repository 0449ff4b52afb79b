r"""Names as what they are: what is not seen in a text, or drives the display or the terminal, is written out.

Names of layers, parameters, metrics and recipes, and what exceptions say, come from anybody's code and files. A line break
splits a row, an escape sequence drives a terminal, a right-to-left override shows a name backwards. Letters of every
script stay as they are, and so do the joiners that some of them, and emoji, are made with. Files for machines (JSON, CSV)
keep the true text.
"""

from __future__ import annotations

import json
import re

_CONTROLS = (
    # C0, DEL and C1; line and paragraph separators.
    "\x00-\x1f\x7f-\x9f\u2028\u2029"
    # Marks, embeddings, overrides and isolates of direction; old format controls; annotations.
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u206a-\u206f\ufff9-\ufffb"
    # Lone surrogates, and what is no character at all.
    "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"
)
_HIDDEN = re.compile(f"[{_CONTROLS}]")
_HIDDEN_IN_LINES = re.compile(f"(?![\n\t])[{_CONTROLS}]")
_BEYOND_ASCII = re.compile("[^\x00-\x7f]+")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def visible(text: str) -> str:
    r"""`text` on one line, every hidden character written as Python would write it: "\n", "\x1b", "\u202e"."""
    # Nothing that is hidden is printable, and nearly every name is.
    return text if text.isprintable() else _HIDDEN.sub(_written, text)


def visible_lines(text: str) -> str:
    r"""The same for a text of several lines: line breaks and tabs are kept, and "\r\n" is a line break."""
    return _HIDDEN_IN_LINES.sub(_written, text.replace("\r\n", "\n"))


def visible_json(text: str) -> str:
    r"""JSON on one line that says the same, and can be printed: hidden characters, which are all in strings, as "\u202e"."""
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def ascii_json(text: str) -> str:
    r"""JSON that says the same in ASCII: a "я" in a string as "\u044f"."""
    return _BEYOND_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text)


def _written(found: re.Match[str]) -> str:
    code = ord(found[0])
    return _SHORT.get(found[0]) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
