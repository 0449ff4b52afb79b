"""What the menu of a row in Layers says of capturing it: only this one, this one too, not this one, everything."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import QCoreApplication
from PySide6.QtWidgets import QMenu

from gradscope.protocol.capture import FULL, Capture, CaptureLevel, pattern_of
from gradscope.protocol.subjects import SubjectKind
from gradscope.protocol.visible import visible
from gradscope.state.tree import Node
from gradscope.ui.actions.controller import Controller
from gradscope.ui.widgets.plain import plain_tip

_CONTEXT = "CaptureMenu"


def add_capture(menu: QMenu, controller: Controller, node: Node) -> None:
    """Add the choices for a node; those that cannot be made now say why."""
    translate, state = QCoreApplication.translate, controller.state
    if state.session is None:
        return
    capture, refusal = state.capture, state.capture_refusal()

    def add(text: str, wanted: Capture, explanation: str, reason: str | None = None) -> None:
        action = menu.addAction(text)
        action.triggered.connect(partial(_set, controller, wanted))
        problem = refusal or reason
        action.setEnabled(problem is None)
        action.setToolTip(plain_tip(problem or explanation))

    name = pattern_of(node.name)
    if node.name:
        only = {
            SubjectKind.PARAMETER: translate(_CONTEXT, "Capture only this parameter"),
            SubjectKind.BUFFER: translate(_CONTEXT, "Capture only this buffer"),
            SubjectKind.ACTIVATION: translate(_CONTEXT, "Capture only this layer"),
        }[node.value_kind]
        explanation = translate(_CONTEXT, "And what is inside it; nothing is recorded of the others")
        is_so = capture.layers == (name,)
        add(
            only,
            Capture(CaptureLevel.LAYERS, (name,)),
            explanation,
            translate(_CONTEXT, "Only this one is captured now") if is_so else None,
        )
    if node.name and capture.level is CaptureLevel.LAYERS:
        if name in capture.layers and len(capture.layers) > 1:
            rest = tuple(layer for layer in capture.layers if layer != name)
            explanation = translate(_CONTEXT, "The other chosen layers still are")
            add(translate(_CONTEXT, "Do not capture this one"), Capture(CaptureLevel.LAYERS, rest), explanation)
        elif not capture.wants(node.name):
            too = {
                SubjectKind.PARAMETER: translate(_CONTEXT, "Capture this parameter too"),
                SubjectKind.BUFFER: translate(_CONTEXT, "Capture this buffer too"),
                SubjectKind.ACTIVATION: translate(_CONTEXT, "Capture this layer too"),
            }[node.value_kind]
            explanation = translate(_CONTEXT, "Beside the layers that are chosen: {layers}")
            add(
                too,
                Capture(CaptureLevel.LAYERS, (*capture.layers, name)),
                explanation.format(layers=", ".join(map(visible, capture.layers))),
            )
    is_full = translate(_CONTEXT, "Everything is captured now") if capture == FULL else None
    add(translate(_CONTEXT, "Capture everything"), FULL, translate(_CONTEXT, "Of every layer"), is_full)


def _set(controller: Controller, wanted: Capture) -> None:
    controller.set_capture(wanted)
