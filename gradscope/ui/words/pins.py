"""What is said of pinned subjects: in the inspector, in menus and in the Layers panel."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication

from gradscope.protocol.subjects import LAYER_KINDS, SubjectKey, SubjectKind
from gradscope.state.pins import PinStatus
from gradscope.ui.words.translation import QT_TRANSLATE_NOOP

_CONTEXT = "Pins"
_KINDS = {
    SubjectKind.ACTIVATION: QT_TRANSLATE_NOOP("Pins", "activation"),
    SubjectKind.ACTIVATION_GRAD: QT_TRANSLATE_NOOP("Pins", "activation gradient"),
    SubjectKind.PARAMETER: QT_TRANSLATE_NOOP("Pins", "value"),
    SubjectKind.GRAD: QT_TRANSLATE_NOOP("Pins", "gradient"),
    SubjectKind.UPDATE: QT_TRANSLATE_NOOP("Pins", "update"),
    SubjectKind.CLIPPED_GRAD: QT_TRANSLATE_NOOP("Pins", "clipped gradient"),
    SubjectKind.OPTIMIZER_STATE: QT_TRANSLATE_NOOP("Pins", "optimizer state"),
    SubjectKind.BUFFER: QT_TRANSLATE_NOOP("Pins", "buffer"),
}
_TEXTS = {
    SubjectKind.ACTIVATION: QT_TRANSLATE_NOOP("Pins", "Pin activation"),
    SubjectKind.ACTIVATION_GRAD: QT_TRANSLATE_NOOP("Pins", "Pin activation gradient"),
    SubjectKind.PARAMETER: QT_TRANSLATE_NOOP("Pins", "Pin value"),
    SubjectKind.GRAD: QT_TRANSLATE_NOOP("Pins", "Pin gradient"),
    SubjectKind.UPDATE: QT_TRANSLATE_NOOP("Pins", "Pin update"),
    SubjectKind.CLIPPED_GRAD: QT_TRANSLATE_NOOP("Pins", "Pin clipped gradient"),
    SubjectKind.OPTIMIZER_STATE: QT_TRANSLATE_NOOP("Pins", "Pin optimizer state"),
    SubjectKind.BUFFER: QT_TRANSLATE_NOOP("Pins", "Pin buffer"),
}
_STATUSES = {
    PinStatus.NOT_SEEN: QT_TRANSLATE_NOOP("Pins", "not seen"),
    PinStatus.GONE: QT_TRANSLATE_NOOP("Pins", "not in the model"),
}
_STATUS_EXPLANATIONS = {
    PinStatus.NOT_SEEN: QT_TRANSLATE_NOOP("Pins", "This call or part of its layer was not seen in this session"),
    PinStatus.GONE: QT_TRANSLATE_NOOP("Pins", "The model has nothing of this name any more"),
}


def kind_text(kind: SubjectKind) -> str:
    """ "activation gradient"."""
    return QCoreApplication.translate(_CONTEXT, _KINDS[kind])


def pin_text(kind: SubjectKind) -> str:
    """The text of a menu's entry."""
    return QCoreApplication.translate(_CONTEXT, _TEXTS[kind])


def pin_explanation(kind: SubjectKind) -> str:
    """What it is good for to pin a subject of this kind."""
    if kind not in LAYER_KINDS:
        return QCoreApplication.translate(_CONTEXT, "Have it at hand; its values can be had at any time")
    return QCoreApplication.translate(_CONTEXT, "Keep its values through a run, and have it at hand")


def status_text(key: SubjectKey, status: PinStatus) -> str:
    """The kind of a pinned subject; what is wrong with it, where it is not there."""
    return kind_text(key.kind) if status is PinStatus.THERE else QCoreApplication.translate(_CONTEXT, _STATUSES[status])


def status_explanation(status: PinStatus) -> str:
    """A sentence on what is not there; "" on what is."""
    return "" if status is PinStatus.THERE else QCoreApplication.translate(_CONTEXT, _STATUS_EXPLANATIONS[status])
