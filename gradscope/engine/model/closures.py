"""Whether an optimizer's step is to be given a closure that evaluates the loss."""

from __future__ import annotations

import inspect

from torch.optim import Optimizer

from gradscope.engine.surroundings.error_parts import message_of

_NOT_CALLABLE = "'NoneType' object is not callable"


def needs_closure(optimizer: Optimizer) -> bool:
    """True for an optimizer whose step evaluates the loss itself (LBFGS)."""
    parameters = inspect.signature(optimizer.step).parameters
    return "closure" in parameters and parameters["closure"].default is inspect.Parameter.empty


def takes_closure(optimizer: Optimizer) -> bool:
    """True where its step can be given one."""
    return "closure" in inspect.signature(optimizer.step).parameters


def asks_for_closure(error: BaseException) -> bool:
    """Whether an optimizer's step seems to have failed for want of one."""
    message = message_of(error)
    return "closure" in message.lower() or message == _NOT_CALLABLE
