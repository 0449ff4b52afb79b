"""What the actions do. One method for each row of the action table; dialogs are opened, never waited for."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

from PySide6.QtCore import QDir, QObject, Signal, Slot
from PySide6.QtWidgets import QWidget

from gradscope.protocol.capture import Capture, CaptureLevel, pattern_of
from gradscope.protocol.messages import Attachment
from gradscope.protocol.parts import Part
from gradscope.protocol.phases import RunUntil, Verb
from gradscope.protocol.scripts import Script
from gradscope.protocol.visible import visible
from gradscope.script_kind import is_script
from gradscope.state.topics import Topic
from gradscope.ui.actions.controller import Controller
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.actions.snapshot_export import SnapshotExport
from gradscope.ui.actions.time_travel import TimeTravel
from gradscope.ui.actions.what_ifs import WhatIfs
from gradscope.ui.dialogs.about import AboutDialog
from gradscope.ui.dialogs.capture_layers import CaptureLayersDialog
from gradscope.ui.dialogs.checkpoints import Checkpoints
from gradscope.ui.dialogs.export import ExportDialog
from gradscope.ui.dialogs.go_to_step import GoToStepDialog
from gradscope.ui.dialogs.open_file import OpenFileDialog
from gradscope.ui.dialogs.open_snapshot import OpenSnapshotDialog, may_be_snapshot
from gradscope.ui.dialogs.script_copies import ScriptCopies
from gradscope.ui.dialogs.script_memory import is_module
from gradscope.ui.dialogs.scripts import Scripts
from gradscope.ui.dialogs.settings import SettingsDialog
from gradscope.ui.dialogs.shortcuts import ShortcutsDialog
from gradscope.ui.dialogs.tensorboard import TensorBoardDialog
from gradscope.ui.look.settings import Setting, ThemeChoice
from gradscope.ui.words import text


class Commands(QObject):
    """`window` is the parent of dialogs; `plot_images` draws the plots for a snapshot, one by one."""

    told = Signal(str)
    """A message for the status bar."""
    layer_filter_wanted = Signal()
    console_wanted = Signal()
    comparison_wanted = Signal(str)
    """With the snapshot at this path."""
    run_comparison_wanted = Signal()
    """Of two files."""
    layout_reset_wanted = Signal()
    training_settings_wanted = Signal()
    check_up_wanted = Signal()
    stop_wanted = Signal()
    run_to_selected_wanted = Signal()
    start_page_toggled = Signal()

    def __init__(
        self, controller: Controller, *, window: QWidget, plot_images: Callable[[], Iterator[Attachment]]
    ) -> None:
        super().__init__(window)
        self._controller = controller
        self._settings = controller.settings
        self._window = window
        self._plot_images = plot_images
        self._checkpoints = Checkpoints(controller, window=window, parent=self)
        self._checkpoints.told.connect(self.told)
        self._script_copies = ScriptCopies(controller, window=window, parent=self)
        self._script_copies.told.connect(self.told)
        self.time = TimeTravel(controller, self)
        self.time.step_wanted.connect(self.choose_step)
        self.what_ifs = WhatIfs(controller, self)
        self._scripts = Scripts(controller, window=window, parent=self)

    def handlers(self) -> dict[ActionId, Callable[[], None]]:
        """What each action calls."""
        controller = self._controller
        return {
            ActionId.OPEN: self.choose_file,
            ActionId.OPEN_SNAPSHOT: self.open_snapshot,
            ActionId.CLOSE_SNAPSHOT: lambda: controller.close_snapshot(),
            ActionId.COMPARE: self.compare_with_snapshot,
            ActionId.COMPARE_RUNS: self.run_comparison_wanted.emit,
            ActionId.EXPORT: self.export_snapshot,
            ActionId.EXPORT_TENSORBOARD: self.export_to_tensorboard,
            ActionId.COPY_AS_SCRIPT: self._script_copies.copy,
            ActionId.SAVE_AS_SCRIPT: self._script_copies.save,
            ActionId.SAVE_CHECKPOINT: self._checkpoints.save,
            ActionId.SAVE_BEST: self._checkpoints.save_best,
            ActionId.LOAD_CHECKPOINT: self._checkpoints.load,
            ActionId.SETTINGS: self.show_settings,
            ActionId.QUIT: self.quit,
            ActionId.UNDO_EDIT: lambda: controller.undo_edit(),
            ActionId.EDIT_TRAINING: self.training_settings_wanted.emit,
            ActionId.FORWARD: lambda: controller.go(Verb.FORWARD),
            ActionId.BACKWARD: lambda: controller.go(Verb.BACKWARD),
            ActionId.STEP: lambda: controller.go(Verb.STEP),
            ActionId.STEP_INTO: lambda: controller.go(Verb.INTO),
            ActionId.STEP_OVER: lambda: controller.go(Verb.OVER),
            ActionId.STEP_OUT: lambda: controller.go(Verb.OUT),
            ActionId.RUN_TO_LAYER: self.run_to_selected_wanted.emit,
            ActionId.ADD_STOP: self.stop_wanted.emit,
            ActionId.ZERO_GRAD: lambda: controller.go(Verb.ZERO_GRAD),
            ActionId.VALIDATE: lambda: controller.go(Verb.VALIDATE),
            ActionId.NEXT_BATCH: lambda: controller.go_next(),
            ActionId.RUN_STEPS: lambda: controller.run(RunUntil.STEPS, self._settings.get(Setting.RUN_STEPS)),
            ActionId.RUN_EPOCH: lambda: controller.run(RunUntil.EPOCH),
            ActionId.RUN_UNTIL_PAUSED: lambda: controller.run(RunUntil.PAUSED),
            ActionId.PAUSE: lambda: controller.pause(),
            ActionId.CAPTURE_FULL: lambda: controller.set_capture(Capture(CaptureLevel.FULL)),
            ActionId.CAPTURE_LAYERS: self.choose_layers,
            ActionId.CAPTURE_NORMS: lambda: controller.set_capture(Capture(CaptureLevel.NORMS)),
            ActionId.CAPTURE_OFF: lambda: controller.set_capture(Capture(CaptureLevel.OFF)),
            ActionId.CHECK_UP: self.check_up_wanted.emit,
            ActionId.WHAT_IF: self.what_ifs.show,
            ActionId.PIN_PROBE: lambda: self.what_ifs.pin(),
            ActionId.SHOW_PROBE: self.what_ifs.probe_wanted.emit,
            ActionId.UNPIN_PROBE: lambda: self.what_ifs.unpin(),
            ActionId.INTERRUPT: lambda: controller.interrupt(),
            ActionId.RESET: lambda: controller.reset(),
            ActionId.RESTART_ENGINE: lambda: controller.restart_engine(),
            ActionId.END_ENGINE: lambda: controller.end_engine(),
            **self.time.handlers(),
            ActionId.PIN: self.toggle_pin,
            ActionId.START_PAGE: self.start_page_toggled.emit,
            ActionId.FIND_LAYER: self.layer_filter_wanted.emit,
            ActionId.CONSOLE: self.console_wanted.emit,
            ActionId.THEME_SYSTEM: lambda: self._settings.set(Setting.THEME, ThemeChoice.SYSTEM),
            ActionId.THEME_LIGHT: lambda: self._settings.set(Setting.THEME, ThemeChoice.LIGHT),
            ActionId.THEME_DARK: lambda: self._settings.set(Setting.THEME, ThemeChoice.DARK),
            ActionId.RESET_LAYOUT: self.layout_reset_wanted.emit,
            ActionId.SHORTCUTS: self.show_shortcuts,
            ActionId.ABOUT: self.show_about,
        }

    # ------------------------------------------------------------------------------------------ files

    @Slot(str)
    def open_file(self, path: str) -> None:
        """Open a recipe, a script or a snapshot; it becomes the first of the recent ones once it is open.

        A script is started as it was the last time. A module's path is "-m" and its name.
        """
        if is_module(path):
            self._scripts.reopen(path)
            return
        absolute = Path(path).expanduser().absolute()
        if not absolute.exists():
            self._settings.remove_recent_file(str(absolute))
        if may_be_snapshot(absolute):
            self._controller.open_snapshot(str(absolute))
        elif is_script(absolute):
            self._scripts.reopen(str(absolute))
        else:
            self._controller.open_recipe(str(absolute))

    @Slot(str)
    def ask_file(self, path: str) -> None:
        """The same, but for a script a dialog asks first how to start it."""
        absolute = Path(path).expanduser().absolute()
        if not may_be_snapshot(absolute) and is_script(absolute):
            self._scripts.ask(str(absolute))
        else:
            self.open_file(path)

    def open_script(self, script: Script) -> None:
        """As the command line says it."""
        self._scripts.open(script)

    @Slot()
    def choose_file(self) -> None:
        folder = self._settings.get(Setting.LAST_FOLDER)
        dialog = OpenFileDialog(folder=Path(folder or QDir.homePath()), parent=self._window)
        dialog.fileSelected.connect(self._on_file_chosen)
        dialog.open()

    @Slot()
    def open_snapshot(self) -> None:
        dialog = self._snapshot_dialog(self.tr("Open snapshot"))
        dialog.chosen.connect(self.open_file)
        dialog.open()

    @Slot()
    def compare_with_snapshot(self) -> None:
        dialog = self._snapshot_dialog(self.tr("Compare with snapshot"))
        dialog.chosen.connect(self.comparison_wanted)
        dialog.open()

    @Slot()
    def export_snapshot(self) -> None:
        session = self._controller.state.session
        if session is None:
            return
        folder = self._settings.get(Setting.EXPORT_FOLDER)
        stem = Path(session.path).stem or "snapshot"
        without = self._settings.get(Setting.EXPORT_WITHOUT)
        dialog = ExportDialog(
            SnapshotExport(self._controller, self._plot_images),
            folder=Path(folder or QDir.homePath()),
            name=f"{stem}-step{self._controller.state.position.step}",
            as_zip=self._settings.get(Setting.EXPORT_AS_ZIP),
            without=frozenset(part for part in Part if part in without),
            parent=self._window,
        )
        dialog.written.connect(self._on_snapshot_written)
        dialog.open()

    @Slot()
    def export_to_tensorboard(self) -> None:
        session = self._controller.state.session
        if session is None:
            return
        folder = self._settings.get(Setting.RUNS_FOLDER)
        stem = Path(session.path).stem or "run"
        dialog = TensorBoardDialog(
            self._controller.state.history,
            folder=Path(folder or QDir.homePath()),
            name=f"{stem}-step{self._controller.state.position.step}",
            owners=[group.optimizer for group in session.groups],
            parent=self._window,
        )
        dialog.written.connect(self._on_events_written)
        dialog.open()

    @Slot()
    def quit(self) -> None:
        self._window.close()

    @Slot()
    def toggle_pin(self) -> None:
        """Pin what is selected, or unpin it."""
        subject = self._controller.state.subject
        if subject is not None:
            self._controller.toggle_pin(subject)

    # ------------------------------------------------------------------------------------------ dialogs

    @Slot()
    def choose_layers(self) -> None:
        """Ask which layers to capture: those that are now, or else the one that is selected."""
        state = self._controller.state
        if state.session is None:
            return
        layers = state.capture.layers or ((pattern_of(state.selection.name),) if state.selection.name else ())
        dialog = CaptureLayersDialog(state.session, layers=layers, parent=self._window)
        dialog.chosen.connect(self._controller.set_capture)
        dialog.open()

    @Slot()
    def choose_step(self) -> None:
        """Ask where the training is to be taken: the step that is looked at, or else the newest, is offered first."""
        state = self._controller.state
        step = max(0, state.position.step - 1) if state.shown.step is None else state.shown.step
        ends = (branch.until_step for branch in state.timeline.branches.values())
        newest = max([state.position.step, state.shown.newest, *ends])
        dialog = GoToStepDialog(state, step=step, newest=newest, parent=self._window)
        dialog.chosen.connect(self.time.go)
        dialog.again_wanted.connect(self.time.script_again.start)
        dialog.look_wanted.connect(self._controller.show_step)
        dialog.open()

    @Slot()
    def show_settings(self) -> None:
        running = self._controller.state.engine.executable
        SettingsDialog(self._settings, running=running, parent=self._window).open()

    @Slot()
    def show_shortcuts(self) -> None:
        ShortcutsDialog(steps=self._settings.get(Setting.RUN_STEPS), parent=self._window).open()

    @Slot()
    def show_about(self) -> None:
        AboutDialog(self._controller.state.engine, parent=self._window).open()

    # ------------------------------------------------------------------------------------------ slots

    @Slot(str)
    def _on_file_chosen(self, path: str) -> None:
        self._settings.set(Setting.LAST_FOLDER, str(Path(path).parent))
        self.ask_file(path)

    @Slot(str, object)
    def _on_snapshot_written(self, path: str, size_bytes: int) -> None:
        dialog = self.sender()
        assert isinstance(dialog, ExportDialog)
        self._settings.set(Setting.EXPORT_FOLDER, str(Path(path).parent))
        self._settings.set(Setting.EXPORT_AS_ZIP, dialog.is_zip)
        self._settings.set(Setting.EXPORT_WITHOUT, [part for part in Part if part not in dialog.contents()])
        self.told.emit(
            self.tr("Exported to {path} ({size})").format(path=visible(path), size=text.byte_size(size_bytes))
        )

    @Slot(str, int)
    def _on_events_written(self, path: str, size_bytes: int) -> None:
        runs = Path(path).parent.parent
        self._settings.set(Setting.RUNS_FOLDER, str(runs))
        message = self.tr("Event files written to {path} ({size})").format(
            path=Path(path).parent, size=text.byte_size(size_bytes)
        )
        self.told.emit(message)
        look = self.tr("to look at them: {command}").format(command=f"tensorboard --logdir {shlex.quote(str(runs))}")
        self._controller.state.log.add(f"{message}; {look}")
        self._controller.state.touch(Topic.LOG)
        self._controller.flush()

    def _snapshot_dialog(self, title: str) -> OpenSnapshotDialog:
        folder = self._settings.get(Setting.EXPORT_FOLDER)
        dialog = OpenSnapshotDialog(title=title, folder=Path(folder or QDir.homePath()), parent=self._window)
        dialog.chosen.connect(self._on_snapshot_chosen)
        return dialog

    @Slot(str)
    def _on_snapshot_chosen(self, path: str) -> None:
        self._settings.set(Setting.EXPORT_FOLDER, str(Path(path).parent))
