"""A float64 copy of a model and its loss, evaluated again and again from the same start; and leaving no trace of that."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gradscope.engine.blame import users_failure
from gradscope.engine.modules import modules_in
from gradscope.engine.objective import Objective, batch_in_float64
from gradscope.engine.parameters import Model, named_tensors
from gradscope.engine.randomness import RandomStates
from gradscope.engine.training import modules_of
from gradscope.engine.undo import ForwardUndo
from gradscope.engine.unwinding import is_interruption
from gradscope.protocol.failure import UserCodeFailed

GoOn = Callable[[], None]
"""Called between two evaluations; may raise."""
UserCode = Callable[[], AbstractContextManager[None]]
"""Entered around all code of the user's."""


class Float64Copy:
    """The float64 copy of everything, evaluated again and again from the same start."""

    def __init__(
        self,
        objective: Objective,
        batch: Any,
        parameter: str,
        *,
        states: RandomStates,
        user_code: UserCode,
        go_on: GoOn,
    ) -> None:
        with _told_as_theirs("The model cannot be copied"):
            self._objective = objective.in_float64()
        self._batch, self._states = batch, states
        self._user_code, self._go_on = user_code, go_on
        self._dtype: torch.dtype | None = None
        model = self._objective.model
        self._parameter = next(
            tensor for name, (tensor, others) in named_tensors(model).items() if parameter in (name, *others)
        )
        self._buffers = ForwardUndo(partial(modules_of, model))
        self._buffers.remember()
        self.values = real_view(self._parameter.detach())
        """Of the parameter, in its own memory."""
        self.loss_dtype = torch.float64

    def loss(self) -> float:
        return float(self._evaluate().detach())

    def differentiate(self) -> tuple[float, Tensor | None]:
        """The loss and its gradient; None if backward does not reach the parameter."""
        try:
            loss = self._evaluate()
        except UserCodeFailed:
            # Code that makes tensors of its own makes them in the default type; it has run as it is, so caches are filled.
            self._dtype = torch.float64
            loss = self._evaluate()
        self.loss_dtype = loss.dtype
        # Not autograd.grad: reentrant checkpoints refuse it.
        self._parameter.grad = None
        with _told_as_theirs("The backward failed in float64, on a copy of the model"), self._user_code():
            loss.sum().backward()
        gradient = self._parameter.grad
        if gradient is None:
            return float(loss.detach()), None
        gradient = gradient.detach()
        return float(loss.detach()), real_view(gradient if gradient.layout is torch.strided else gradient.to_dense())

    def _evaluate(self) -> Tensor:
        self._go_on()
        self._buffers.restore()
        self._states.restore()
        batch = batch_in_float64(self._batch)
        with (
            _told_as_theirs("The loss could not be computed in float64, on a copy of the model"),
            torch.enable_grad(),
            _default_dtype(self._dtype),
            self._user_code(),
        ):
            return self._objective(batch)


def real_view(tensor: Tensor) -> Tensor:
    """The same memory as real numbers: a complex tensor has a last dimension of two."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


@contextlib.contextmanager
def undisturbed(model: Model) -> Iterator[None]:
    """Also the real model's gradients, buffers and flags: code that ignores the model it is given runs that one."""
    modules = modules_in(model)
    flags = [module.training for module in modules]
    tensors = [tensor for tensor, _ in named_tensors(model).values()]
    gradients = [tensor.grad for tensor in tensors]
    for tensor in tensors:
        tensor.grad = None
    undo = ForwardUndo(partial(modules_of, model))
    undo.remember()
    try:
        yield
    finally:
        for module, flag in zip(modules, flags, strict=True):
            module.training = flag
        for tensor, gradient in zip(tensors, gradients, strict=True):
            tensor.grad = gradient
        undo.restore(only_changed=True)


@contextlib.contextmanager
def _default_dtype(dtype: torch.dtype | None) -> Iterator[None]:
    before = torch.get_default_dtype()
    if dtype is not None:
        torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def _told_as_theirs(sentence: str) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        if is_interruption(error):
            raise
        raise UserCodeFailed(users_failure(sentence, error, undone="Training is as before")) from error
