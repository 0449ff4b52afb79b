"""The entries of the Session menu's Stops: what goes through the inside of a phase, and stops there."""

from __future__ import annotations

from gradscope.protocol.phases import Verb
from gradscope.ui.actions.rows import ActionId, ActionRow, Menu
from gradscope.ui.words.translation import QT_TRANSLATE_NOOP

ROWS: dict[ActionId, ActionRow] = {
    ActionId.STEP_INTO: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "Step &into"),
        tooltip=QT_TRANSLATE_NOOP(
            "Actions",
            "Go on to the next layer that is entered or left, or the next gradient that arrives, and stop there",
        ),
        menu=Menu.STOPS,
        shortcuts=("F11",),
        icon="step_into",
        verb=Verb.INTO,
    ),
    ActionId.STEP_OVER: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "Step &over"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "The same, but run the layer that is about to run as a whole"),
        menu=Menu.STOPS,
        shortcuts=("F10",),
        icon="step_over",
        verb=Verb.OVER,
    ),
    ActionId.STEP_OUT: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "Step o&ut"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Go on to where the layer that is running is left"),
        menu=Menu.STOPS,
        shortcuts=("Shift+F11",),
        icon="step_out",
        verb=Verb.OUT,
        ends_section=True,
    ),
    ActionId.RUN_TO_LAYER: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "Run to this &layer"),
        tooltip=QT_TRANSLATE_NOOP(
            "Actions", "Run until the selected layer is entered, or the gradient of the selected parameter has arrived"
        ),
        menu=Menu.STOPS,
        shortcuts=("Ctrl+F10",),
        icon="here",
        needs_session=True,
    ),
    ActionId.ADD_STOP: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Add a stop..."),
        tooltip=QT_TRANSLATE_NOOP(
            "Actions", "Choose a place or a condition at which training stops each time, before anything later runs"
        ),
        menu=Menu.STOPS,
        shortcuts=("Ctrl+B",),
        icon="halt",
        needs_session=True,
    ),
}
