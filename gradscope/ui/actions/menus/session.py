"""The entries of the Session menu, in its order; its Capture menu has a file of its own."""

from __future__ import annotations

from gradscope.protocol.phases import RunUntil, Verb
from gradscope.ui.actions.rows import ActionId, ActionRow, Menu
from gradscope.ui.words.translation import QT_TRANSLATE_NOOP

ROWS: dict[ActionId, ActionRow] = {
    ActionId.FORWARD: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Forward"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Load the batch, run the model and the loss"),
        menu=Menu.SESSION,
        shortcuts=("F5",),
        icon="forward",
        in_script=(
            QT_TRANSLATE_NOOP("Actions", "&Forward"),
            QT_TRANSLATE_NOOP("Actions", "Let the script run on to the end of its next forward"),
        ),
        verb=Verb.FORWARD,
    ),
    ActionId.BACKWARD: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Backward"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Compute the gradients of the loss"),
        menu=Menu.SESSION,
        shortcuts=("F6",),
        icon="backward",
        in_script=(
            QT_TRANSLATE_NOOP("Actions", "&Backward"),
            QT_TRANSLATE_NOOP("Actions", "Let the script run on to the end of its next backward"),
        ),
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
        in_script=(
            QT_TRANSLATE_NOOP("Actions", "&Step"),
            QT_TRANSLATE_NOOP("Actions", "Let the script run on to the end of its next optimizer step"),
        ),
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
    ),
    ActionId.CHECK_UP: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "Chec&k-up..."),
        tooltip=QT_TRANSLATE_NOOP(
            "Actions",
            "Try out what may be wrong with this training, on its own state; everything is put back, bit for bit",
        ),
        menu=Menu.SESSION,
        shortcuts=("Ctrl+Shift+U",),
        icon="validate",
        needs_session=True,
    ),
    ActionId.WHAT_IF: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&What if..."),
        tooltip=QT_TRANSLATE_NOOP(
            "Actions",
            "Try the step that comes at other rates, without clipping, with another optimizer; everything is put back",
        ),
        menu=Menu.SESSION,
        shortcuts=("Ctrl+Shift+I",),
        needs_session=True,
    ),
    ActionId.PIN_PROBE: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "Pin t&his batch as a probe"),
        tooltip=QT_TRANSLATE_NOOP(
            "Actions", "Run the newest batch again after each step, beside the training, and draw what it comes to"
        ),
        menu=Menu.SESSION,
        needs_session=True,
    ),
    ActionId.SHOW_PROBE: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Look at the probe"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "What the pinned batch has come to over the steps"),
        menu=Menu.SESSION,
        needs_session=True,
    ),
    ActionId.UNPIN_PROBE: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "Unpin the b&atch"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "The pinned batch is not run any more"),
        menu=Menu.SESSION,
        needs_session=True,
        ends_section=True,
    ),
    ActionId.NEXT_BATCH: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Next batch"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Finish this training step, or make a whole one"),
        menu=Menu.SESSION,
        shortcuts=("F8",),
        icon="next_batch",
        in_script=(
            QT_TRANSLATE_NOOP("Actions", "&Next"),
            QT_TRANSLATE_NOOP(
                "Actions", "Let the script run on to the end of its next phase: forward, backward or step"
            ),
        ),
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
        until=RunUntil.STEPS,
    ),
    ActionId.RUN_EPOCH: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "Run to the end of the &epoch"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Make training steps until the pass over the data is complete"),
        menu=Menu.SESSION,
        shortcuts=("Ctrl+F9",),
        verb=Verb.RUN,
        until=RunUntil.EPOCH,
    ),
    ActionId.RUN_UNTIL_PAUSED: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "Run &until paused"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Make training steps until Pause is pressed"),
        menu=Menu.SESSION,
        shortcuts=("Ctrl+Shift+F9",),
        in_script=(
            QT_TRANSLATE_NOOP("Actions", "Run &until paused"),
            QT_TRANSLATE_NOOP("Actions", "Let the script run on until Pause is pressed, or it ends"),
        ),
        verb=Verb.RUN,
        until=RunUntil.PAUSED,
    ),
    ActionId.PAUSE: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Pause"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Stop at the next moment, also inside a phase"),
        menu=Menu.SESSION,
        shortcuts=("Shift+F9", "Pause"),
        icon="pause",
        verb=Verb.PAUSE,
        ends_section=True,
    ),
    ActionId.INTERRUPT: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Interrupt"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Break off the phase that is running, and undo it"),
        in_script=(
            QT_TRANSLATE_NOOP("Actions", "&Interrupt"),
            QT_TRANSLATE_NOOP("Actions", "Pause; where the script comes to no layer or phase, say where it is"),
        ),
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
        in_script=(
            QT_TRANSLATE_NOOP("Actions", "Rese&t"),
            QT_TRANSLATE_NOOP(
                "Actions", "End the script and start it again, as it was started before, in a new process"
            ),
        ),
        verb=Verb.RESET,
    ),
    ActionId.RESTART_ENGINE: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "Restart en&gine"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "End the engine's process and start another; the plots stay"),
        menu=Menu.SESSION,
        icon="restart",
    ),
    ActionId.END_ENGINE: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "En&d engine"),
        tooltip=QT_TRANSLATE_NOOP(
            "Actions", "End the engine's process at once, whatever it does, and with it what it runs; the plots stay"
        ),
        menu=Menu.SESSION,
        icon="stop",
    ),
}
