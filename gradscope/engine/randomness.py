"""Random states: seeding, remembering and restoring Python's, numpy's and torch's generators."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

MAX_SEED = 2**32 - 1
"""numpy's legacy generator takes no larger one."""


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch (CPU and every accelerator), in this order."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@dataclass(frozen=True)
class RandomStates:
    """The states of all global generators at one moment."""

    python: Any
    numpy: Any
    torch_cpu: torch.Tensor
    cuda: tuple[torch.Tensor, ...]
    mps: torch.Tensor | None

    @staticmethod
    def capture() -> RandomStates:
        cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
        mps = torch.backends.mps.is_available()
        return RandomStates(
            python=random.getstate(),
            numpy=np.random.get_state(),
            torch_cpu=torch.get_rng_state(),
            cuda=tuple(torch.cuda.get_rng_state_all()) if cuda else (),
            mps=torch.mps.get_rng_state() if mps else None,
        )

    def restore(self) -> None:
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch_cpu)
        if self.cuda:
            torch.cuda.set_rng_state_all(list(self.cuda))
        if self.mps is not None:
            torch.mps.set_rng_state(self.mps)
