"""A float64 copy of a model and its loss, evaluated again and again from the same start."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from gradscope.engine.aside.door import Aside
from gradscope.engine.model.objective import Objective, batch_in_float64, wide_tensor
from gradscope.engine.model.parameters import named_tensors
from gradscope.engine.questions.buffer_writes import BufferWrites
from gradscope.engine.stepping.training import modules_of
from gradscope.engine.stepping.undo import ForwardUndo
from gradscope.engine.surroundings.blame import users_failure
from gradscope.engine.surroundings.randomness import RandomStates
from gradscope.engine.surroundings.unwinding import is_interruption
from gradscope.protocol.failure import UserCodeFailed

GoOn = Callable[[], None]
"""Called between two evaluations; may raise."""
UserCode = Callable[[], AbstractContextManager[None]]
"""Entered around all code of the user's."""


class Float64Copy:
    """The float64 copy of everything, evaluated again and again from the same start.

    That is the state of now but for random numbers and buffers, which are those that a forward began with: `states` and
    `buffers`, where something is remembered there. What every evaluation moves is put back by `aside`.
    """

    def __init__(
        self,
        objective: Objective,
        batch: Any,
        parameter: str,
        *,
        aside: Aside,
        states: RandomStates,
        buffers: ForwardUndo | None,
        user_code: UserCode,
        go_on: GoOn,
    ) -> None:
        with _told_as_theirs("The model cannot be copied"):
            self._objective = objective.in_float64()
        self._aside, self._batch, self._states = aside, batch, states
        self._user_code, self._go_on = user_code, go_on
        self._dtype: torch.dtype | None = None
        model = self._objective.model
        self._parameter = next(
            tensor for name, (tensor, others) in named_tensors(model).items() if parameter in (name, *others)
        )
        copied = list(modules_of(model, self._objective.loss))
        if buffers is not None:
            _set_buffers(copied, list(modules_of(objective.model, objective.loss)), buffers)
        self._writes = BufferWrites(
            tensor for module in copied for tensor in module._buffers.values() if tensor is not None
        )
        # Their values are what is changed from one evaluation to the next.
        aside.also(self._objective.roots(), but=[tensor for tensor, _ in named_tensors(model).values()])
        self.values = real_view(self._parameter.detach())
        """Of the parameter, in its own memory."""
        self.loss_dtype = torch.float64

    def loss(self) -> float:
        """After `differentiate`: the same, for the values of the parameter as they are now."""
        return float(self._evaluate().detach())

    def differentiate(self) -> tuple[float, Tensor | None]:
        """The loss and its gradient; None if backward does not reach the parameter."""
        try:
            loss = self._evaluate(is_first=True)
        except UserCodeFailed:
            # Code that makes tensors of its own makes them in the default type.
            self._dtype = torch.float64
            loss = self._evaluate(is_first=True)
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

    def _evaluate(self, *, is_first: bool = False) -> Tensor:
        self._go_on()
        self._aside.rewind()
        self._states.restore()
        self._writes.begin(is_first=is_first)
        batch = batch_in_float64(self._batch)
        with (
            _told_as_theirs("The loss could not be computed in float64, on a copy of the model"),
            torch.enable_grad(),
            _default_dtype(self._dtype),
            self._writes,
            self._user_code(),
        ):
            return self._objective(batch)


def real_view(tensor: Tensor) -> Tensor:
    """The same memory as real numbers: a complex tensor has a last dimension of two."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def _set_buffers(copied: list[nn.Module], originals: list[nn.Module], before: ForwardUndo) -> None:
    if len(copied) != len(originals):
        # A class of the user's makes something else of a copy.
        return
    for copy, original in zip(copied, originals, strict=True):
        # The wrapper of a scripted module is no whole dict.
        copied_buffers = dict(copy._buffers.items())
        for name in [*original._buffers.keys()]:
            value = before.before(original, name)
            if value is not None and copied_buffers.get(name) is not None:
                copy._buffers[name] = wide_tensor(value).clone()


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
