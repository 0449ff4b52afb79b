"""A mark of a training between two steps: cheap enough for every step, and another one where a replay has gone another way.

It is of the parameters, the buffers, the small tensors of the optimizers' states, the rates, the random states and the place
in the data. Large tensors go into it by a sum of their words, each times an odd number of its own: two that differ have the
same by chance only. What `state_hash` says is of everything, and takes longer.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from gradscope.engine.aside.value_holders import version_of
from gradscope.engine.book.turns import rates_of
from gradscope.engine.model.parameters import is_uninitialised
from gradscope.engine.stepping.stepper import Stepper
from gradscope.engine.surroundings.error_parts import safely
from gradscope.engine.surroundings.random_memory import numpy_memory, python_memory

_SMALL_BYTES = 16 * 1024
_ROW = 4096
"""Words that have different factors."""
_PLAIN = (Tensor, torch.nn.Parameter)
_SEED = 20_240_229


class Marks:
    """Of one training."""

    def __init__(self) -> None:
        numbers = np.random.Generator(np.random.PCG64(_SEED))
        self._factors = numbers.integers(0, 2**63, _ROW, dtype=np.int64) | 1
        self._known: dict[int, tuple[weakref.ref[Tensor], int, bytes]] = {}
        """Of large tensors that are not trained, by their ids: (tensor, version, digest)."""

    def now(self, stepper: Stepper) -> bytes:
        training, batches = stepper.training, stepper.loop.batches
        digest = hashlib.blake2b(digest_size=16)
        small: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
        for tensor, is_whole in _tensors_of(stepper):
            if is_uninitialised(tensor):
                continue
            if type(tensor) in _PLAIN and tensor.numel() * tensor.element_size() <= _SMALL_BYTES:
                small.setdefault((tensor.dtype, tensor.device), []).append(tensor)
            elif is_whole:
                digest.update(self._of_large(tensor))
        with torch.no_grad():
            for group in small.values():
                together = torch.cat([tensor.reshape(-1) for tensor in group])
                digest.update(safely(partial(self._sum_of, together), b"?"))
        rest = (stepper.book.step, batches.epoch, batches.index, rates_of(training.optimizers))
        digest.update(repr(rest).encode())
        digest.update((python_memory() or b"") + (numpy_memory() or b""))
        digest.update(torch.get_rng_state().numpy().data)
        return digest.digest()

    def _of_large(self, tensor: Tensor) -> bytes:
        if tensor.requires_grad:
            # Its version does not tell: fused kernels leave no mark in it.
            return safely(lambda: self._sum_of(tensor.detach()), b"?")
        version = version_of(tensor)
        known = self._known.get(id(tensor))
        if known is not None and known[0]() is tensor and known[1] == version:
            return known[2]
        found = safely(lambda: self._sum_of(tensor.detach()), b"?")
        self._known[id(tensor)] = weakref.ref(tensor), version, found
        return found

    def _sum_of(self, tensor: Tensor) -> bytes:
        if tensor.device.type != "cpu":
            words = tensor.contiguous().view(-1).view(torch.uint8)[: tensor.numel() * tensor.element_size() // 8 * 8]
            whole = words.view(torch.int64)
            weights = torch.arange(1, whole.numel() + 1, device=tensor.device) * 2 + 1
            return bytes(repr(int((whole * weights).sum())), "ascii")
        content = tensor.contiguous().view(-1).view(torch.uint8).numpy()
        whole_rows = content.size // (8 * _ROW)
        rows = content[: whole_rows * 8 * _ROW].view(np.int64).reshape(whole_rows, _ROW)
        sums = rows @ self._factors
        return hashlib.blake2b(sums.tobytes() + content[whole_rows * 8 * _ROW :].tobytes(), digest_size=16).digest()


def _tensors_of(stepper: Stepper) -> Iterator[tuple[Tensor, bool]]:
    """(tensor, whether it counts where it is large)."""
    seen = set[int]()
    for module in stepper.training.modules():
        for inside in (module._parameters, module._buffers):
            for tensor in inside.values() if inside else ():
                if tensor is not None and id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield tensor, True
    for turn in stepper.training.turns:
        for parameter in turn.parameters:
            if id(parameter) not in seen:
                yield parameter, True
            state = turn.optimizer.state.get(parameter)
            for value in state.values() if isinstance(state, dict) else ():
                if type(value) is Tensor:
                    yield value, False
