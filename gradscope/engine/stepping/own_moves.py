"""What the user's code moves by itself inside a forward, where a session expects it to compute a loss and no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.hooks import RemovableHandle

from gradscope.engine.book.optimizer_before import copy_of_state
from gradscope.engine.book.turns import Turn
from gradscope.engine.model.copies import put_back
from gradscope.engine.stepping.training import Training
from gradscope.engine.wording import listed

_RETURN_THE_LOSS = "a recipe's training_step only returns the loss, and the session does backward and step"
_versions = attrgetter("_version")


@dataclass(frozen=True)
class _Stepped:
    """An optimizer as it was before somebody has stepped it inside a forward."""

    optimizer: Optimizer
    values: list[tuple[Tensor, Tensor]]
    state: dict[Any, Any]
    options: list[tuple[dict[str, Any], dict[str, Any]]]

    @staticmethod
    def of(optimizer: Optimizer) -> _Stepped:
        groups = optimizer.param_groups
        return _Stepped(
            optimizer,
            values=[(tensor, tensor.detach().clone()) for group in groups for tensor in group["params"]],
            state=copy_of_state(optimizer.state),
            options=[(group, copy_of_state({k: v for k, v in group.items() if k != "params"})) for group in groups],
        )

    def restore(self) -> None:
        for tensor, copy in self.values:
            put_back(tensor, copy)
        self.optimizer.state.clear()
        self.optimizer.state.update(self.state)
        for group, options in self.options:
            group.update(options)


class OwnMoves:
    """`begin` and `end` around the user's part of a forward; `restore` where that forward is undone.

    An optimizer that is stepped inside is copied at that moment. Whatever else writes to a parameter is noticed by the
    tensors' version counters alone, which is all that an ordinary forward pays.
    """

    def __init__(self, training: Training) -> None:
        self._training = training
        self._turn: Turn | None = None
        self._tensors: Mapping[str, Tensor] = {}
        self._names: list[str] = []
        self._watched: list[Tensor] = []
        self._before: list[int] = []
        self._are_gradients_clear = False
        self._is_over = False
        self.calls_backward = False
        """There were gradients when it was over that had not been there before."""
        self._stepped: dict[int, _Stepped] = {}
        self._hook: RemovableHandle | None = None

    def begin(self, turn: Turn, tensors: Mapping[str, Tensor], *, are_gradients_clear: bool) -> None:
        """`tensors` are the model's parameters by name, the same object as long as they are the same;
        `are_gradients_clear`: those that `turn` moves have none."""
        if tensors is not self._tensors:
            # A tensor of the inference mode counts nothing.
            counting = {name: tensor for name, tensor in tensors.items() if not tensor.is_inference()}
            self._tensors, self._names, self._watched = tensors, [*counting], [*counting.values()]
        self.forget()
        self._turn, self._are_gradients_clear, self._is_over = turn, are_gradients_clear, False
        self._before = [*map(_versions, self._watched)]
        self._hook = register_optimizer_step_pre_hook(self._before_step)

    def end(self) -> None:
        """Also where the forward has raised."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    @contextmanager
    def unseen(self) -> Iterator[None]:
        """Inside, code that is no part of the forward may step an optimizer."""
        before = dict(self._stepped)
        try:
            yield
        finally:
            self._stepped = before

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if id(optimizer) not in self._stepped:
            self._stepped[id(optimizer)] = _Stepped.of(optimizer)

    @property
    def said(self) -> str:
        """What the newest forward has done that is the session's to do; "" if nothing."""
        called = self._called()
        return f"This forward has called {called} itself: {_RETURN_THE_LOSS}" if called else ""

    def _called(self) -> str:
        own = {id(optimizer) for optimizer in self._training.optimizers}
        for key, known in self._stepped.items():
            if key in own:
                return f"{type(known.optimizer).__name__}.step()"
        return "backward()" if self.calls_backward or self._has_gradients() else ""

    def _has_gradients(self) -> bool:
        """Only within the forward: later ones are the session's."""
        if self._turn is None or not self._are_gradients_clear or self._is_over:
            return False
        return any(tensor.grad is not None for tensor in self._turn.parameters)

    def notes(self) -> list[str]:
        """After a forward that has not failed. Gradients are spoken of by the backward that adds to them."""
        self._is_over = True
        return [self.said] if self._stepped and self.said else []

    def restore(self) -> list[str]:
        """Put back what can be; sentences about what was found."""
        if self._turn is None:
            return []
        called = self._called()
        told = [f"It had called {called} itself, and what that had moved was put back too"] if called else []
        back = {id(tensor) for known in self._stepped.values() for tensor, _ in known.values}
        written = [
            name
            for name, tensor, version in zip(self._names, self._watched, self._before, strict=True)
            if tensor._version != version and id(tensor) not in back
        ]
        if written:
            told.append(f"{listed(written)} had been written to already, which cannot be put back")
        for known in self._stepped.values():
            known.restore()
        if self._are_gradients_clear:
            for tensor in self._turn.parameters:
                tensor.grad = None
        self.forget()
        return told

    def forget(self) -> None:
        """`restore` puts nothing back any more."""
        self.end()
        self._turn, self._stepped, self.calls_backward = None, {}, False
