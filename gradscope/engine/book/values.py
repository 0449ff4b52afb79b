"""The tensors of a training's subjects as they are now, and which subjects there are."""

from __future__ import annotations

from torch import Tensor

from gradscope.engine.book.book import Book
from gradscope.engine.book.gradients import NothingKept
from gradscope.protocol.subjects import LAYER_KINDS, SubjectKey, SubjectKind


class ValuesUnavailable(Exception):
    """The values of a subject cannot be had now; the text says why."""


def values_of(book: Book, key: SubjectKey) -> Tensor:
    """The tensor of a subject as it is now, detached. Raises ValuesUnavailable with the reason."""
    if key.kind in LAYER_KINDS:
        kept = book.keeper.get(key)
        if kept is None:
            raise ValuesUnavailable(book.keeper.why_not(key))
        return kept
    if key.kind is SubjectKind.OPTIMIZER_STATE:
        return _state_of(book, key)
    if key.kind is SubjectKind.UPDATE and book.capture.is_off:
        raise ValuesUnavailable("Capture is off: what a parameter was before the step is not kept")
    if key.kind is SubjectKind.BUFFER:
        buffer = book.observer.buffers().get(key.name)
        if buffer is None:
            raise ValuesUnavailable(f"The model has no buffer {key.name!r}")
        return buffer.detach()
    tensor = book.observer.tensors().get(key.name)
    if tensor is None:
        raise ValuesUnavailable(f"The model has no parameter {key.name!r}")
    if key.kind is SubjectKind.PARAMETER:
        return tensor.detach()
    if key.kind is SubjectKind.GRAD:
        try:
            gradient = book.driver.gradients.of(key.name, tensor)
        except NothingKept as reason:
            raise ValuesUnavailable(str(reason)) from reason
        if gradient is None:
            raise ValuesUnavailable("There is no gradient: .grad is None (a forward clears it, a backward makes it)")
        return gradient
    if key.kind is SubjectKind.CLIPPED_GRAD:
        if book.driver.gradients.are_clipped_changed:
            raise ValuesUnavailable("The optimizer has changed the clipped gradients in its step")
        found = dict(book.driver.gradients.clipped()).get(key)
        if found is None:
            raise ValuesUnavailable("There is no clipped gradient: a Step clips, where the recipe says so")
        return found.detach()
    delta = book.observer.previous.delta(key.name, tensor)
    if delta is None:
        raise ValuesUnavailable("There is no update yet: press Step")
    return delta


def known_subjects(book: Book, kind: SubjectKind) -> list[SubjectKey]:
    """The subjects of a kind that there are now: of the newest reports, or every parameter or buffer."""
    if kind is SubjectKind.OPTIMIZER_STATE:
        return [key for key, _ in book.driver.gradients.optimizer_state()]
    if kind is SubjectKind.BUFFER:
        return [SubjectKey(kind, name) for name in book.observer.buffers()]
    if kind not in LAYER_KINDS:
        return [SubjectKey(kind, name) for name in book.observer.tensors()]
    return [
        subject.key for report in book.reports.values() for subject in report.subjects if subject.kind == kind.value
    ]


def _state_of(book: Book, key: SubjectKey) -> Tensor:
    for known, tensor in book.driver.gradients.optimizer_state():
        if known == key:
            return tensor.detach()
    raise ValuesUnavailable("The optimizer remembers no such thing of this parameter: it does after a Step")
