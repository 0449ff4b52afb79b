"""What the menu of a layer, a parameter or a buffer says of pinning it."""

from __future__ import annotations

from functools import partial

from PySide6.QtWidgets import QMenu

from gradscope.protocol.subjects import LAYER_KINDS, SubjectKey, SubjectKind
from gradscope.state.selection import Selection, selected_subject
from gradscope.state.tree import Node
from gradscope.ui.actions.controller import Controller
from gradscope.ui.widgets.plain import plain_tip
from gradscope.ui.words.pins import pin_explanation, pin_text

_OF_LAYERS = (SubjectKind.ACTIVATION, SubjectKind.ACTIVATION_GRAD)


def add_pins(menu: QMenu, controller: Controller, node: Node) -> None:
    """Add what can be pinned of a node: both of a layer's kinds, of a parameter or a buffer the kind that is looked at."""
    state = controller.state
    shown = Selection.of(node, kind=state.selection.kind)
    for kind in _OF_LAYERS if shown.kind in LAYER_KINDS else (shown.kind,):
        selected = state.subject
        if selected is None or (selected.kind, selected.name) != (kind, node.name):
            selected = selected_subject(state.history, shown.with_kind(kind))
        assert selected is not None
        action = menu.addAction(pin_text(kind))
        action.setCheckable(True)
        action.setChecked(selected in state.pins)
        action.setToolTip(plain_tip(pin_explanation(kind)))
        action.triggered.connect(partial(_toggle, controller, selected))


def _toggle(controller: Controller, key: SubjectKey) -> None:
    controller.toggle_pin(key)
