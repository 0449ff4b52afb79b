"""A digest of weights, by which two runs are told to have begun with the same ones."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

DIGEST_BYTES = 16
MAX_BYTES = 1024**3
"""Of all weights together: more would take more than a second, of a run whose first step nobody wants to wait for."""


def digest_of(weights: Mapping[str, Tensor]) -> str | None:
    """Hexadecimal; of names, shapes, dtypes and elements, whatever the order. None where there are no weights, too many, or
    some whose memory cannot be read (sparse, without memory ...). Nothing is changed, and no random number is drawn."""
    if not weights or sum(tensor.numel() * tensor.element_size() for tensor in weights.values()) > MAX_BYTES:
        return None
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    try:
        with torch.no_grad():
            for name in sorted(weights):
                tensor = weights[name].detach()
                digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode("utf-8", "surrogatepass"))
                flat = tensor.resolve_conj().resolve_neg().reshape(-1).contiguous().cpu()
                digest.update(flat.view(torch.uint8).numpy().data)
    except (RuntimeError, TypeError, NotImplementedError):
        return None
    return digest.hexdigest()
