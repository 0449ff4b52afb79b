"""Where expressions are evaluated: one training, whoever drives it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from torch.optim import Optimizer

from gradscope.engine.book.book import Book
from gradscope.engine.stepping.user_code import UserCode


@dataclass(frozen=True, kw_only=True)
class Place:
    """The functions are asked at each evaluation."""

    book: Book
    roots: Callable[[], Mapping[str, object]]
    """By their names, the objects that lead to all that evaluated code may change, but for the states of optimizers."""
    optimizers: Callable[[], Mapping[str, Optimizer]]
    names: Callable[[], Mapping[str, Any]]
    """What of this kind of training the code can use by name: its model, its batch."""
    user_code: UserCode = field(default_factory=UserCode)
    """On while the code runs: then it may be interrupted."""
    unseen: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext
    """Inside, who follows the training sees nothing."""
