"""The tool bar: the phases as buttons, running, and what the next session starts with."""

from __future__ import annotations

from enum import IntEnum

from PySide6.QtCore import QEvent, QRegularExpression, QSize, Qt, Slot
from PySide6.QtGui import QRegularExpressionValidator, QResizeEvent
from PySide6.QtWidgets import QComboBox, QLineEdit, QSpinBox, QToolBar, QToolButton, QWidget

from gradscope.protocol.messages import SessionInfo
from gradscope.protocol.phases import NEXT_PHASE, Phase, Rest
from gradscope.protocol.scripts import Ability
from gradscope.protocol.visible import visible
from gradscope.state.engine import EngineStatus
from gradscope.state.topics import Topic
from gradscope.ui.actions.actions import Actions, plain, translated
from gradscope.ui.actions.controller import Controller
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.actions.table import TABLE
from gradscope.ui.look.settings import Setting
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.widgets.action_button import ActionButton
from gradscope.ui.widgets.fields import ComboBox, SpinBox
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import PlainLabel, plain_tip
from gradscope.ui.widgets.redraw import owing
from gradscope.ui.widgets.tab_order import follow
from gradscope.ui.window.capture_button import CaptureButton

_BUTTON_OF_PHASE = {
    Phase.FORWARD: ActionId.FORWARD,
    Phase.BACKWARD: ActionId.BACKWARD,
    Phase.STEP: ActionId.STEP,
}
_LEVELS = (ActionId.CAPTURE_FULL, ActionId.CAPTURE_LAYERS, ActionId.CAPTURE_NORMS, ActionId.CAPTURE_OFF)
_INSIDE = (ActionId.STEP_INTO, ActionId.STEP_OVER, ActionId.STEP_OUT)
_SELDOM = (ActionId.ZERO_GRAD, ActionId.VALIDATE, ActionId.RESET)
_MAX_STEPS = 1_000_000
_MAX_SEED = 2**32 - 1


class _Texts(IntEnum):
    """How much text the buttons show, so that they fit."""

    NEVER = -1
    ALL = 0
    MOST = 1
    """Not beside the sign that everybody knows."""
    RUNNING = 2
    """Nor beside those that are pressed now and then."""
    PHASES = 3
    NONE = 4


_FITS = (
    (_Texts.ALL, True, False, True),
    (_Texts.ALL, False, False, True),
    (_Texts.ALL, False, True, True),
    (_Texts.ALL, False, True, False),
    (_Texts.MOST, False, True, False),
    (_Texts.RUNNING, True, False, False),
    (_Texts.RUNNING, False, True, False),
    (_Texts.PHASES, False, False, False),
    (_Texts.NONE, False, True, False),
)
"""From much room to little: which texts, whether the level of capture has its word before it, whether fields are narrow,
whether each way of stepping inside has a button of its own."""


