"""The options of all optimizers, and the state of the one that is stepped, as they were before the newest step."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from gradscope.engine.model.copies import Renewal

_PLAIN = frozenset((type(None), bool, int, float, str))
"""Of these no copy is needed."""


class OptimizerBefore:
    """Copies, in memory that is used again in every step."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, str], Tensor] = {}
        self.forget()

    def forget(self) -> None:
        """Let go of the copies; `restore` puts nothing back."""
        self.stepped: Optimizer | None = None
        self._options: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self._state: dict[Any, Any] | None = None

    def remember(self, optimizers: Iterable[Optimizer], stepped: Optimizer, *, with_state: bool = True) -> None:
        """Copy the options of all, and the state of `stepped`, where that is wanted."""
        self._options = [
            (
                group,
                {k: v if type(v) in _PLAIN else copied(v) for k, v in group.items() if k != "params"},
            )
            for optimizer in optimizers
            for group in optimizer.param_groups
        ]
        self._state = self._copy_of_state(stepped) if with_state else None
        if not with_state:
            self._kept = {}
        self.stepped = stepped

    def _copy_of_state(self, optimizer: Optimizer) -> dict[Any, Any]:
        kept, self._kept = self._kept, {}
        renewal = Renewal()

        def renewed(parameter: Any, key: str, value: Any) -> Any:
            if not isinstance(value, Tensor) or value.layout is not torch.strided or not value.dim():
                return copied(value)
            place = id(parameter), key
            self._kept[place] = renewal.copy_of(value, kept.get(place))
            return self._kept[place]

        found = {
            parameter: {key: renewed(parameter, key, value) for key, value in state.items()}
            if isinstance(state, dict)
            else copied(state)
            for parameter, state in optimizer.state.items()
        }
        renewal.finish()
        return found

    def options_of(self, group: dict[str, Any]) -> dict[str, Any] | None:
        """A group's options before the step; None where nothing is remembered."""
        return next((options for known, options in self._options if known is group), None)

    def state_of(self, parameter: Tensor) -> dict[str, Any] | None:
        """The optimizer's state of a parameter before the step; None where there was none."""
        return None if self._state is None else self._state.get(parameter)

    def restore(self) -> None:
        """Put them back in place."""
        for group, options in self._options:
            group.update(options)
        if self._state is not None and self.stepped is not None:
            self.stepped.state.clear()
            self.stepped.state.update(self._state)
            # The copies are the state now.
            self._kept = {}


def copy_of_state(state: Mapping[Any, Any]) -> dict[Any, Any]:
    """Of an optimizer's state, or of its options: what is copied keeps its own keys."""
    return {
        key: {name: copied(inner) for name, inner in value.items()} if isinstance(value, dict) else copied(value)
        for key, value in state.items()
    }


def copied(value: Any) -> Any:
    """A copy of an option, or of something that an optimizer remembers."""
    if type(value) in _PLAIN:
        return value
    # copy.copy of a tensor shares its memory.
    return value.detach().clone() if isinstance(value, Tensor) else copy.deepcopy(value)
