"""The entries of the Edit menu, in its order."""

from __future__ import annotations

from gradscope.ui.actions.rows import ActionId, ActionRow, Menu
from gradscope.ui.words.translation import QT_TRANSLATE_NOOP

ROWS: dict[ActionId, ActionRow] = {
    ActionId.UNDO_EDIT: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Undo edit"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Put back what the newest edit of the training step has changed"),
        menu=Menu.EDIT,
        shortcuts=("Ctrl+Z",),
        icon="back",
        ends_section=True,
    ),
    ActionId.EDIT_TRAINING: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "Edit &training step"),
        tooltip=QT_TRANSLATE_NOOP(
            "Actions", "Change rates, clipping, the loss, the optimizer or the scheduler between two phases"
        ),
        menu=Menu.EDIT,
        shortcuts=("Ctrl+Shift+E",),
        icon="settings",
        needs_session=True,
    ),
}
