"""The entries of the Layer menu that are actions of the window."""

from __future__ import annotations

from gradscope.ui.actions.rows import ActionId, ActionRow, Menu
from gradscope.ui.words.translation import QT_TRANSLATE_NOOP

ROWS: dict[ActionId, ActionRow] = {
    ActionId.PIN: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Pin"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Keep the values of what is selected through a run, and have it at hand"),
        menu=Menu.LAYER,
        shortcuts=("Ctrl+P",),
        needs_session=True,
        is_toggle=True,
    ),
}
