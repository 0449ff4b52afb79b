"""The tensors of a session's subjects as they are now, and which subjects there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from gradscope.engine.loop import NothingKept
from gradscope.protocol.subjects import LAYER_KINDS, SubjectKey, SubjectKind

if TYPE_CHECKING:
    from gradscope.engine.session import Session


class ValuesUnavailable(Exception):
    """The values of a subject cannot be had now; the text says why."""


def values_of(session: Session, key: SubjectKey) -> Tensor:
    """The tensor of a subject as it is now, detached. Raises ValuesUnavailable with the reason."""
    if key.kind in LAYER_KINDS:
        kept = session.keeper.get(key)
        if kept is None:
            raise ValuesUnavailable(session.keeper.why_not(key))
        return kept
    if key.kind is SubjectKind.OPTIMIZER_STATE:
        return _state_of(session, key)
    if key.kind is SubjectKind.UPDATE and session.capture.is_off:
        raise ValuesUnavailable("Capture is off: what a parameter was before the step is not kept")
    if key.kind is SubjectKind.BUFFER:
        buffer = session.observer.buffers().get(key.name)
        if buffer is None:
            raise ValuesUnavailable(f"The model has no buffer {key.name!r}")
        return buffer.detach()
    tensor = session.observer.tensors().get(key.name)
    if tensor is None:
        raise ValuesUnavailable(f"The model has no parameter {key.name!r}")
    if key.kind is SubjectKind.PARAMETER:
        return tensor.detach()
    if key.kind is SubjectKind.GRAD:
        try:
            gradient = session.loop.gradient(key.name, tensor)
        except NothingKept as reason:
            raise ValuesUnavailable(str(reason)) from reason
        if gradient is None:
            raise ValuesUnavailable("There is no gradient: .grad is None (a forward clears it, a backward makes it)")
        return gradient
    if key.kind is SubjectKind.CLIPPED_GRAD:
        if session.loop.clip is not None and session.loop.are_clipped_changed:
            raise ValuesUnavailable("The optimizer has changed the clipped gradients in its step")
        found = dict(session.loop.clipped()).get(key)
        if found is None:
            raise ValuesUnavailable("There is no clipped gradient: a Step clips, where the recipe says so")
        return found.detach()
    delta = session.observer.previous.delta(key.name, tensor)
    if delta is None:
        raise ValuesUnavailable("There is no update yet: press Step")
    return delta


def known_subjects(session: Session, kind: SubjectKind) -> list[SubjectKey]:
    """The subjects of a kind that there are now: of the newest reports, or every parameter or buffer."""
    if kind is SubjectKind.OPTIMIZER_STATE:
        return [key for key, _ in session.loop.optimizer_state()]
    if kind is SubjectKind.BUFFER:
        return [SubjectKey(kind, name) for name in session.observer.buffers()]
    if kind not in LAYER_KINDS:
        return [SubjectKey(kind, name) for name in session.observer.tensors()]
    return [
        subject.key for report in session.reports.values() for subject in report.subjects if subject.kind == kind.value
    ]


def _state_of(session: Session, key: SubjectKey) -> Tensor:
    for known, tensor in session.loop.optimizer_state():
        if known == key:
            return tensor.detach()
    raise ValuesUnavailable("The optimizer remembers no such thing of this parameter: it does after a Step")
