"""What there is to say of an action, and the names of all actions and menus."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gradscope.protocol.capture import CaptureLevel
from gradscope.protocol.phases import RunUntil, Verb
from gradscope.ui.look.settings import ThemeChoice
from gradscope.ui.words.translation import QT_TRANSLATE_NOOP


class Menu(StrEnum):
    FILE = QT_TRANSLATE_NOOP("Actions", "&File")
    EDIT = QT_TRANSLATE_NOOP("Actions", "&Edit")
    SESSION = QT_TRANSLATE_NOOP("Actions", "&Session")
    STOPS = QT_TRANSLATE_NOOP("Actions", "St&ops and stepping")
    CAPTURE = QT_TRANSLATE_NOOP("Actions", "&Capture")
    TIME = QT_TRANSLATE_NOOP("Actions", "&Time")
    LAYER = QT_TRANSLATE_NOOP("Actions", "&Layer")
    VIEW = QT_TRANSLATE_NOOP("Actions", "&View")
    THEME = QT_TRANSLATE_NOOP("Actions", "&Theme")
    HELP = QT_TRANSLATE_NOOP("Actions", "&Help")


class ActionId(StrEnum):
    OPEN = "open"
    OPEN_SNAPSHOT = "open_snapshot"
    CLOSE_SNAPSHOT = "close_snapshot"
    COMPARE = "compare"
    COMPARE_RUNS = "compare_runs"
    EXPORT = "export"
    EXPORT_TENSORBOARD = "export_tensorboard"
    COPY_AS_SCRIPT = "copy_as_script"
    SAVE_AS_SCRIPT = "save_as_script"
    SAVE_CHECKPOINT = "save_checkpoint"
    SAVE_BEST = "save_best"
    LOAD_CHECKPOINT = "load_checkpoint"
    SETTINGS = "settings"
    QUIT = "quit"
    UNDO_EDIT = "undo_edit"
    EDIT_TRAINING = "edit_training"
    FORWARD = "forward"
    BACKWARD = "backward"
    STEP = "step"
    STEP_INTO = "step_into"
    STEP_OVER = "step_over"
    STEP_OUT = "step_out"
    RUN_TO_LAYER = "run_to_layer"
    ADD_STOP = "add_stop"
    ZERO_GRAD = "zero_grad"
    VALIDATE = "validate"
    NEXT_BATCH = "next_batch"
    RUN_STEPS = "run_steps"
    RUN_EPOCH = "run_epoch"
    RUN_UNTIL_PAUSED = "run_until_paused"
    PAUSE = "pause"
    CAPTURE_FULL = "capture_full"
    CAPTURE_LAYERS = "capture_layers"
    CAPTURE_NORMS = "capture_norms"
    CAPTURE_OFF = "capture_off"
    CHECK_UP = "check_up"
    WHAT_IF = "what_if"
    PIN_PROBE = "pin_probe"
    SHOW_PROBE = "show_probe"
    UNPIN_PROBE = "unpin_probe"
    INTERRUPT = "interrupt"
    RESET = "reset"
    RESTART_ENGINE = "restart_engine"
    END_ENGINE = "end_engine"
    SHOW_EARLIER = "show_earlier"
    SHOW_LATER = "show_later"
    SHOW_NOW = "show_now"
    STEP_BACK = "step_back"
    STEP_BACK_WHOLE = "step_back_whole"
    GO_TO_STEP = "go_to_step"
    GO_TO_SHOWN = "go_to_shown"
    RESTORE_WEIGHTS = "restore_weights"
    PIN = "pin"
    START_PAGE = "start_page"
    FIND_LAYER = "find_layer"
    CONSOLE = "console"
    THEME_SYSTEM = "theme_system"
    THEME_LIGHT = "theme_light"
    THEME_DARK = "theme_dark"
    RESET_LAYOUT = "reset_layout"
    SHORTCUTS = "shortcuts"
    ABOUT = "about"


@dataclass(frozen=True, kw_only=True)
class ActionRow:
    """What there is to say of one action. `%1` in a text is the number of steps of the run."""

    text: str
    tooltip: str
    menu: Menu
    shortcuts: tuple[str, ...] = ()
    icon: str | None = None
    short: str | None = None
    """The text of its button, if it is shorter."""
    in_script: tuple[str, str] | None = None
    """Text and tooltip where a script drives the session, if it stands for something else there."""
    verb: Verb | None = None
    """The phase table says when it can be used."""
    until: RunUntil | None = None
    """Of a run."""
    needs_session: bool = False
    choice: ThemeChoice | None = None
    """It is one of several choices, and checked if the setting has this value."""
    level: CaptureLevel | None = None
    """It is checked if the session captures at this level."""
    is_toggle: bool = False
    """It is checked while it is so."""
    ends_section: bool = False
    """A line follows it in the menu."""
