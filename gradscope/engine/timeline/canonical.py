"""What is the same to a training although it is written otherwise: notes that torch keeps of its own for warnings and speed,
and values that it makes only when they are first used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from gradscope.engine.stepping.training import Training
from gradscope.engine.surroundings.error_parts import safely

_OF_SCALER = {"_scale": "_init_scale", "_growth_tracker": "_init_growth_tracker"}
"""Made in the first step from the number that is named behind; from then on the number says nothing any more."""
_OF_OPTIMIZER = frozenset({"_opt_called", "_numel_cache"})
"""A scheduler's note for a warning; how many numbers the parameters of LBFGS have, once somebody has counted them."""
_LATE_DEFAULTS: Mapping[str, Any] = {"differentiable": False}
"""Torch adds them to the defaults of an optimizer when a state is loaded."""


class Canonical:
    """Of one training: which of its attributes stand for others, and which say nothing."""

    def __init__(self, training: Training) -> None:
        self.left_out: list[object] = []
        """Tensors whose numbers are told with their owner."""
        self._scaler: dict[str, Any] | None = None
        self._optimizers: set[int] = set()
        self._defaults: set[int] = set()
        scaler = training.scaler
        if isinstance(scaler, GradScaler):
            self._scaler = vars(scaler)
            self.left_out += [value for name in _OF_SCALER if isinstance(value := vars(scaler).get(name), Tensor)]
        for optimizer in training.optimizers:
            if isinstance(optimizer, Optimizer):
                self._optimizers.add(id(vars(optimizer)))
                self._defaults.add(id(vars(optimizer).get("defaults")))

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
                (pair for pair in zip(keys, values, strict=True) if _LATE_DEFAULTS.get(pair[0]) is not pair[1]),
                key=lambda pair: str(pair[0]),
            )
        else:
            return keys, values
        return [key for key, _ in pairs], [value for _, value in pairs]

    def _of_scaler(self, key: Any, value: Any) -> Any:
        if key not in _OF_SCALER or self._scaler is None:
            return value
        number = self._scaler.get(_OF_SCALER[key]) if value is None else safely(value.item, None)
        return float(np.float32(number)) if key == "_scale" and isinstance(number, (int, float)) else number
