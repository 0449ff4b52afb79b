"""The table of actions. Menus, tool bar, shortcuts and the list of shortcuts are all made from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from PySide6.QtCore import QCoreApplication, QObject, Slot
from PySide6.QtGui import QAction, QActionGroup, QKeySequence

from gradscope.protocol.capture import CaptureLevel
from gradscope.protocol.phases import Verb
from gradscope.state.app_state import EngineStatus, Topic
from gradscope.ui.capture_words import COSTS
from gradscope.ui.controller import Controller
from gradscope.ui.pin_words import pin_explanation, pin_text
from gradscope.ui.plain import caption, plain_tip
from gradscope.ui.recipe_notes import note_on
from gradscope.ui.redraw import owing
from gradscope.ui.settings import Setting, ThemeChoice
from gradscope.ui.text import shortened
from gradscope.ui.theme import Theme, ThemeManager, icon
from gradscope.ui.translation import QT_TRANSLATE_NOOP

_MAX_DETAIL = 60
"""Letters."""


class Menu(StrEnum):
    FILE = QT_TRANSLATE_NOOP("Actions", "&File")
    EDIT = QT_TRANSLATE_NOOP("Actions", "&Edit")
    SESSION = QT_TRANSLATE_NOOP("Actions", "&Session")
    CAPTURE = QT_TRANSLATE_NOOP("Actions", "&Capture")
    LAYER = QT_TRANSLATE_NOOP("Actions", "&Layer")
    VIEW = QT_TRANSLATE_NOOP("Actions", "&View")
    THEME = QT_TRANSLATE_NOOP("Actions", "&Theme")
    HELP = QT_TRANSLATE_NOOP("Actions", "&Help")


class ActionId(StrEnum):
    OPEN = "open"
    OPEN_SNAPSHOT = "open_snapshot"
    CLOSE_SNAPSHOT = "close_snapshot"
    COMPARE = "compare"
    EXPORT = "export"
    EXPORT_TENSORBOARD = "export_tensorboard"
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
    INTERRUPT = "interrupt"
    RESET = "reset"
    RESTART_ENGINE = "restart_engine"
    PIN = "pin"
    START_PAGE = "start_page"
    FIND_LAYER = "find_layer"
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
    verb: Verb | None = None
    """The phase table says when it can be used."""
    needs_session: bool = False
    choice: ThemeChoice | None = None
    """It is one of several choices, and checked if the setting has this value."""
    level: CaptureLevel | None = None
    """It is checked if the session captures at this level."""
    is_toggle: bool = False
    """It is checked while it is so."""
    ends_section: bool = False
    """A line follows it in the menu."""


TABLE: dict[ActionId, ActionRow] = {
    ActionId.OPEN: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Open recipe..."),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Open a Python file with a recipe() function"),
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
    ActionId.COMPARE: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "Co&mpare with snapshot..."),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Find out which tensors differ from those in a snapshot, and where"),
        menu=Menu.FILE,
        shortcuts=("Ctrl+D",),
        icon="layers",
        short=QT_TRANSLATE_NOOP("Actions", "Compare"),
        needs_session=True,
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
    ActionId.CAPTURE_FULL: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Full"),
        tooltip=COSTS[CaptureLevel.FULL],
        menu=Menu.CAPTURE,
        level=CaptureLevel.FULL,
    ),
    ActionId.CAPTURE_LAYERS: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Chosen layers..."),
        tooltip=COSTS[CaptureLevel.LAYERS],
        menu=Menu.CAPTURE,
        level=CaptureLevel.LAYERS,
    ),
    ActionId.CAPTURE_NORMS: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Norms only"),
        tooltip=COSTS[CaptureLevel.NORMS],
        menu=Menu.CAPTURE,
        level=CaptureLevel.NORMS,
    ),
    ActionId.CAPTURE_OFF: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Off"),
        tooltip=COSTS[CaptureLevel.OFF],
        menu=Menu.CAPTURE,
        level=CaptureLevel.OFF,
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
    ActionId.PIN: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Pin"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Keep the values of what is selected through a run, and have it at hand"),
        menu=Menu.LAYER,
        shortcuts=("Ctrl+P",),
        needs_session=True,
        is_toggle=True,
    ),
    ActionId.START_PAGE: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Start page"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Show the samples and the recent files, or the session again; it goes on"),
        menu=Menu.VIEW,
        shortcuts=("Alt+Home",),
        icon="home",
        is_toggle=True,
    ),
    ActionId.FIND_LAYER: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Find layer"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Go to the filter of the layers"),
        menu=Menu.VIEW,
        shortcuts=("Ctrl+F",),
        icon="search",
        ends_section=True,
    ),
    ActionId.RESET_LAYOUT: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Reset layout"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Put every panel back in its first place"),
        menu=Menu.VIEW,
    ),
    ActionId.THEME_SYSTEM: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "As the &system"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Light or dark, as the desktop is"),
        menu=Menu.THEME,
        choice=ThemeChoice.SYSTEM,
    ),
    ActionId.THEME_LIGHT: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Light"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Dark on light"),
        menu=Menu.THEME,
        icon="sun",
        choice=ThemeChoice.LIGHT,
    ),
    ActionId.THEME_DARK: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Dark"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Light on dark"),
        menu=Menu.THEME,
        icon="moon",
        choice=ThemeChoice.DARK,
    ),
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


class Actions(QObject):
    """The table's rows as QActions, enabled, explained and drawn as state and theme ask for."""

    TOPICS = frozenset(
        {
            *(Topic.ENGINE, Topic.SESSION, Topic.SETTINGS, Topic.POSITION, Topic.SCHEDULE, Topic.EDITS),
            *(Topic.SELECTION, Topic.PINS),
        }
    )

    def __init__(
        self,
        controller: Controller,
        themes: ThemeManager,
        handlers: Mapping[ActionId, Callable[[], None]],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._controller = controller
        self._themes = themes
        self._actions = {action_id: QAction(self) for action_id in TABLE}
        self._choices = QActionGroup(self)
        self._levels = QActionGroup(self)
        # Optional: without a session there is no level.
        self._levels.setExclusionPolicy(QActionGroup.ExclusionPolicy.ExclusiveOptional)
        for action_id, row in TABLE.items():
            action = self._actions[action_id]
            action.setObjectName(action_id.value)
            action.setShortcuts([QKeySequence(shortcut) for shortcut in row.shortcuts])
            action.triggered.connect(handlers[action_id])
            action.setCheckable(row.is_toggle)
            if row.choice is not None:
                action.setCheckable(True)
                self._choices.addAction(action)
            if row.level is not None:
                action.setCheckable(True)
                self._levels.addAction(action)
                # The engine has the last word: until it has changed the level, the mark stays where it was.
                action.triggered.connect(self._refresh)
        self._actions[ActionId.QUIT].setMenuRole(QAction.MenuRole.QuitRole)
        self._actions[ActionId.ABOUT].setMenuRole(QAction.MenuRole.AboutRole)
        self._actions[ActionId.SETTINGS].setMenuRole(QAction.MenuRole.PreferencesRole)
        self._on_theme_changed(themes.theme)
        self._refresh()
        themes.changed.connect(self._on_theme_changed)
        controller.refreshed.connect(self._on_refreshed)
        controller.settings.changed.connect(self._on_setting_changed)

    def __getitem__(self, action_id: ActionId) -> QAction:
        return self._actions[action_id]

    def refusal_of_key(self, keys: QKeySequence) -> str:
        """What these keys stand for and why it cannot be done now; "" where it can, or where they stand for nothing."""
        for action_id, action in self._actions.items():
            reason = None if action.isEnabled() or keys not in action.shortcuts() else self._refusal(action_id)
            if reason is not None:
                return f"{plain(action.text())}: {reason}"
        return ""

    @Slot(object)
    def _on_theme_changed(self, theme: Theme) -> None:
        for action_id, row in TABLE.items():
            if row.icon is not None:
                self._actions[action_id].setIcon(icon(row.icon, theme))

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if topics & self.TOPICS:
            self._refresh()

    @Slot(str)
    def _on_setting_changed(self, key: str) -> None:
        if key in (Setting.RUN_STEPS, Setting.THEME):
            self._refresh()

    @Slot()
    def _refresh(self) -> None:
        steps = self._controller.settings.get(Setting.RUN_STEPS)
        for action_id, row in TABLE.items():
            action, reason = self._actions[action_id], self._refusal(action_id)
            text, explanation = self._words(action_id, steps)
            action.setText(text)
            action.setEnabled(reason is None)
            shortcut = action.shortcut().toString(QKeySequence.SequenceFormat.NativeText)
            title = plain(action.text()) + (f"  ({shortcut})" if shortcut else "")
            lines = (title, explanation, self._note(action_id, steps), reason)
            action.setToolTip(plain_tip("\n".join(line for line in lines if line)))
            if row.choice is not None:
                action.setChecked(self._controller.settings.get(Setting.THEME) == row.choice)
            if row.level is not None:
                state = self._controller.state
                action.setChecked(state.session is not None and state.capture.level is row.level)
            if action_id is ActionId.PIN:
                action.setChecked(self._controller.state.subject in self._controller.state.pins)

    def _words(self, action_id: ActionId, steps: int) -> tuple[str, str]:
        """What an action is called just now, and what it does."""
        row, subject = TABLE[action_id], self._controller.state.subject
        if action_id is ActionId.PIN and subject is not None:
            return pin_text(subject.kind), pin_explanation(subject.kind)
        return translated(row.text, steps=steps) + self._detail(action_id), translated(row.tooltip, steps=steps)

    def _note(self, action_id: ActionId, steps: int) -> str:
        """What there is to add for the recipe that is open."""
        verb = TABLE[action_id].verb
        if verb is None:
            return ""
        return note_on(verb, self._controller.state, run_steps=steps if action_id is ActionId.RUN_STEPS else None)

    def _detail(self, action_id: ActionId) -> str:
        """What an action would do just now, behind its text."""
        edit = self._controller.state.edits.undoable if action_id is ActionId.UNDO_EDIT else None
        return "" if edit is None else ": " + caption(shortened(edit.text, at_most=_MAX_DETAIL))

    def _refusal(self, action_id: ActionId) -> str | None:
        """Why an action cannot be used now; None if it can."""
        row, state = TABLE[action_id], self._controller.state
        if row.verb is not None:
            return state.refusal(row.verb)
        if row.level is not None:
            return state.capture_refusal()
        if row.needs_session and state.session is None:
            return self.tr("Open a recipe first")
        if action_id is ActionId.START_PAGE:
            return None if state.session is not None else self.tr("It is shown: no recipe is open")
        if action_id is ActionId.PIN:
            return None if state.subject is not None else self.tr("Select a layer or a parameter first")
        if action_id is ActionId.CLOSE_SNAPSHOT:
            return None if state.snapshot is not None else self.tr("No snapshot is shown")
        if action_id is ActionId.COMPARE:
            # A snapshot stands still; of a session, any verb that is allowed at rest would do.
            return None if state.snapshot is not None else state.refusal(Verb.NEXT_BATCH)
        if action_id is ActionId.EXPORT and state.snapshot is not None:
            return self.tr("This is a snapshot already")
        if action_id is ActionId.EXPORT:
            # Any verb that is allowed at rest would do; Next batch always is.
            return state.refusal(Verb.NEXT_BATCH)
        if action_id is ActionId.UNDO_EDIT:
            return state.undo_refusal()
        if action_id in (ActionId.SAVE_CHECKPOINT, ActionId.LOAD_CHECKPOINT):
            return state.checkpoint_refusal()
        if action_id is ActionId.SAVE_BEST:
            return state.best_refusal()
        if action_id is ActionId.INTERRUPT and state.snapshot is not None:
            return state.refusal(Verb.PAUSE)
        if action_id is ActionId.INTERRUPT:
            return None if state.position.running else self.tr("Nothing is running")
        if action_id is ActionId.RESTART_ENGINE and state.engine.status is EngineStatus.STARTING:
            return self.tr("The engine is starting")
        return None


def translated(source: str, *, steps: int) -> str:
    """A text of the table in the user's language, with the number of steps in it."""
    context = "Capture" if source in COSTS.values() else "Actions"
    return QCoreApplication.translate(context, source).replace("%1", str(steps))


def plain(source: str) -> str:
    """Without the mark of the access key, and without the dots that announce a dialog."""
    return source.replace("&", "").removesuffix("...")
