"""The entries of the Session menu, in its order; its Capture menu has a file of its own."""

from __future__ import annotations

from gradscope.protocol.phases import Verb
from gradscope.ui.actions.rows import ActionId, ActionRow, Menu
from gradscope.ui.words.translation import QT_TRANSLATE_NOOP

ROWS: dict[ActionId, ActionRow] = {
    ActionId.FORWARD: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Forward"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Load the batch, run the model and the loss"),
        menu=Menu.SESSION,
        shortcuts=("F5",),
        icon="forward",
        verb=Verb.FORWARD,
    ),
    ActionId.BACKWARD: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Backward"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Compute the gradients of the loss"),
        menu=Menu.SESSION,
        shortcuts=("F6",),
        icon="backward",
        verb=Verb.BACKWARD,
    ),
    ActionId.STEP: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Step"),
        tooltip=QT_TRANSLATE_NOOP(
            "Actions", "Let the optimizer move the parameters, and the scheduler set the next rate"
        ),
        menu=Menu.SESSION,
        shortcuts=("F7",),
        icon="step",
        verb=Verb.STEP,
        ends_section=True,
    ),
    ActionId.ZERO_GRAD: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Zero grad"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Clear the gradients of the parameters now (set them to None)"),
        menu=Menu.SESSION,
        shortcuts=("F4",),
        icon="zero_grad",
        verb=Verb.ZERO_GRAD,
    ),
    ActionId.VALIDATE: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Validate"),
        tooltip=QT_TRANSLATE_NOOP(
            "Actions", "Loss and metrics on the validation data now; training is not touched by it"
        ),
        menu=Menu.SESSION,
        shortcuts=("F3",),
        icon="validate",
        verb=Verb.VALIDATE,
        ends_section=True,
    ),
    ActionId.NEXT_BATCH: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Next batch"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Finish this training step, or make a whole one"),
        menu=Menu.SESSION,
        shortcuts=("F8",),
        icon="next_batch",
        verb=Verb.NEXT_BATCH,
    ),
    ActionId.RUN_STEPS: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Run %1 steps"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Make %1 training steps; every plot follows"),
        menu=Menu.SESSION,
        shortcuts=("F9",),
        icon="run",
        short=QT_TRANSLATE_NOOP("Actions", "Run"),
        verb=Verb.RUN,
    ),
    ActionId.RUN_EPOCH: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "Run to the end of the &epoch"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Make training steps until the pass over the data is complete"),
        menu=Menu.SESSION,
        shortcuts=("Ctrl+F9",),
        verb=Verb.RUN,
    ),
    ActionId.RUN_UNTIL_PAUSED: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "Run &until paused"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Make training steps until Pause is pressed"),
        menu=Menu.SESSION,
        shortcuts=("Ctrl+Shift+F9",),
        verb=Verb.RUN,
    ),
    ActionId.PAUSE: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Pause"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Stop at the next moment, also inside a phase"),
        menu=Menu.SESSION,
        shortcuts=("F10", "Shift+F9"),
        icon="pause",
        verb=Verb.PAUSE,
        ends_section=True,
    ),
    ActionId.INTERRUPT: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Interrupt"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Break off the phase that is running, and undo it"),
        menu=Menu.SESSION,
        shortcuts=("Ctrl+.",),
        icon="stop",
    ),
    ActionId.RESET: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "Rese&t"),
        tooltip=QT_TRANSLATE_NOOP(
            "Actions", "Load the recipe again and start from step 0, with the seed and device chosen here"
        ),
        menu=Menu.SESSION,
        shortcuts=("Ctrl+R",),
        icon="reset",
        verb=Verb.RESET,
    ),
    ActionId.RESTART_ENGINE: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "Restart en&gine"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "End the engine's process and start another; the plots stay"),
        menu=Menu.SESSION,
        icon="restart",
    ),
}
