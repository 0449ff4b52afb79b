"""A session's answers to "why did this parameter move so?" and "is its gradient right?", from the copies that it keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.optim import Optimizer

from gradscope.engine.explain.explain import Explanation, explain
from gradscope.engine.explain.parts import StepTaken
from gradscope.engine.gradient_check import Actual, GradientCheck, check_gradient
from gradscope.engine.objective import Objective, wide_tensor
from gradscope.engine.parameters import named_tensors
from gradscope.engine.training import Turn
from gradscope.protocol.failure import BadInput
from gradscope.protocol.phases import AT_REST, Rest
from gradscope.protocol.visible import visible

if TYPE_CHECKING:
    from gradscope.engine.session import Session


def explain_newest_step(session: Session, name: str) -> tuple[Explanation, StepTaken | None]:
    """Why the newest step moved a parameter as it did, and the step itself where it is known.

    Raises BadInput if there is no such parameter.
    """
    name, tensor = _parameter(session, name)
    step = _step_taken(session, name, tensor)
    if isinstance(step, str):
        return Explanation(reason=step), None
    turn = _turn_of_newest_step(session)
    if session.history[-1].is_skipped:
        return Explanation(
            reason="The step was skipped, since a scaled gradient was not finite: the delta is zero"
        ), step
    if turn is None or not _holds(turn, tensor):
        whose = f"It was the step of {visible(turn.name)}, which" if turn is not None and turn.name else "The optimizer"
        return Explanation(reason=f"{whose} does not hold this parameter: the delta is zero"), step
    return explain(turn.optimizer, step), step


def check_gradient_now(
    session: Session, name: str, *, samples: int = 16, seed: int = 0, go_on: Callable[[], None] = lambda: None
) -> GradientCheck:
    """The numerical check of one parameter's gradient, with the newest batch and the parameters of now."""
    name, tensor = _parameter(session, name)
    if session.position.rest not in AT_REST:
        raise BadInput("The gradient is checked between two phases: finish this one first")
    if session.batch is None:
        raise BadInput("The gradient is checked with a batch: press Forward first")
    loop, training = session.loop, session.training
    turn = next((turn for turn in training.turns if _holds(turn, tensor)), loop.turn)
    objective = Objective(training.model, training.loss, turn.training_step)
    with session.observer.lifted():
        return check_gradient(
            objective,
            session.batch,
            name,
            samples=samples,
            seed=seed,
            states=loop.forward_states,
            buffers=loop.forward_undo,
            actual=_comparable_gradient(session, name, tensor),
            user_code=loop.user_code,
            go_on=go_on,
        )


def _parameter(session: Session, name: str) -> tuple[str, Tensor]:
    """By any of its names; the first one is what it is known by."""
    for known, (tensor, others) in named_tensors(session.recipe.model).items():
        if name in (known, *others):
            return known, tensor
    raise BadInput(f"The model has no parameter {name!r}")


def _step_taken(session: Session, name: str, tensor: Tensor) -> StepTaken | str:
    """The newest step of a parameter; or why it is not known."""
    before = session.observer.previous.before(name)
    if not tensor.requires_grad:
        return "It is frozen (requires_grad is False): no step moves it"
    if session.capture.is_off:
        return "Capture is off: what a parameter was before the step is not kept"
    if before is None or not session.history or before.shape != tensor.shape:
        return "There is no step to explain yet: press Step"
    if session.position.rest is not Rest.READY:
        return "The gradient of the newest step has made way for the next one: press Step"
    undo = session.loop.step_undo
    owner, group = _owner(session, tensor)
    options = undo.options_of(group)
    if owner is not None and options is None:
        return "The optimizer is another one since then: press Step"
    state = owner.state.get(tensor) if owner is not None else None
    return StepTaken(
        options=options or {},
        before=_exact(before),
        gradient=None if tensor.grad is None else _exact(tensor.grad.detach()),
        state_before=undo.state_of(tensor) or {},
        state_after=state if isinstance(state, dict) else {},
        delta=wide_tensor(tensor.detach()) - wide_tensor(before),
    )


def _owner(session: Session, tensor: Tensor) -> tuple[Optimizer | None, dict[str, Any]]:
    for optimizer in session.training.optimizers:
        for group in optimizer.param_groups:
            if _is_in(tensor, group["params"]):
                return optimizer, group
    return None, {}


def _exact(tensor: Tensor) -> Tensor:
    """Where there are numbers of double precision."""
    return tensor.cpu() if tensor.device.type == "mps" else tensor


def _turn_of_newest_step(session: Session) -> Turn | None:
    name = session.history[-1].optimizer
    return next((turn for turn in session.training.turns if turn.name == name), None)


def _holds(turn: Turn, tensor: Tensor) -> bool:
    return any(_is_in(tensor, group["params"]) for group in turn.optimizer.param_groups)


def _is_in(tensor: Tensor, others: list[Tensor]) -> bool:
    return any(tensor is other for other in others)


def _comparable_gradient(session: Session, name: str, tensor: Tensor) -> Actual | None:
    """`.grad`, where it is the gradient of one batch by the parameters of now."""
    loop = session.loop
    is_of_one_batch = loop.window.size == 1 and session.training.zero_grad == "auto"
    if session.position.rest is not Rest.BACKWARD or not is_of_one_batch or not _holds(loop.turn, tensor):
        return None
    gradient = loop.gradient(name, tensor)
    return None if gradient is None else Actual(gradient=gradient, loss=loop.loss)
