"""All parameters as one vector, in float64: where it stands, directions in it, their lengths and products."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gradscope.engine.model.copies import put_back

Vector = list[Tensor]
"""A float64 tensor for each parameter, in one order."""


def wide(tensor: Tensor) -> Tensor:
    """Its numbers in float64 (complex ones as pairs), dense, a copy; on the CPU where the device knows no float64."""
    values = tensor.detach()
    if values.layout is not torch.strided:
        values = values.to_dense()
    if values.is_complex():
        values = torch.view_as_real(values.resolve_conj())
    if values.device.type == "mps":
        values = values.cpu()
    return values.to(torch.float64, copy=True)


def dot(one: Vector, other: Vector) -> float:
    return float(sum(float(torch.dot(a.reshape(-1), b.reshape(-1))) for a, b in zip(one, other, strict=True)))


def length(vector: Vector) -> float:
    return math.sqrt(dot(vector, vector))


def times(vector: Vector, factor: float) -> Vector:
    return [part * factor for part in vector]


def minus(one: Vector, other: Vector) -> Vector:
    return [a - b for a, b in zip(one, other, strict=True)]


def without(vector: Vector, direction: Vector) -> Vector:
    """What of a vector is at right angles to a direction (one step of Gram and Schmidt, twice for the last digits)."""
    square = dot(direction, direction)
    for _ in range(2 if square else 0):
        share = dot(vector, direction) / square
        vector = [a - share * b for a, b in zip(vector, direction, strict=True)]
    return vector


def shares_in_plane(vector: Vector, first: Vector, second: Vector) -> tuple[float, float, float]:
    """(x, y, share): x * first + y * second is what is nearest to the vector in their plane, and which share of its length
    that has."""
    a, b, c = dot(first, first), dot(first, second), dot(second, second)
    p, q, whole = dot(vector, first), dot(vector, second), dot(vector, vector)
    determinant = a * c - b * b
    if determinant <= 0.0 or whole <= 0.0:
        x, y = (p / a if a else 0.0), 0.0
    else:
        x, y = (p * c - q * b) / determinant, (q * a - p * b) / determinant
    inside = x * x * a + 2 * x * y * b + y * y * c
    return x, y, (min(1.0, max(0.0, inside / whole)) ** 0.5 if whole > 0 else 1.0)


class Parameters:
    """The tensors that a step can move, and where they stood when this was made."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Those that are dense and have a gradient to follow: floats and complex numbers."""
        self.named = {
            name: tensor
            for name, tensor in tensors.items()
            if tensor.layout is torch.strided and (tensor.is_floating_point() or tensor.is_complex())
        }
        self.origin = [tensor.detach().clone() for tensor in self.named.values()]

    @property
    def now(self) -> list[Tensor]:
        """Copies of the values of now."""
        return [tensor.detach().clone() for tensor in self.named.values()]

    def update(self, after: Sequence[Tensor]) -> Vector:
        """How far other values are from the origin."""
        return [wide(value) - wide(before) for value, before in zip(after, self.origin, strict=True)]

    def gradient(self) -> Vector:
        """Their `.grad` of now; 0 where there is none."""
        return [
            torch.zeros_like(wide(tensor)) if tensor.grad is None else wide(tensor.grad)
            for tensor in self.named.values()
        ]

    def put(self, values: Sequence[Tensor]) -> None:
        for tensor, value in zip(self.named.values(), values, strict=True):
            put_back(tensor, value)

    def go_to(self, *terms: tuple[float, Vector]) -> None:
        """Stand at the origin plus the sum of factor * direction, rounded once to their own dtype."""
        for i, (tensor, before) in enumerate(zip(self.named.values(), self.origin, strict=True)):
            at = wide(before)
            for factor, direction in terms:
                at += factor * direction[i]
            put_back(tensor, torch.view_as_complex(at) if tensor.is_complex() else at)
