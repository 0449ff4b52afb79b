"""torch's global settings, put back before another recipe is loaded: one recipe must not change what the next one does."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class TorchSettings:
    """What a recipe may have set for the whole process."""

    default_dtype: torch.dtype
    default_device: torch.device
    grad_enabled: bool
    deterministic: bool
    deterministic_warn_only: bool
    threads: int
    matmul_precision: str
    cudnn_benchmark: bool
    cudnn_deterministic: bool

    @staticmethod
    def capture() -> TorchSettings:
        return TorchSettings(
            default_dtype=torch.get_default_dtype(),
            default_device=torch.get_default_device(),
            grad_enabled=torch.is_grad_enabled(),
            deterministic=torch.are_deterministic_algorithms_enabled(),
            deterministic_warn_only=torch.is_deterministic_algorithms_warn_only_enabled(),
            threads=torch.get_num_threads(),
            matmul_precision=torch.get_float32_matmul_precision(),
            cudnn_benchmark=torch.backends.cudnn.benchmark,
            cudnn_deterministic=torch.backends.cudnn.deterministic,
        )

    def restore(self) -> None:
        torch.set_default_dtype(self.default_dtype)
        if torch.get_default_device() != self.default_device:
            # None takes the mode away again; a device, also the CPU, would leave one behind.
            torch.set_default_device(None if self.default_device.type == "cpu" else self.default_device)
        torch.set_grad_enabled(self.grad_enabled)
        torch.use_deterministic_algorithms(self.deterministic, warn_only=self.deterministic_warn_only)
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        torch.set_float32_matmul_precision(self.matmul_precision)
        torch.backends.cudnn.benchmark = self.cudnn_benchmark
        torch.backends.cudnn.deterministic = self.cudnn_deterministic
