"""What the inspector looks at: the name, which of its subjects, which moment, which form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import QButtonGroup, QComboBox, QHBoxLayout, QToolButton, QVBoxLayout, QWidget

from gradscope.protocol.subjects import LAYER_KINDS, PARAMETER_KINDS, SubjectKey, SubjectKind
from gradscope.protocol.visible import visible
from gradscope.state.app_state import AppState
from gradscope.state.selection import Selection
from gradscope.ui.inspector.pin_buttons import PinButtons
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.words.moment_text import moment_of
from gradscope.ui.widgets.elided_label import ElidedLabel
from gradscope.ui.widgets.fields import ComboBox
from gradscope.ui.widgets.flow_row import FlowRow
from gradscope.ui.widgets.plain import plain_tip
from gradscope.ui.widgets.steady_label import SteadyLabel
from gradscope.ui.words.optimizer_states import name_of
from gradscope.ui.words.text import shape as shape_text

if TYPE_CHECKING:
    from gradscope.ui.actions.controller import Controller


_LEAST_WIDTH = 120
_OPTIONAL = (SubjectKind.CLIPPED_GRAD, SubjectKind.OPTIMIZER_STATE)
"""Only some recipes have them."""

_MOMENT_LINES = 2


class SubjectHeader(QWidget):
    def __init__(self, controller: Controller, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._key: SubjectKey | None = None
        self._name = ElidedLabel(mode=Qt.TextElideMode.ElideMiddle)
        font = self._name.font()
        font.setBold(True)
        self._name.setFont(font)
        # Step by step it is longer, and what lies below stays where it is.
        self._moment = SteadyLabel(least_lines=_MOMENT_LINES, counts=True)
        self._moment.setContentsMargins(0, 0, 0, 0)
        self._moment.setProperty("role", "muted")
        self.pins = PinButtons(controller, themes)
        self._form = ElidedLabel()
        self._buttons = self._make_buttons()
        self._calls = self._make_chooser(self.tr("Call"))
        self._leaves = self._make_chooser(self.tr("Part of the output"))

        # Narrower than the buttons' texts, so that a text that wraps gets the height that it needs at the real width.
        self.setMinimumWidth(_LEAST_WIDTH)
        kinds = FlowRow(self, spacing=2)
        for kind in sorted(self._buttons, key=lambda kind: kind in _OPTIONAL):
            kinds.add(self._buttons[kind])
        choosers = QHBoxLayout()
        choosers.setSpacing(4)
        choosers.addWidget(self._calls)
        choosers.addWidget(self._leaves)
        choosers.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 8, 8, 4)
        layout.setSpacing(4)
        name = QHBoxLayout()
        name.setSpacing(4)
        name.addWidget(self._name, 1)
        name.addWidget(self.pins)
        layout.addLayout(name)
        layout.addWidget(kinds)
        layout.addLayout(choosers)
        layout.addWidget(self._form)
        layout.addWidget(self._moment)

    def show_subject(self, state: AppState, key: SubjectKey) -> None:
        """Show what is known of a subject, and which others there are."""
        if key != self._key:
            self._moment.start_anew()
        self._key = key
        latest = state.shown.latest(key)
        self._name.show_text(key.shown())
        self.pins.show_subject(state, key)
        possible = next((kinds for kinds in (LAYER_KINDS, PARAMETER_KINDS) if key.kind in kinds), {key.kind})
        for kind, button in self._buttons.items():
            is_there = kind not in _OPTIONAL or _first(state, kind, key.name) is not None
            button.setVisible(kind in possible and is_there)
            button.setChecked(kind is key.kind)
        known = [other for other in state.history.subjects(key.kind) if other.name == key.name]
        calls = sorted({other.call for other in known})
        leaves = [other.leaf for other in known if other.call == key.call]
        _fill(self._calls, [(self.tr("call {number}").format(number=call + 1), call) for call in calls], key.call)
        _fill(self._leaves, [(_leaf_text(key.kind, leaf) or self.tr("(whole)"), leaf) for leaf in leaves], key.leaf)
        is_state = key.kind is SubjectKind.OPTIMIZER_STATE
        self._leaves.setToolTip(
            plain_tip(self.tr("Which part of the state") if is_state else self.tr("Part of the output"))
        )
        self._moment.show_steadily(moment_of(state, latest) if latest is not None else "")
        self._moment.setVisible(latest is not None)
        self._form.setVisible(latest is not None)
        if latest is not None:
            row = latest.row
            parts = [shape_text(row.shape), row.dtype, row.note]
            self._form.show_text(" · ".join(part for part in parts if part))

    # ------------------------------------------------------------------------------------------ slots

    @Slot(int)
    def _on_kind_clicked(self, number: int) -> None:
        state, kind = self._controller.state, list(SubjectKind)[number]
        first = _first(state, kind, state.selection.name) if kind in _OPTIONAL else None
        self._controller.select(state.selection.with_kind(kind) if first is None else Selection.of_subject(first))

    @Slot(int)
    def _on_part_activated(self, _index: int) -> None:
        if self._key is None:
            return
        state = self._controller.state
        wanted = SubjectKey(
            self._key.kind, self._key.name, self._calls.currentData() or 0, self._leaves.currentData() or ""
        )
        if state.history.latest(wanted) is None:
            # Another call may have other parts.
            same_call = (
                key for key in state.history.subjects(wanted.kind) if (key.name, key.call) == (wanted.name, wanted.call)
            )
            wanted = next(same_call, wanted)
        self._controller.select(Selection.of_subject(wanted))

    # ------------------------------------------------------------------------------------------ private

    def _make_buttons(self) -> dict[SubjectKind, QToolButton]:
        texts = {
            SubjectKind.ACTIVATION: self.tr("Activation"),
            SubjectKind.ACTIVATION_GRAD: self.tr("Its gradient"),
            SubjectKind.PARAMETER: self.tr("Value"),
            SubjectKind.GRAD: self.tr("Gradient"),
            SubjectKind.UPDATE: self.tr("Update"),
            SubjectKind.CLIPPED_GRAD: self.tr("Clipped"),
            SubjectKind.OPTIMIZER_STATE: self.tr("State"),
            SubjectKind.BUFFER: self.tr("Buffer"),
        }
        tips = {
            SubjectKind.GRAD: self.tr("The parameter's .grad, before clipping"),
            SubjectKind.CLIPPED_GRAD: self.tr("The parameter's .grad after clipping, as the optimizer has seen it"),
            SubjectKind.OPTIMIZER_STATE: self.tr("What the optimizer remembers of the parameter"),
            SubjectKind.BUFFER: self.tr("A tensor that belongs to the layer and is no parameter: no gradient moves it"),
        }
        group = QButtonGroup(self)
        group.idClicked.connect(self._on_kind_clicked)
        buttons = {}
        for number, kind in enumerate(SubjectKind):
            # What is shown, or hidden for now, without a parent is a window of its own for a moment.
            button = QToolButton(self)
            button.setText(texts[kind])
            button.setToolTip(plain_tip(tips.get(kind, "")))
            button.setCheckable(True)
            # Until a subject is shown, the row asks for room for those that there is most often.
            button.setHidden(kind is SubjectKind.BUFFER)
            group.addButton(button, number)
            buttons[kind] = button
        return buttons

    def _make_chooser(self, name: str) -> QComboBox:
        chooser = ComboBox()
        chooser.setAccessibleName(name)
        chooser.setToolTip(plain_tip(name))
        chooser.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        chooser.activated.connect(self._on_part_activated)
        return chooser


def _leaf_text(kind: SubjectKind, leaf: str) -> str:
    return name_of(leaf) if kind is SubjectKind.OPTIMIZER_STATE else leaf


def _first(state: AppState, kind: SubjectKind, name: str | None) -> SubjectKey | None:
    """The first subject of a kind that a parameter has."""
    return next((key for key in state.history.subjects(kind) if key.name == name), None)


def _fill(chooser: QComboBox, items: list[tuple[str, object]], current: object) -> None:
    """Offer items; hidden where there is nothing to choose."""
    items = [(visible(text), data) for text, data in items]
    if [(chooser.itemText(i), chooser.itemData(i)) for i in range(chooser.count())] != items:
        chooser.clear()
        for text, data in items:
            chooser.addItem(text, data)
    chooser.setCurrentIndex(next((i for i, (_, data) in enumerate(items) if data == current), 0))
    chooser.setVisible(len(items) > 1)
