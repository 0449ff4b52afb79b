"""What is the same to a training although it is written otherwise: notes that torch keeps of its own for warnings and speed,
and values that it makes only when they are first used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gradscope.engine.stepping.training import Training
from gradscope.engine.surroundings.error_parts import safely

_OF_SCALER = {"_scale": "_init_scale", "_growth_tracker": "_init_growth_tracker"}
"""Made in the first step from the number that is named behind; from then on the number says nothing any more."""
_OF_OPTIMIZER = frozenset({"_opt_called", "_numel_cache"})
"""A scheduler's note for a warning; how many numbers the parameters of LBFGS have, once somebody has counted them."""
_LATE_DEFAULTS: Mapping[str, Any] = {"differentiable": False}
"""Torch adds them to the defaults of an optimizer when a state is loaded."""


_PLAIN = (type(None), bool, int, float, complex, str)


class Canonical:
    """Of one training: which of its attributes stand for others, and which say nothing."""

    def __init__(self, training: Training, *, as_in_file: bool = False) -> None:
        """`as_in_file`: only what a checkpoint file brings back counts. Options of optimizers and attributes of schedulers
        come back by their values: that two shared a list or a tensor is not in the file."""
        self.left_out: list[object] = []
        """Tensors whose numbers are told with their owner."""
        self._scaler: dict[str, Any] | None = None
        self._optimizers: set[int] = set()
        self._defaults: set[int] = set()
        self._by_value: set[int] = set()
        self._as_in_file = as_in_file
        scaler = training.scaler
        if isinstance(scaler, GradScaler):
            self._scaler = vars(scaler)
            self.left_out += [value for name in _OF_SCALER if isinstance(value := vars(scaler).get(name), Tensor)]
        for optimizer in training.optimizers:
            if isinstance(optimizer, Optimizer):
                self._optimizers.add(id(vars(optimizer)))
                self._defaults.add(id(vars(optimizer).get("defaults")))
        if as_in_file:
            self._tell_by_value(training)

    def is_told_by_value(self, content: object, value: object) -> bool:
        """Of a value in a dict: what it is counts, and not which one."""
        if id(content) not in self._by_value or type(value) in _PLAIN:
            return False
        is_group = isinstance(content, dict) and content.get("params") is value
        return not is_group and _is_plain(value)

    def items(self, content: object, keys: list[Any], values: list[Any]) -> tuple[list[Any], list[Any]]:
        """What is to be written of a dict, in its order."""
        if self._scaler is not None and content is self._scaler:
            pairs = [(key, self._of_scaler(key, value)) for key, value in zip(keys, values, strict=True)]
            pairs = [pair for pair in pairs if pair[0] not in _OF_SCALER.values()]
        elif id(content) in self._optimizers:
            pairs = [pair for pair in zip(keys, values, strict=True) if pair[0] not in _OF_OPTIMIZER]
        elif id(content) in self._defaults:
            # Their order says nothing either.
            pairs = sorted(
                (pair for pair in zip(keys, values, strict=True) if self._is_default(*pair)),
                key=lambda pair: str(pair[0]),
            )
        else:
            return keys, values
        return [key for key, _ in pairs], [value for _, value in pairs]

    def _is_default(self, key: Any, value: Any) -> bool:
        # A rate that is a tensor is that of a group, which moves, until a state is loaded.
        return _LATE_DEFAULTS.get(key) is not value and not (self._as_in_file and isinstance(value, Tensor))

    def _tell_by_value(self, training: Training) -> None:
        for optimizer in training.optimizers:
            if isinstance(optimizer, Optimizer):
                self._by_value.update(map(id, (vars(optimizer).get("defaults"), *optimizer.param_groups)))
        self._by_value.update(id(vars(it)) for it in training.schedulers() if isinstance(it, LRScheduler))

    def _of_scaler(self, key: Any, value: Any) -> Any:
        if key not in _OF_SCALER or self._scaler is None:
            return value
        number = self._scaler.get(_OF_SCALER[key]) if value is None else safely(value.item, None)
        return float(np.float32(number)) if key == "_scale" and isinstance(number, (int, float)) else number


def _is_plain(value: object) -> bool:
    """Lists of numbers and tensors, and what is made of such."""
    kind = type(value)
    if isinstance(value, dict) and kind is dict:
        return all(type(key) in _PLAIN and _is_plain(item) for key, item in value.items())
    if isinstance(value, (list, tuple)) and kind in (list, tuple):
        return all(map(_is_plain, value))
    return kind is Tensor or kind in _PLAIN
