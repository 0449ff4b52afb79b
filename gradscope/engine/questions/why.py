"""The answer to "why did this parameter move so?", from the copies that the book keeps."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from gradscope.engine.book.book import Book
from gradscope.engine.book.turns import Turn
from gradscope.engine.explain.explain import Explanation, explain
from gradscope.engine.explain.parts import StepTaken
from gradscope.engine.model.objective import wide_tensor
from gradscope.engine.model.parameters import named_tensors
from gradscope.protocol.failure import BadInput
from gradscope.protocol.phases import Rest
from gradscope.protocol.visible import visible


def explain_newest_step(book: Book, name: str) -> tuple[Explanation, StepTaken | None]:
    """Why the newest step moved a parameter as it did, and the step itself where it is known.

    Raises BadInput if there is no such parameter.
    """
    name, tensor = parameter_named(book, name)
    step = _step_taken(book, name, tensor)
    if isinstance(step, str):
        return Explanation(reason=step), None
    turn = _turn_of_newest_step(book)
    if book.history[-1].is_skipped:
        return Explanation(
            reason="The step was skipped, since a scaled gradient was not finite: the delta is zero"
        ), step
    if turn is None or not holds(turn, tensor):
        whose = f"It was the step of {visible(turn.name)}, which" if turn is not None and turn.name else "The optimizer"
        return Explanation(reason=f"{whose} does not hold this parameter: the delta is zero"), step
    return explain(turn.optimizer, step), step


def parameter_named(book: Book, name: str) -> tuple[str, Tensor]:
    """By any of its names; the first one is what it is known by."""
    for known, (tensor, others) in named_tensors(book.model).items():
        if name in (known, *others):
            return known, tensor
    raise BadInput(f"The model has no parameter {name!r}")


def _step_taken(book: Book, name: str, tensor: Tensor) -> StepTaken | str:
    """The newest step of a parameter; or why it is not known."""
    before = book.observer.previous.before(name)
    if not tensor.requires_grad:
        return "It is frozen (requires_grad is False): no step moves it"
    if book.capture.is_off:
        return "Capture is off: what a parameter was before the step is not kept"
    if before is None or not book.history or before.shape != tensor.shape:
        return "There is no step to explain yet: press Step"
    if book.position.rest is not Rest.READY:
        return "The gradient of the newest step has made way for the next one: press Step"
    known = book.driver.step_before
    owner, group = _owner(book, tensor)
    options = known.options_of(group)
    if owner is not None and options is None:
        return "The optimizer is another one since then: press Step"
    state = owner.state.get(tensor) if owner is not None else None
    return StepTaken(
        options=options or {},
        before=_exact(before),
        gradient=None if tensor.grad is None else _exact(tensor.grad.detach()),
        state_before=known.state_of(tensor) or {},
        state_after=state if isinstance(state, dict) else {},
        delta=wide_tensor(tensor.detach()) - wide_tensor(before),
    )


def _owner(book: Book, tensor: Tensor) -> tuple[Optimizer | None, dict[str, Any]]:
    for optimizer in [turn.optimizer for turn in book.driver.turns]:
        for group in optimizer.param_groups:
            if _is_in(tensor, group["params"]):
                return optimizer, group
    return None, {}


def _exact(tensor: Tensor) -> Tensor:
    """Where there are numbers of double precision."""
    return tensor.cpu() if tensor.device.type == "mps" else tensor


def _turn_of_newest_step(book: Book) -> Turn | None:
    name = book.history[-1].optimizer
    return next((turn for turn in book.driver.turns if turn.name == name), None)


def holds(turn: Turn, tensor: Tensor) -> bool:
    return any(_is_in(tensor, group["params"]) for group in turn.optimizer.param_groups)


def _is_in(tensor: Tensor, others: list[Tensor]) -> bool:
    return any(tensor is other for other in others)
