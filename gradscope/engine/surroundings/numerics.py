"""What the last digits of a training depend on beside its recipe: versions, and how torch computes in this process."""

from __future__ import annotations

import dataclasses
import platform
from typing import Any

import numpy as np
import torch

from gradscope.engine.surroundings.torch_settings import TorchSettings
from gradscope.version import __version__


def versions() -> dict[str, str]:
    """By name: gradscope, python, torch, numpy."""
    return {
        "gradscope": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }


def numerics() -> dict[str, Any]:
    """torch's settings by name, as JSON has them: "threads", "deterministic", "matmul_precision" ..., and the processor's
    instructions that its kernels use ("AVX512")."""
    settings = {field.name: getattr(TorchSettings.capture(), field.name) for field in dataclasses.fields(TorchSettings)}
    # Whether gradients are on is a matter of the moment.
    del settings["grad_enabled"]
    plain = {
        name: value if isinstance(value, (bool, int, str)) else str(value).removeprefix("torch.")
        for name, value in settings.items()
    }
    return {**plain, "instructions": torch.backends.cpu.get_cpu_capability()}
