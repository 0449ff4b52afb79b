"""What form a value out of a file has to have: checks that take the value and where it stands, and raise Misfit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from gradscope.engine.wording import with_article

Check = Callable[[Any, str], None]
MAX_WHOLE = 2**53


class Misfit(Exception):
    """The text is a sentence: where, what is there, what was expected."""

    def __init__(self, where: str, value: object, expected: str) -> None:
        super().__init__(f"{where} is {described(value)}; expected {expected}")


def described(value: object) -> str:
    """A value in a few words: "'high'", "-1", "a list", "a tensor of (3, 4)"."""
    if isinstance(value, Tensor):
        return f"a {str(value.dtype).removeprefix('torch.')} tensor of {tuple(value.shape)}"
    if value is None or isinstance(value, (bool, int, float, complex, str)):
        return f"{value!r:.40}"
    return with_article(type(value).__name__)


def is_number(value: object) -> bool:
    """Of Python, or a real tensor without dimensions."""
    if isinstance(value, Tensor):
        return value.dim() == 0 and not value.is_complex() and value.layout is torch.strided and not value.is_meta
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def whole(value: Any, where: str, *, least: int = 0) -> None:
    if type(value) is not int or not least <= value < MAX_WHOLE:
        raise Misfit(where, value, f"a whole number from {least}")


def number(value: Any, where: str) -> None:
    """NaN and Inf too: a loss may have been either."""
    if not is_number(value):
        raise Misfit(where, value, "a number")


def positive(value: Any, where: str) -> None:
    if not is_number(value) or not 0 < float(value) < math.inf:
        raise Misfit(where, value, "a number above 0")


def share(value: Any, where: str) -> None:
    if not is_number(value) or not 0 <= float(value) <= 1:
        raise Misfit(where, value, "a number from 0 to 1")


def flag(value: Any, where: str) -> None:
    if type(value) is not bool:
        raise Misfit(where, value, "True or False")


def text(value: Any, where: str) -> None:
    if type(value) is not str:
        raise Misfit(where, value, "a text")


def tensor(value: Any, where: str) -> None:
    if not isinstance(value, Tensor):
        raise Misfit(where, value, "a tensor")


def anything(_value: Any, _where: str) -> None:
    pass


def one_of(*values: Any) -> Check:
    def check(value: Any, where: str) -> None:
        if not any(type(value) is type(one) and value == one for one in values):
            raise Misfit(where, value, "one of " + ", ".join(repr(one) for one in values))

    return check


def tensor_of(dtype: torch.dtype, shape: tuple[int, ...] | None = None) -> Check:
    expected = f"a {str(dtype).removeprefix('torch.')} tensor" + (f" of {shape}" if shape is not None else "")

    def check(value: Any, where: str) -> None:
        if not isinstance(value, Tensor) or value.dtype != dtype or shape not in (None, tuple(value.shape)):
            raise Misfit(where, value, expected)

    return check


def tensor_like(own: Tensor) -> Check:
    """Of the same shape, and of numbers of the same kind."""

    def check(value: Any, where: str) -> None:
        is_alike = isinstance(value, Tensor) and value.shape == own.shape and value.is_complex() == own.is_complex()
        if not is_alike or value.is_meta:
            raise Misfit(where, value, f"a tensor of {tuple(own.shape)}")

    return check


def optional(inner: Check) -> Check:
    def check(value: Any, where: str) -> None:
        if value is not None:
            inner(value, where)

    return check


def list_of(inner: Check) -> Check:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, (list, tuple)):
            raise Misfit(where, value, "a list")
        for i, item in enumerate(value):
            inner(item, f"{where}[{i}]")

    return check


def dict_of(inner: Check, *, keys: Check = text) -> Check:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, Mapping):
            raise Misfit(where, value, "a dict")
        for key, item in value.items():
            keys(key, f"a key of {where}")
            inner(item, f"{where}.{key}")

    return check


def record(fields: Mapping[str, Check]) -> Check:
    """A dict that has these fields, whatever else it has."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, Mapping):
            raise Misfit(where, value, "a dict")
        for name, inner in fields.items():
            if name not in value:
                raise Misfit(where, value, f"a dict with {name!r}")
            inner(value[name], f"{where}.{name}")

    return check


def like(own: Any, *, is_finite: bool = True) -> Check:
    """Of the form that the session's own value has, as far as that tells: None may have been anything.

    `is_finite`: no number is NaN or Inf.
    """

    def check(value: Any, where: str) -> None:
        if isinstance(own, bool):
            flag(value, where)
        elif is_number(own):
            if not is_number(value) or (is_finite and not math.isfinite(float(value))):
                raise Misfit(where, value, "a finite number" if is_finite else "a number")
        elif isinstance(own, str):
            text(value, where)
        elif isinstance(own, Tensor):
            tensor_like(own)(value, where)
        elif isinstance(own, Mapping):
            is_counter = bool(own) and all(type(key) is int for key in own)
            dict_of(anything, keys=whole if is_counter else anything)(value, where)
            for key, item in value.items():
                # The milestones of a schedule need not be the same ones in a file.
                sample = next(iter(own.values())) if is_counter else own.get(key)
                like(sample, is_finite=is_finite)(item, f"{where}.{key}")
        elif isinstance(own, (list, tuple)):
            list_of(anything)(value, where)
            if len(own) == len(value):
                for i, (mine, item) in enumerate(zip(own, value, strict=True)):
                    like(mine, is_finite=is_finite)(item, f"{where}[{i}]")

    return check
