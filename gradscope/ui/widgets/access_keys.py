"""Letters that choose an entry of an open menu: every entry has one, and no two have the same."""

from __future__ import annotations

from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMenu


def give_access_keys(menu: QMenu) -> None:
    """Mark the first letter that is still free in the text of every entry that has no letter of its own.

    Where none is free, an entry before it that has others gives up its own.
    """
    entries = [action for action in menu.actions() if not action.isSeparator() and not letter_of(action.text())]
    taken = {letter_of(action.text()) for action in menu.actions()}
    owners: dict[str, QAction] = {}

    def place(action: QAction, asked: set[str]) -> bool:
        letters = [letter.upper() for letter in action.text() if letter.isalnum() and letter.upper() not in taken]
        free = next((letter for letter in letters if letter not in owners), None)
        if free is not None:
            owners[free] = action
            return True
        for letter in letters:
            if letter not in asked:
                asked.add(letter)
                if place(owners[letter], asked):
                    owners[letter] = action
                    return True
        return False

    for action in entries:
        place(action, set())
    for letter, action in owners.items():
        text = action.text()
        i = text.upper().index(letter)
        action.setText(f"{text[:i]}&{text[i:]}")


def letter_of(text: str) -> str:
    """The letter that is marked in a text, as a capital; "" if none is. Qt tells none on macOS."""
    _, mark, rest = text.replace("&&", "").partition("&")
    return rest[:1].upper() if mark else ""
