"""The answer to "is this parameter's gradient right?", with the newest batch and the parameters of now."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from gradscope.engine.questions.gradient_check import Actual, GradientCheck, check_gradient
from gradscope.engine.questions.why import holds, parameter_named
from gradscope.engine.stepping.stepper import Stepper
from gradscope.protocol.failure import BadInput
from gradscope.protocol.phases import AT_REST, Rest


def check_gradient_now(
    stepper: Stepper, name: str, *, samples: int = 16, seed: int = 0, go_on: Callable[[], None] = lambda: None
) -> GradientCheck:
    """The numerical check of one parameter's gradient, with the newest batch and the parameters of now."""
    loop, training = stepper.loop, stepper.training
    name, tensor = parameter_named(stepper.book, name)
    if stepper.position.rest not in AT_REST:
        raise BadInput("The gradient is checked between two phases: finish this one first")
    if loop.batch is None:
        raise BadInput("The gradient is checked with a batch: press Forward first")
    turn = next((turn for turn in training.turns if holds(turn, tensor)), loop.turn)
    objective = training.objective(turn)
    with stepper.observer.lifted():
        return check_gradient(
            objective,
            loop.batch,
            name,
            samples=samples,
            seed=seed,
            states=loop.forward_undo.states,
            buffers=loop.forward_undo,
            actual=_comparable_gradient(stepper, name, tensor),
            user_code=loop.user_code,
            go_on=go_on,
        )


def _comparable_gradient(stepper: Stepper, name: str, tensor: Tensor) -> Actual | None:
    """`.grad`, where it is the gradient of one batch by the parameters of now."""
    loop = stepper.loop
    is_of_one_batch = loop.window.size == 1 and stepper.training.zero_grad == "auto"
    if stepper.position.rest is not Rest.BACKWARD or not is_of_one_batch or not holds(loop.turn, tensor):
        return None
    gradient = loop.gradients.of(name, tensor)
    return None if gradient is None else Actual(gradient=gradient, loss=loop.loss)
