"""The order in which a script does things, where it is likely to be a mistake: each in a sentence with its line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath

from torch import Tensor
from torch.optim import Optimizer

from gradscope.engine.script.finding.optimizers import tensors_of
from gradscope.protocol.source import SourceLine


class Order:
    """Of one script's calls."""

    def __init__(self) -> None:
        self._cleared: dict[int, SourceLine | None] = {}
        """Ids of the gradients that were cleared after the newest backward, and where."""
        self._are_scaled: set[int] = set()
        """Ids of the parameters whose gradients are multiplied with the loss scale."""
        self._clipped_scaled: SourceLine | None = None
        self._has_clipped_scaled = False
        self._stepped: set[int] = set()
        """Ids of the optimizers that have moved since their scheduler was stepped."""
        self._waits_for_step = False
        self._scheduled_before: dict[int, SourceLine | None] = {}
        """Ids of the optimizers whose scheduler was stepped with gradients waiting, and where."""

    def backward(self, reached: Iterable[Tensor], *, is_scaled: bool) -> None:
        self._cleared.clear()
        # Gradients that were left over at the end of an epoch: the rate is that of the step to come.
        self._scheduled_before.clear()
        self._waits_for_step = True
        if is_scaled:
            self._are_scaled.update(id(tensor) for tensor in reached if tensor.grad is not None)

    def clear(self, tensors: Iterable[Tensor], line: SourceLine | None) -> None:
        ids = {id(tensor) for tensor in tensors}
        self._are_scaled -= ids
        if self._waits_for_step:
            self._cleared |= dict.fromkeys(ids, line)

    def unscale(self, optimizer: Optimizer, line: SourceLine | None) -> list[str]:
        own = {id(tensor) for tensor in tensors_of(optimizer)}
        self._are_scaled -= own
        if not self._has_clipped_scaled or line is None:
            return []
        self._has_clipped_scaled = False
        return [
            f"The gradients are unscaled{_at(line)} after they were clipped{_at(self._clipped_scaled)}: the limit of the "
            "clipping applied to scaled gradients; unscale_ comes before clipping"
        ]

    def clip(self, tensors: Iterable[Tensor], line: SourceLine | None) -> list[str]:
        if not any(id(tensor) in self._are_scaled for tensor in tensors):
            return []
        self._clipped_scaled, self._has_clipped_scaled = line, True
        return [
            f"The gradients are clipped{_at(line)} while they are still multiplied with the loss scale: call "
            "scaler.unscale_(optimizer) before"
        ]

    def schedule(self, optimizer: Optimizer | None, line: SourceLine | None) -> list[str]:
        if optimizer is None:
            return []
        if self._waits_for_step and any(tensor.grad is not None for tensor in tensors_of(optimizer)):
            # It is told when the optimizer moves by these very gradients.
            self._scheduled_before.setdefault(id(optimizer), line)
            return []
        # `_opt_called`: torch's own mark, of steps that nobody was told of, as those inside a backward or another optimizer.
        if id(optimizer) not in self._stepped and not getattr(optimizer, "_opt_called", False):
            return [f"The scheduler is stepped{_at(line)} before the optimizer has made any step"]
        return []

    def step(self, optimizer: Optimizer, line: SourceLine | None) -> list[str]:
        """Before the optimizer moves."""
        tensors = tensors_of(optimizer)
        notes = []
        cleared = [tensor for tensor in tensors if id(tensor) in self._cleared]
        # The script may have put others there (gradient surgery, clipping by example).
        if cleared and all(_is_empty(tensor.grad) for tensor in cleared):
            where = _at(self._cleared[id(cleared[0])])
            notes.append(
                f"The gradients were cleared{where} between backward and this step: what the backward has computed is lost"
            )
        if tensors and all(tensor.grad is None for tensor in tensors):
            notes.append(
                f"No parameter of this optimizer has a gradient: the step{_at(line)} moves nothing (.grad is None everywhere)"
            )
        if id(optimizer) in self._scheduled_before and any(tensor.grad is not None for tensor in tensors):
            line_of_schedule = self._scheduled_before[id(optimizer)]
            notes.append(
                f"The scheduler is stepped{_at(line_of_schedule)} before the optimizer: this step already uses the next "
                "rate, and the first rate of the schedule is left out"
            )
        self._end(optimizer)
        return notes

    def skip(self, optimizer: Optimizer) -> None:
        """The scaler has left the step out; a scheduler that follows is in order."""
        self._end(optimizer)

    def _end(self, optimizer: Optimizer) -> None:
        if self._are_scaled or self._cleared:
            own = {*map(id, tensors_of(optimizer))}
            self._are_scaled -= own
            for key in own:
                self._cleared.pop(key, None)
        self._scheduled_before.pop(id(optimizer), None)
        self._stepped.add(id(optimizer))
        self._waits_for_step = self._has_clipped_scaled = False


def _is_empty(gradient: Tensor | None) -> bool:
    return gradient is None or (not gradient.is_sparse and not bool(gradient.any()))


def _at(line: SourceLine | None) -> str:
    return "" if line is None else f" ({PurePath(line.file).name}, line {line.line})"
