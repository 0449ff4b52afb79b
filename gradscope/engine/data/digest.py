"""A short digest of a batch, by which two runs are told to have trained on the same data."""

from __future__ import annotations

import hashlib
from typing import Any

import torch

from gradscope.engine.model.leaves import tensor_leaves

DIGITS = 12
"""Hexadecimal: 48 bits, which a double holds exactly."""
MAX_BYTES = 16 * 1024 * 1024
"""Of each tensor, its first so many bytes are looked at."""


def digest_of(batch: Any) -> str | None:
    """Of the tensors in a batch: their places in it, shapes, dtypes and elements. None where there is none, or one whose
    memory cannot be read (sparse, on another device ...)."""
    digest, count = hashlib.blake2b(digest_size=DIGITS // 2), 0
    try:
        for path, tensor in tensor_leaves(batch):
            if tensor.device.type != "cpu":
                return None
            digest.update(f"{path} {tuple(tensor.shape)} {tensor.dtype}\n".encode("utf-8", "replace"))
            flat = tensor.detach().resolve_conj().resolve_neg().reshape(-1)
            most = MAX_BYTES // max(1, tensor.element_size())
            digest.update(flat[:most].contiguous().view(torch.uint8).numpy().tobytes())
            count += 1
    except (RuntimeError, TypeError, NotImplementedError):
        return None
    return digest.hexdigest() if count else None
