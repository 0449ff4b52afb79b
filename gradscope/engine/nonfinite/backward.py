"""Which operation's gradient was the first to be NaN or Inf: forward and backward once more, with a hook on each node.

Everything that the user's code can reach is put back (`Aside`), and no `.grad` is touched. Where another run comes to
something else, nothing is said.
"""

from __future__ import annotations

import contextlib
import inspect
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd import graph
from torch.overrides import TorchFunctionMode

from gradscope.engine.aside.door import Aside
from gradscope.engine.model.objective import Objective
from gradscope.engine.nonfinite.counts import counts_of
from gradscope.engine.nonfinite.finder import Line, line_of_user, operation_at
from gradscope.engine.surroundings.unwinding import is_interruption
from gradscope.protocol.nonfinite import Operation


@dataclass(frozen=True, kw_only=True)
class BackwardAgain:
    """A backward that can be made once more."""

    objective: Objective
    batch: Any
    """To be used up."""
    leaves: list[Tensor]
    begin: Callable[[], None]
    """Puts random states and buffers as the forward began with them."""
    scaled: Callable[[Tensor], Tensor]
    """What is differentiated, of the loss."""

    def run(self, around: Callable[[], AbstractContextManager[Any]]) -> tuple[Operation | None, tuple[str, ...]]:
        """(the operation, what could not be put back)."""
        finder, lines = _Finder(), _Lines()
        operation = None
        aside = Aside(self.objective.roots())
        try:
            with aside:
                self.begin()
                with torch.enable_grad(), around(), lines:
                    loss = self.objective(self.batch)
                # Not backward(): hooks on parameters may step an optimizer.
                with finder.hooked(loss):
                    torch.autograd.grad(self.scaled(loss), self.leaves, allow_unused=True)
            operation = None if finder.first is None else lines.operation(finder.first)
        except BaseException as error:
            # The user's code, or a reentrant checkpoint, which refuses this.
            if is_interruption(error):
                raise
        return operation, aside.notes


def _next_number() -> int:
    """Of the next node of a graph that is made in this thread."""
    return int(torch.autograd._get_sequence_nr())  # type: ignore[attr-defined]


class _Lines(TorchFunctionMode):
    """Remembers from which line of the user's each node of the graph comes: nodes are numbered as they are made."""

    def __init__(self) -> None:
        super().__init__()
        self._starts: list[int] = []
        self._made: list[tuple[int, str, Line | None]] = []
        """(the first number after it, name, line) of each operation."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        start = _next_number()
        result = func(*args, **(kwargs or {}))
        end = _next_number()
        if end > start:
            self._starts.append(start)
            self._made.append((end, getattr(func, "__name__", ""), line_of_user()))
        return result

    def operation(self, node: graph.Node) -> Operation | None:
        function = getattr(type(node), "_forward_cls", None)
        if function is not None:
            return _own_backward(function)
        number = node._sequence_nr()
        at = bisect_right(self._starts, number) - 1
        if at < 0 or number >= self._made[at][0]:
            return None
        _, name, line = self._made[at]
        return None if line is None else operation_at(name, line)


class _Finder:
    """Keeps the first node that makes NaN or Inf of finite gradients."""

    def __init__(self) -> None:
        self.first: graph.Node | None = None

    @contextlib.contextmanager
    def hooked(self, loss: Tensor) -> Iterator[None]:
        handles = [node.register_hook(partial(self._look, node)) for node in _nodes(loss.grad_fn)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _look(self, node: graph.Node, made: Any, given: Any) -> None:
        if self.first is None and _has_bad(made) and not _has_bad(given):
            self.first = node


def _has_bad(gradients: Any) -> bool:
    return any(isinstance(gradient, Tensor) and counts_of(gradient).is_bad for gradient in gradients)


def _nodes(root: graph.Node | None) -> Iterator[graph.Node]:
    seen, waiting = set(), [root]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            waiting += [other for other, _ in node.next_functions]


def _own_backward(function: Any) -> Operation | None:
    """Of a torch.autograd.Function of the user's."""
    code = getattr(inspect.unwrap(function.backward), "__code__", None)
    if code is None:
        return None
    return Operation(
        name=f"{function.__name__}.backward",
        source=f"{Path(code.co_filename).name}, line {code.co_firstlineno}",
        code="",
    )
