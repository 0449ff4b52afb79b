"""The entries of the File menu, in its order."""

from __future__ import annotations

from gradscope.ui.actions.rows import ActionId, ActionRow, Menu
from gradscope.ui.words.translation import QT_TRANSLATE_NOOP

ROWS: dict[ActionId, ActionRow] = {
    ActionId.OPEN: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Open..."),
        tooltip=QT_TRANSLATE_NOOP(
            "Actions", "Open a training script, a notebook, or a Python file with a recipe() function"
        ),
        menu=Menu.FILE,
        shortcuts=("Ctrl+O",),
        icon="open",
    ),
    ActionId.OPEN_SNAPSHOT: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "Open s&napshot..."),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Look at a snapshot that was exported; the session waits behind it"),
        menu=Menu.FILE,
        shortcuts=("Ctrl+Shift+O",),
        icon="file",
    ),
    ActionId.EXPORT: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Export snapshot..."),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Write everything known of this moment to a folder"),
        menu=Menu.FILE,
        shortcuts=("Ctrl+E",),
        icon="export",
        needs_session=True,
    ),
    ActionId.EXPORT_TENSORBOARD: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "Export to Tensor&Board..."),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Write the history so far as event files, which TensorBoard shows"),
        menu=Menu.FILE,
        icon="chart",
        needs_session=True,
    ),
    ActionId.COPY_AS_SCRIPT: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "Cop&y as script"),
        tooltip=QT_TRANSLATE_NOOP(
            "Actions",
            "Copy a plain PyTorch script that comes to this moment without gradscope, and prints the same loss",
        ),
        menu=Menu.FILE,
        needs_session=True,
    ),
    ActionId.SAVE_AS_SCRIPT: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "Save as scr&ipt..."),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Write the same script to a file"),
        menu=Menu.FILE,
        needs_session=True,
        ends_section=True,
    ),
    ActionId.COMPARE: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "Co&mpare with snapshot..."),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Find out which tensors differ from those in a snapshot, and where"),
        menu=Menu.FILE,
        shortcuts=("Ctrl+D",),
        icon="layers",
        short=QT_TRANSLATE_NOOP("Actions", "Compare"),
        needs_session=True,
    ),
    ActionId.COMPARE_RUNS: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "Compare two &runs..."),
        tooltip=QT_TRANSLATE_NOOP(
            "Actions",
            "Find out where two recorded runs part, and what was different: snapshots, or files of JSON lines",
        ),
        menu=Menu.FILE,
    ),
    ActionId.CLOSE_SNAPSHOT: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "Close snaps&hot"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Go back to the session, or to the start page"),
        menu=Menu.FILE,
        shortcuts=("Ctrl+W",),
        icon="close",
        ends_section=True,
        short=QT_TRANSLATE_NOOP("Actions", "Close"),
    ),
    ActionId.SAVE_CHECKPOINT: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Save checkpoint..."),
        tooltip=QT_TRANSLATE_NOOP(
            "Actions", "Write weights, optimizer and scheduler, and what it takes to go on bit for bit, to a file"
        ),
        menu=Menu.FILE,
        shortcuts=("Ctrl+S",),
        icon="save",
        needs_session=True,
    ),
    ActionId.SAVE_BEST: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "Save best &weights..."),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Write the state_dict of the best validation so far to a file"),
        menu=Menu.FILE,
        needs_session=True,
    ),
    ActionId.LOAD_CHECKPOINT: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Load checkpoint..."),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Take the weights, and all else that fits, from a file"),
        menu=Menu.FILE,
        shortcuts=("Ctrl+L",),
        icon="load",
        needs_session=True,
        ends_section=True,
    ),
    ActionId.SETTINGS: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "Se&ttings..."),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Choose the interpreter that runs the engine, and the theme"),
        menu=Menu.FILE,
        shortcuts=("Ctrl+,",),
        icon="settings",
        ends_section=True,
    ),
    ActionId.QUIT: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Quit"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Close the window and end the engine"),
        menu=Menu.FILE,
        shortcuts=("Ctrl+Q",),
    ),
}
