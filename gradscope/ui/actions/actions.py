"""The rows of the table as QActions: enabled, explained and drawn as state and theme ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from PySide6.QtCore import QCoreApplication, QObject, Slot
from PySide6.QtGui import QAction, QActionGroup, QKeySequence

from gradscope.protocol.phases import RunUntil
from gradscope.protocol.subjects import SubjectKind
from gradscope.state.engine import EngineStatus
from gradscope.state.topics import Topic
from gradscope.ui.actions.controller import Controller
from gradscope.ui.actions.menus.time import ROWS as TIME_ROWS
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.actions.table import TABLE
from gradscope.ui.actions.time_travel import time_refusal
from gradscope.ui.actions.what_ifs import WHAT_IF_ROWS, what_if_refusal
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.settings import Setting
from gradscope.ui.look.theme import ThemeManager, icon
from gradscope.ui.widgets.plain import caption, plain_tip
from gradscope.ui.widgets.redraw import owing
from gradscope.ui.words.capture import COSTS
from gradscope.ui.words.pins import pin_explanation, pin_text
from gradscope.ui.words.recipe import note_on
from gradscope.ui.words.text import shortened

_MAX_DETAIL = 60
"""Letters."""


class Actions(QObject):
    """The table's rows as QActions, enabled, explained and drawn as state and theme ask for."""

    TOPICS = frozenset(
        {
            *(Topic.ENGINE, Topic.SESSION, Topic.SETTINGS, Topic.POSITION, Topic.SCHEDULE, Topic.EDITS),
            *(Topic.SELECTION, Topic.PINS, Topic.FINDINGS, Topic.SHOWN, Topic.TIMELINE, Topic.WHAT_IF, Topic.PROBE),
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
        row, state = TABLE[action_id], self._controller.state
        if action_id is ActionId.PIN and state.subject is not None:
            return pin_text(state.subject.kind), pin_explanation(state.subject.kind)
        text, tooltip = row.in_script if row.in_script is not None and state.is_of_script else (row.text, row.tooltip)
        return translated(text, steps=steps) + self._detail(action_id), translated(tooltip, steps=steps)

    def _note(self, action_id: ActionId, steps: int) -> str:
        """What there is to add for the recipe or the script that is open."""
        verb = TABLE[action_id].verb
        if verb is None:
            return ""
        return note_on(verb, self._controller.state, run_steps=steps if action_id is ActionId.RUN_STEPS else None)

    def _detail(self, action_id: ActionId) -> str:
        """What an action would do just now, behind its text."""
        state = self._controller.state
        if action_id is ActionId.RESTORE_WEIGHTS or (action_id is ActionId.GO_TO_SHOWN and state.is_of_script):
            return " ..." if state.shown.step is None else f" {state.shown.step}"
        edit = state.edits.undoable if action_id is ActionId.UNDO_EDIT else None
        return "" if edit is None else ": " + caption(shortened(edit.text, at_most=_MAX_DETAIL))

    def _refusal(self, action_id: ActionId) -> str | None:
        """Why an action cannot be used now; None if it can."""
        row, state = TABLE[action_id], self._controller.state
        if action_id is ActionId.NEXT_BATCH:
            return state.refusal(state.next_verb)
        if row.until is not None:
            return state.run_refusal(row.until)
        if row.verb is not None:
            return state.refusal(row.verb)
        if row.level is not None:
            return state.capture_refusal()
        if row.needs_session and state.session is None:
            return self.tr("Open a script or a recipe first")
        if action_id is ActionId.START_PAGE:
            return None if state.session is not None else self.tr("It is shown: no recipe is open")
        if action_id is ActionId.ADD_STOP:
            return None if state.snapshot is None else self.tr("This is a snapshot: it cannot be trained")
        if action_id is ActionId.RUN_TO_LAYER:
            return state.run_refusal(RunUntil.PAUSED) or self._nothing_to_run_to()
        if action_id is ActionId.PIN:
            return None if state.subject is not None else self.tr("Select a layer, a parameter or a buffer first")
        if action_id is ActionId.CLOSE_SNAPSHOT:
            return None if state.snapshot is not None else self.tr("No snapshot is shown")
        if action_id is ActionId.COMPARE:
            # A snapshot stands still.
            return None if state.snapshot is not None else state.at_rest_refusal()
        if action_id is ActionId.EXPORT and state.snapshot is not None:
            return self.tr("This is a snapshot already")
        if action_id is ActionId.EXPORT:
            return state.at_rest_refusal()
        if action_id is ActionId.UNDO_EDIT:
            return state.undo_refusal()
        if action_id in (ActionId.SAVE_CHECKPOINT, ActionId.LOAD_CHECKPOINT):
            return state.checkpoint_refusal(loads=action_id is ActionId.LOAD_CHECKPOINT)
        if action_id in (ActionId.COPY_AS_SCRIPT, ActionId.SAVE_AS_SCRIPT):
            return state.reproduce_refusal()
        if action_id is ActionId.SAVE_BEST:
            return state.best_refusal()
        if action_id is ActionId.CHECK_UP:
            return state.check_up_refusal()
        if action_id in WHAT_IF_ROWS:
            return what_if_refusal(state, action_id)
        if action_id is ActionId.INTERRUPT:
            return state.interrupt_refusal()
        if action_id in TIME_ROWS:
            return time_refusal(state, action_id)
        return self._engine_refusal(action_id)

    def _nothing_to_run_to(self) -> str | None:
        selection = self._controller.state.selection
        is_layer = selection.name is not None and selection.kind is not SubjectKind.BUFFER
        return None if is_layer else self.tr("Select a layer or a parameter first")

    def _engine_refusal(self, action_id: ActionId) -> str | None:
        """Of the actions that are about the engine's process."""
        engine = self._controller.state.engine
        never = self._controller.state.engine_refusal_to_end()
        if never is not None and action_id in (ActionId.RESTART_ENGINE, ActionId.END_ENGINE):
            return never
        is_starting, is_there = engine.status is EngineStatus.STARTING, engine.status is EngineStatus.READY
        if action_id is ActionId.RESTART_ENGINE and is_starting and engine.script is None:
            return self.tr("The engine is starting")
        if action_id is ActionId.END_ENGINE and not (is_starting or is_there):
            return self.tr("No engine is running")
        return None


def translated(source: str, *, steps: int) -> str:
    """A text of the table in the user's language, with the number of steps in it."""
    context = "Capture" if source in COSTS.values() else "Actions"
    return QCoreApplication.translate(context, source).replace("%1", str(steps))


def plain(source: str) -> str:
    """Without the mark of the access key, and without the dots that announce a dialog."""
    return source.replace("&", "").removesuffix("...")
