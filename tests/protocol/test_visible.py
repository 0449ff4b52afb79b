"""Names as what they are."""

import json
import sys

from hypothesis import given
from hypothesis import strategies as st

from gradscope.protocol.visible import ascii_json, visible, visible_json, visible_lines

LETTERS = "Überschicht.слой.層.طبقة.परत 👩‍👩‍👧 a b\u00a0c\u200cd C:\\new <b>&amp;</b>"
"""Also joiners, a no-break space and a backslash."""


def test_letters_of_every_script_stay() -> None:
    assert visible(LETTERS) == LETTERS
    assert visible_lines(LETTERS + "\n\tmore") == LETTERS + "\n\tmore"


def test_what_is_hidden_is_written_out() -> None:
    assert visible("a\nb\r\tc\x00\x1b[31m\x7f\x9b") == r"a\nb\r\tc\x00\x1b[31m\x7f\x9b"
    assert (
        visible("abc\u202egnp.exe\u2066\u200e\u2028\ud800\uffff") == r"abc\u202egnp.exe\u2066\u200e\u2028\ud800\uffff"
    )
    assert visible_lines("one\r\ntwo\r\x1b[2K\u202ethree") == "one\ntwo\\r\\x1b[2K\\u202ethree"


@given(st.text(st.characters()))
def test_nothing_hidden_is_left(text: str) -> None:
    shown = visible(text)
    assert visible(shown) == shown
    assert shown.encode().decode().splitlines() == ([shown] if shown else [])
    assert shown.isprintable() or not any(character in "\x00\x1b\u202e\u2066\u200f" for character in shown)


@given(st.dictionaries(st.text(), st.text() | st.sampled_from(["\ud800", "\x9b\u202e", "\x1b\n"])))
def test_json_says_the_same(content: dict[str, str]) -> None:
    line = visible_json(json.dumps(content, ensure_ascii=False))
    assert json.loads(line) == content
    assert visible(line) == line


def test_json_in_ascii_says_the_same() -> None:
    content = {"слой": ["я", 1.5, "🙂\ud800", "plain \\u0000 \n"]}
    line = ascii_json(json.dumps(content, ensure_ascii=False))
    assert line.isascii() and json.loads(line) == content


def test_no_hidden_character_is_taken_for_a_printable_one() -> None:
    every = [chr(code) for code in range(sys.maxunicode + 1)]
    told = {one for one in every if visible(one) != one}
    assert told == {one for one in every if visible_lines(one) != one} | {"\n", "\t"}
    assert len(told) > 2000 and not any(one.isprintable() for one in told)