@guarded
class ToolBar(QToolBar):
    """The buttons of the action table, the number of steps, the level of capture, the device and the seed."""

    _is_fitting = True

    def __init__(
        self, controller: Controller, themes: ThemeManager, actions: Actions, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._controller = controller
        self._themes = themes
        self._actions = actions
        self._texts = _Texts.ALL
        self.setObjectName("toolBar")
        self.setWindowTitle(self.tr("Tool bar"))
        self.setMovable(False)
        side = round(1.4 * self.fontMetrics().height())
        self.setIconSize(QSize(side, side))
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.PreventContextMenu)
        self.buttons = {
            action_id: self._button(action_id)
            for action_id in (
                ActionId.STEP_BACK,
                *_BUTTON_OF_PHASE.values(),
                *_INSIDE,
                ActionId.ZERO_GRAD,
                ActionId.VALIDATE,
                ActionId.NEXT_BATCH,
                ActionId.RUN_STEPS,
                ActionId.PAUSE,
                ActionId.RESET,
            )
        }
        self.buttons[ActionId.RUN_STEPS].set_drop_down(
            [actions[ActionId.RUN_STEPS], actions[ActionId.RUN_EPOCH], actions[ActionId.RUN_UNTIL_PAUSED]]
        )
        self.buttons[ActionId.STEP_INTO].set_drop_down(
            [actions[action_id] for action_id in (*_INSIDE, ActionId.RUN_TO_LAYER, ActionId.ADD_STOP)]
        )
        self.steps = self._steps_box()
        self.capture = CaptureButton(controller, themes, [actions[action_id] for action_id in _LEVELS], self)
        self.device = ComboBox(self)
        self.device.setAccessibleName(self.tr("Device"))
        self.device.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.device.activated.connect(self._on_device_activated)
        self.seed = self._seed_field()
        self._arrange()
        self._name_rest()
        self._is_fitting = False
        self._refresh()
        controller.refreshed.connect(self._on_refreshed)
        controller.settings.changed.connect(self._on_setting_changed)

    # ------------------------------------------------------------------------------------------ slots

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if topics & {Topic.ENGINE, Topic.SESSION, Topic.POSITION}:
            self._refresh()
        if topics & {Topic.SESSION, Topic.SETTINGS}:
            # The text of the level is longer or shorter now.
            self._fit()

    @Slot(str)
    def _on_setting_changed(self, key: str) -> None:
        if key == Setting.RUN_STEPS:
            self.steps.setValue(self._controller.settings.get(Setting.RUN_STEPS))
        elif key in (Setting.SEED, Setting.DEVICE):
            self._refresh_start()

    @Slot(int)
    def _on_steps_changed(self, steps: int) -> None:
        self._controller.settings.set(Setting.RUN_STEPS, steps)

    @Slot(int)
    def _on_device_activated(self, index: int) -> None:
        self._controller.settings.set(Setting.DEVICE, self.device.itemData(index))

    @Slot()
    def _on_seed_edited(self) -> None:
        if not self.seed.isEnabled():
            # It has lost the keyboard because a script has been opened.
            return
        seed = min(int(self.seed.text() or "0"), _MAX_SEED)
        self.seed.setText(str(seed))
        self._controller.settings.set(Setting.SEED, seed)
        self._refresh_start()

    # ------------------------------------------------------------------------------------------ private

    def _button(self, action_id: ActionId) -> ActionButton:
        row, action = TABLE[action_id], self._actions[action_id]
        assert row.icon is not None
        text = self._text_of(action_id)
        return ActionButton(action, icon_name=row.icon, text=text, themes=self._themes, parent=self)

    def _text_of(self, action_id: ActionId) -> str:
        row = TABLE[action_id]
        text = row.short or row.text
        if row.in_script is not None and self._controller.state.is_of_script:
            text = row.in_script[0]
        return plain(translated(text, steps=0))

    def _steps_box(self) -> QSpinBox:
        box = SpinBox(self)
        box.setRange(1, _MAX_STEPS)
        box.setValue(self._controller.settings.get(Setting.RUN_STEPS))
        box.setAccessibleName(self.tr("Number of steps"))
        box.setToolTip(self.tr("How many training steps Run makes"))
        box.setStepType(QSpinBox.StepType.AdaptiveDecimalStepType)
        box.setKeyboardTracking(False)
        box.valueChanged.connect(self._on_steps_changed)
        return box

    def _seed_field(self) -> QLineEdit:
        field = QLineEdit(self)
        field.setValidator(QRegularExpressionValidator(QRegularExpression("[0-9]{1,10}"), field))
        field.setAccessibleName(self.tr("Seed"))
        field.setAlignment(Qt.AlignmentFlag.AlignRight)
        field.editingFinished.connect(self._on_seed_edited)
        return field

    def _arrange(self) -> None:
        self.addWidget(self.buttons[ActionId.STEP_BACK])
        for action_id in _BUTTON_OF_PHASE.values():
            self.addWidget(self.buttons[action_id])
        self.addWidget(self.buttons[ActionId.STEP_INTO])
        # Where there is little room they are in the menu of the first.
        self._inside_parts = [self.addWidget(self.buttons[action_id]) for action_id in _INSIDE[1:]]
        self.addSeparator()
        self.addWidget(self.buttons[ActionId.ZERO_GRAD])
        self.addWidget(self.buttons[ActionId.VALIDATE])
        self.addSeparator()
        self.addWidget(self.buttons[ActionId.NEXT_BATCH])
        self.addWidget(self.buttons[ActionId.RUN_STEPS])
        self.addWidget(self.steps)
        self.addWidget(self.buttons[ActionId.PAUSE])
        self.addSeparator()
        self.addWidget(self.buttons[ActionId.RESET])
        self.addWidget(self.device)
        seed_label = PlainLabel(self.tr("Seed"), self)
        seed_label.setProperty("role", "muted")
        seed_label.setContentsMargins(4, 0, 0, 0)
        seed_label.setBuddy(self.seed)
        self._seed_parts = (self.addWidget(seed_label), self.addWidget(self.seed))
        self._last_gap = self.addSeparator()
        # At the end: its text is longer and shorter, and nothing moves with it.
        self.addWidget(self.capture)
        buttons = self.buttons
        first, *others = (buttons[i] for i in buttons if i not in (ActionId.PAUSE, ActionId.RESET))
        ends = (buttons[ActionId.PAUSE], buttons[ActionId.RESET])
        follow(first, (*others, self.steps, *ends, self.device, self.seed, self.capture))

    def _name_rest(self) -> None:
        """Qt's button for what has no room has only a picture."""
        rest = self.findChild(QToolButton, "qt_toolbar_ext_button")
        assert rest is not None
        rest.setAccessibleName(self.tr("More of the tool bar"))
        rest.setToolTip(plain_tip(self.tr("What has no room in the tool bar")))

    def _refresh(self) -> None:
        state, natural = self._controller.state, self._natural()
        for action_id, button in self.buttons.items():
            button.set_text(self._text_of(action_id))
            button.set_emphasised(action_id is natural and button.isEnabled())
        is_of_script = state.snapshot is None and state.is_of_script
        for field in (self.device, self.seed, self.steps):
            # A snapshot is looked at, and nothing begins from there. A script chooses for itself.
            field.setEnabled(state.snapshot is None and (field is self.steps or not is_of_script))
        for part in self._seed_parts:
            part.setVisible(not is_of_script)
        self._refresh_devices()
        self._refresh_start()
        self._fit()

    def _natural(self) -> ActionId | None:
        """What is to be pressed next."""
        state = self._controller.state
        if state.position.running:
            return ActionId.PAUSE
        if state.engine.status is not EngineStatus.READY or state.opening is not None:
            return None
        if state.in_script:
            # Which phase comes next is known to the script alone.
            return ActionId.RESET if state.position.rest is Rest.ENDED else ActionId.NEXT_BATCH
        next_phase = NEXT_PHASE.get(state.position.rest)
        return _BUTTON_OF_PHASE[next_phase] if next_phase else None

    def _refresh_devices(self) -> None:
        devices = [(visible(device.label), device.name) for device in self._controller.state.engine.devices]
        shown = [(self.device.itemText(i), self.device.itemData(i)) for i in range(self.device.count())]
        # While no engine runs, the devices of the last one stand.
        if devices == shown or (not devices and shown):
            return
        self.device.clear()
        for label, name in devices:
            self.device.addItem(label, name)
        if not devices:
            chosen = self._controller.settings.get(Setting.DEVICE)
            self.device.addItem(visible(chosen), chosen)
        self._fit()

    def _refresh_start(self) -> None:
        """Device and seed of the settings, marked where the session has others. In a script, the script's own device."""
        settings, state = self._controller.settings, self._controller.state
        session = state.session if state.snapshot is None else None
        if session is not None and session.script is not None:
            self._show_start_of_script(session)
            return
        device, seed = settings.get(Setting.DEVICE), settings.get(Setting.SEED)
        self._choose_device(device)
        if not self.seed.hasFocus() or not self.seed.isModified():
            self.seed.setText(str(seed))
        later = self.tr("The session has another one: press Reset to start again with this")
        other_device = session is not None and session.device != device
        other_seed = session is not None and session.seed != seed
        self._mark(self.device, other_device, self.tr("The device that the model is trained on"), later)
        self._mark(self.seed, other_seed, self.tr("The seed of every random generator"), later)

    def _show_start_of_script(self, session: SessionInfo) -> None:
        self._choose_device(session.device)
        self.seed.setText("")
        self.seed.setPlaceholderText("–")
        self._mark(self.device, False, self.tr("The script chooses its own device"), "")
        own_seed = self.tr("The script sets its own seed")
        self._mark(self.seed, False, session.refused.get(Ability.SEED, own_seed), "")

    def _choose_device(self, device: str) -> None:
        index = self.device.findData(device)
        if index < 0:
            self.device.addItem(visible(device), device)
            index = self.device.count() - 1
        self.device.setCurrentIndex(index)

    def _mark(self, field: QWidget, differs: bool, tooltip: str, later: str) -> None:
        field.setToolTip(plain_tip(f"{tooltip}\n{later}" if differs else tooltip))
        if bool(field.property("differs")) != differs:
            field.setProperty("differs", differs)
            field.style().polish(field)

    def _fit(self) -> None:
        """Show as much text as there is room for."""
        if self._is_fitting:
            return
        self._is_fitting = True
        try:
            for texts, is_long, is_narrow, has_inside in _FITS:
                self._show_texts(texts)
                self.capture.show_long(is_long)
                self._narrow_fields(is_narrow)
                for part in self._inside_parts:
                    part.setVisible(has_inside)
                label, field = self._seed_parts
                label.setVisible(field.isVisible() and texts is not _Texts.NONE)
                self._last_gap.setVisible(texts is not _Texts.NONE)
                if self.sizeHint().width() <= self.width():
                    break
        finally:
            self._is_fitting = False

    def _show_texts(self, texts: _Texts) -> None:
        styles = Qt.ToolButtonStyle
        for action_id, button in self.buttons.items():
            has_text = action_id is not ActionId.STEP_BACK and texts <= _last_with_text(action_id)
            button.setToolButtonStyle(styles.ToolButtonTextBesideIcon if has_text else styles.ToolButtonIconOnly)

    def _narrow_fields(self, is_narrow: bool) -> None:
        """As wide as the largest number needs, which is less than the style would leave; in a narrow window, as most do."""
        metrics = self.fontMetrics()
        suffix, largest, digits = ("", "0" * 5, 6) if is_narrow else (self.tr(" steps"), str(_MAX_STEPS), 13)
        self.steps.setSuffix(suffix)
        self.steps.setMaximumWidth(metrics.horizontalAdvance(f"{largest}{suffix}") + 3 * metrics.height())
        self.seed.setMaximumWidth(metrics.horizontalAdvance("0" * digits))

    # ------------------------------------------------------------------------------------------ Qt

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._fit()


def _last_with_text(action_id: ActionId) -> _Texts:
    if action_id in _BUTTON_OF_PHASE.values():
        return _Texts.PHASES
    if action_id in _INSIDE:
        # They have pictures only, as in every debugger.
        return _Texts.NEVER
    if action_id is ActionId.PAUSE:
        return _Texts.ALL
    return _Texts.MOST if action_id in _SELDOM else _Texts.RUNNING
