"""The entries of the Help menu, in its order."""

from __future__ import annotations

from gradscope.ui.actions.rows import ActionId, ActionRow, Menu
from gradscope.ui.words.translation import QT_TRANSLATE_NOOP

ROWS: dict[ActionId, ActionRow] = {
    ActionId.SHORTCUTS: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Keyboard shortcuts"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Every shortcut in one list"),
        menu=Menu.HELP,
        shortcuts=("F1",),
        icon="help",
    ),
    ActionId.ABOUT: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&About gradscope"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Versions and licence"),
        menu=Menu.HELP,
        icon="info",
    ),
}
