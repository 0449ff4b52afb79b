"""The entries of the Time menu, in its order: looking at earlier steps, and taking the training back."""

from __future__ import annotations

from gradscope.ui.actions.rows import ActionId, ActionRow, Menu
from gradscope.ui.words.translation import QT_TRANSLATE_NOOP

ROWS: dict[ActionId, ActionRow] = {
    ActionId.SHOW_EARLIER: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "Show the step &before"),
        tooltip=QT_TRANSLATE_NOOP(
            "Actions", "Look at the recorded step before the one that is shown; training stays where it is"
        ),
        menu=Menu.TIME,
        shortcuts=("Alt+Left",),
        icon="earlier",
    ),
    ActionId.SHOW_LATER: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "Show the step &after"),
        tooltip=QT_TRANSLATE_NOOP(
            "Actions", "Look at the recorded step after the one that is shown; training stays where it is"
        ),
        menu=Menu.TIME,
        shortcuts=("Alt+Right",),
        icon="later",
    ),
    ActionId.SHOW_NOW: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "Back to &now"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Show the newest of everything again; Esc does so, too"),
        menu=Menu.TIME,
        shortcuts=("Alt+End",),
        icon="now",
        ends_section=True,
    ),
    ActionId.STEP_BACK: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "Step ba&ck"),
        tooltip=QT_TRANSLATE_NOOP(
            "Actions", "Take the training to before its newest phase: weights, optimizer, random state, data"
        ),
        menu=Menu.TIME,
        shortcuts=("Shift+F7",),
        icon="step_back",
        short=QT_TRANSLATE_NOOP("Actions", "Back"),
        needs_session=True,
    ),
    ActionId.STEP_BACK_WHOLE: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "Step back a &whole step"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Take the training to before the forward of its newest step"),
        menu=Menu.TIME,
        shortcuts=("Shift+F8",),
        needs_session=True,
    ),
    ActionId.GO_TO_STEP: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Go to step..."),
        tooltip=QT_TRANSLATE_NOOP(
            "Actions", "Take the training to before a step that was made, or to the last one in which something held"
        ),
        in_script=(
            QT_TRANSLATE_NOOP("Actions", "&Go to step..."),
            QT_TRANSLATE_NOOP(
                "Actions", "Look at a step, or run the script again to it: from its beginning, in a new process"
            ),
        ),
        menu=Menu.TIME,
        shortcuts=("Ctrl+G",),
        needs_session=True,
    ),
    ActionId.GO_TO_SHOWN: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "Take the &training there"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Take the training to before the forward of the step that is shown"),
        in_script=(
            QT_TRANSLATE_NOOP("Actions", "Run the script again &to step"),
            QT_TRANSLATE_NOOP(
                "Actions",
                "End the script, and start it again as it was started, up to the step that is shown; what was recorded "
                "so far is compared with what the new process comes to",
            ),
        ),
        menu=Menu.TIME,
        shortcuts=("Ctrl+Shift+G",),
        icon="step_back",
        needs_session=True,
    ),
    ActionId.RESTORE_WEIGHTS: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Restore the weights of step"),
        tooltip=QT_TRANSLATE_NOOP(
            "Actions",
            "In a script, between two steps: put weights, buffers, optimizer states and random states of before the step "
            "that is shown in place; the script's own variables are left alone",
        ),
        menu=Menu.TIME,
        needs_session=True,
    ),
}
