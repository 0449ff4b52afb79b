"""Letters that choose an entry of an open menu: every entry has one, and no two have the same."""

from __future__ import annotations

from PySide6.QtWidgets import QMenu


def give_access_keys(menu: QMenu) -> None:
    """Mark the first letter that is still free in the text of every entry that has no letter of its own."""
    entries = [action for action in menu.actions() if not action.isSeparator() and not letter_of(action.text())]
    taken = {letter_of(action.text()) for action in menu.actions()}
    for action in entries:
        text = action.text()
        for i, letter in enumerate(text):
            if letter.isalnum() and letter.upper() not in taken:
                action.setText(f"{text[:i]}&{text[i:]}")
                taken.add(letter.upper())
                break


def letter_of(text: str) -> str:
    """The letter that is marked in a text, as a capital; "" if none is. Qt tells none on macOS."""
    _, mark, rest = text.replace("&&", "").partition("&")
    return rest[:1].upper() if mark else ""
