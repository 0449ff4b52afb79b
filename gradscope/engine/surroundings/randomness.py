"""Random states: seeding, remembering and restoring Python's, numpy's and torch's generators."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from gradscope.engine.surroundings.random_memory import memory_of, numpy_memory, python_memory, torch_memory

MAX_SEED = 2**32 - 1
"""numpy's legacy generator takes no larger one."""


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch (CPU and every accelerator), in this order."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@lru_cache(maxsize=1)
def _has_mps() -> bool:
    return torch.backends.mps.is_available()


@dataclass(frozen=True)
class RandomStates:
    """The states of all global generators at one moment."""

    python: Any
    numpy: Any
    torch_cpu: torch.Tensor
    cuda: tuple[torch.Tensor, ...]
    mps: torch.Tensor | None
    _memory: tuple[bytes | None, ...] = field(default=(None, None, None), compare=False, repr=False)
    """What tells whether Python's, numpy's and torch's generators have moved since; None where nothing does."""

    @staticmethod
    def capture(newest: RandomStates | None = None) -> RandomStates:
        """As they are now; `newest` was captured before, and is returned where no generator has moved since. What is still as
        it was there need not be asked for again."""
        cpu, torch_cpu = torch_memory(), None
        if cpu is None:
            torch_cpu = torch.get_rng_state()
            cpu = memory_of(torch_cpu)
        memory = python_memory(), numpy_memory(), cpu
        # In this order: asking whether there is a GPU takes longer.
        cuda = torch.cuda.is_initialized() and torch.cuda.is_available()
        mps = _has_mps()
        states: list[Any] = [None, None, torch_cpu]
        if newest is not None:
            is_of_cpu = not (cuda or mps or newest.cuda or newest.mps is not None)
            if is_of_cpu and memory == newest._memory and None not in memory:
                return newest
            known = zip(memory, newest._memory, (newest.python, newest.numpy, newest.torch_cpu), states, strict=True)
            states = [state if now == before and now is not None else asked for now, before, state, asked in known]
        return RandomStates(
            python=states[0] or random.getstate(),
            numpy=states[1] or np.random.get_state(),
            torch_cpu=torch.get_rng_state() if states[2] is None else states[2],
            cuda=tuple(torch.cuda.get_rng_state_all()) if cuda else (),
            mps=torch.mps.get_rng_state() if mps else None,
            _memory=memory,
        )

    def restore(self) -> None:
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch_cpu)
        if self.cuda and torch.cuda.is_available():
            # A state from a checkpoint may be of a machine with more devices.
            torch.cuda.set_rng_state_all(list(self.cuda[: torch.cuda.device_count()]))
        if self.mps is not None and _has_mps():
            torch.mps.set_rng_state(self.mps)

    def is_same(self, other: RandomStates) -> bool:
        if self is other:
            return True
        mine, others = self._parts(), other._parts()
        return len(mine) == len(others) and all(_equal(a, b) for a, b in zip(mine, others, strict=True))

    def _parts(self) -> list[Any]:
        numpy = list(self.numpy.values()) if isinstance(self.numpy, dict) else list(self.numpy)
        return [self.python, *numpy, self.torch_cpu, *self.cuda, self.mps]

    def packed(self) -> dict[str, Any]:
        """As tensors and numbers, for a checkpoint."""
        version, words, gauss = self.python
        return {
            "python": {"version": version, "words": torch.tensor(words, dtype=torch.int64), "gauss": gauss},
            "numpy": _packed_numpy(self.numpy),
            "torch": self.torch_cpu,
            "cuda": list(self.cuda),
            "mps": self.mps,
        }

    @staticmethod
    def unpacked(packed: Mapping[str, Any]) -> RandomStates:
        """The inverse of `packed`. Raises KeyError, TypeError, ValueError or AttributeError for anything else."""
        python, numpy = packed["python"], packed["numpy"]
        return RandomStates(
            python=(python["version"], tuple(python["words"].tolist()), python["gauss"]),
            numpy=_unpacked_numpy(numpy),
            torch_cpu=packed["torch"],
            cuda=tuple(packed["cuda"]),
            mps=packed["mps"],
        )


def _packed_numpy(state: Any) -> dict[str, Any]:
    # A dict where somebody has put another bit generator in the place of numpy's own.
    if isinstance(state, dict):
        return state
    name, keys, at, has_gauss, cached = state
    return {"name": name, "keys": torch.from_numpy(keys.astype(np.int64)), "rest": (at, has_gauss, cached)}


def _unpacked_numpy(packed: Mapping[str, Any]) -> Any:
    if "keys" not in packed:
        return packed
    return (packed["name"], packed["keys"].numpy().astype(np.uint32), *packed["rest"])


def _equal(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    return bool(one == other)
