"""What goes into an explanation and what comes out of it: the step as it was taken, terms, factors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


class Unexplained(Exception):
    """No formula holds for this step; the text says why, in one sentence."""


@dataclass(frozen=True, kw_only=True)
class StepTaken:
    """One parameter in one optimizer step. Tensors are of the parameter's shape; none is changed."""

    options: Mapping[str, Any]
    """The options of its group as this very step used them (a scheduler may have moved the rate since)."""
    before: Tensor
    """The parameter's value before the step."""
    gradient: Tensor | None
    """What the optimizer saw: after unscaling and clipping."""
    state_before: Mapping[str, Any]
    """The optimizer's state of this parameter before the step; empty at its first."""
    state_after: Mapping[str, Any]
    delta: Tensor
    """The true change: value after minus value before."""


@dataclass(frozen=True)
class Term:
    """One summand of the delta."""

    name: str
    """"gradient", "momentum", "weight decay" or "rounding"."""
    formula: str
    sentence: str
    tensor: Tensor
    """float64 (complex128 for a complex parameter), of the parameter's shape."""


@dataclass(frozen=True)
class Factor:
    """Something that terms are multiplied by; one number, or one per element."""

    name: str
    """"rate", "bias correction" or "adaptive scale"."""
    formula: str
    sentence: str
    values: Tensor
    """float64: 0-d, or one per element (complex parameters: per real and imaginary part)."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What an optimizer's formula gives: the delta is the sum of the terms, but for rounding."""

    terms: tuple[Term, ...]
    factors: tuple[Factor, ...]
    roundings: int = 1
    """How many times the parameter is rounded on its way through the step."""


class Given:
    """A step in float64 and in real numbers, as formulas want it: a complex tensor has one dimension more here."""

    def __init__(self, step: StepTaken, gradient: Tensor) -> None:
        self.options = step.options
        self.parameter = real64(step.before)
        self.dtype = step.before.real.dtype if step.before.is_complex() else step.before.dtype
        self.is_maximized = bool(step.options.get("maximize", False))
        self.gradient = real64(gradient)
        self._before, self._after = step.state_before, step.state_after

    @property
    def descent(self) -> Tensor:
        """The gradient that is gone down: its negative where the objective is maximized."""
        return -self.gradient if self.is_maximized else self.gradient

    @property
    def g(self) -> str:
        """That gradient in a formula."""
        return "(−g)" if self.is_maximized else "g"

    def number(self, option: str, default: float | None = None) -> float:
        """An option as a number; a tensor of one element is one too."""
        value = self.options.get(option, default)
        if value is None:
            raise Unexplained(f"The optimizer's option {option} is missing")
        return float(value)

    def is_on(self, option: str) -> bool:
        return bool(self.options.get(option, False))

    def older(self, key: str) -> Tensor | None:
        """A tensor of the state before the step; None at the first step."""
        value = self._before.get(key)
        return real64(value) if isinstance(value, Tensor) else None

    def newer(self, key: str) -> Tensor:
        """A tensor of the state after the step: what the optimizer divided by, with its own rounding."""
        value = self._after.get(key)
        if not isinstance(value, Tensor):
            raise Unexplained(f"The optimizer's state has no {key}: it cannot be said what the step did")
        return real64(value)

    def steps(self) -> Any:
        """How many steps this parameter has made, this one included: a number, or the optimizer's own tensor where it
        computes with that (then its rounding counts)."""
        value = self._after.get("step")
        if value is None:
            raise Unexplained("The optimizer's state has no step counter")
        is_tensor = isinstance(value, Tensor) and (self.is_on("capturable") or self.is_on("differentiable"))
        return value if is_tensor else float(value)


def real64(tensor: Tensor) -> Tensor:
    """In float64; a complex tensor as pairs of real numbers."""
    tensor = tensor.detach().cpu() if tensor.device.type == "mps" else tensor.detach()
    return (torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor).to(torch.float64)


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)
