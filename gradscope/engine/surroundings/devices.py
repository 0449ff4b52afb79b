"""Devices: which there are, and moving a batch to one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages import DeviceInfo

_is_cuda_in_use: Callable[[], bool] = torch.cuda.is_initialized


def available_devices() -> tuple[DeviceInfo, ...]:
    """CPU, then every CUDA device, then MPS."""
    devices = [DeviceInfo(name="cpu", label="CPU")]
    if torch.cuda.is_available():
        devices += [
            DeviceInfo(name=f"cuda:{i}", label=f"cuda:{i}: {torch.cuda.get_device_name(i)}")
            for i in range(torch.cuda.device_count())
        ]
    if torch.backends.mps.is_available():
        devices.append(DeviceInfo(name="mps", label="mps: Apple GPU"))
    return tuple(devices)


def parse_device(name: str) -> torch.device:
    """The device of that name. Raises BadInput if torch does not know it or this machine does not have it."""
    known = [device.name for device in available_devices()]
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in known:
        raise BadInput(f"The device is {name!r}; this machine has {', '.join(known)}")
    return torch.device(wanted)


def is_capturing() -> bool:
    """A graph of CUDA's is being captured: whoever reads a value then breaks that."""
    # Nobody captures before CUDA is in use; and to ask then raises where there is no driver (a torch with CUDA, as pip
    # installs it, on a machine without a GPU), or where torch was built without CUDA.
    return _is_cuda_in_use() and torch.cuda.is_current_stream_capturing()


def still_answers(device: torch.device) -> bool:
    """False after an error that makes a GPU useless to this process, whatever it does then (a device-side assert)."""
    if device.type != "cuda":
        return True
    try:
        torch.cuda.synchronize(device)
        return bool(torch.ones(1, device=device).item())
    except torch.OutOfMemoryError:
        return True
    except RuntimeError:
        return False


def copy_batch(value: Any, device: torch.device) -> Any:
    """The same structure with a copy of every tensor on `device`: a step that changes its batch in place leaves the
    original as it was, for a second try."""
    if isinstance(value, Tensor):
        if value.requires_grad:
            return value.detach().to(device, copy=True).requires_grad_()
        return value.to(device, copy=True)
    if isinstance(value, PackedSequence):
        return value.to(device=device, copy=True)  # type: ignore[call-arg]
    if isinstance(value, Mapping):
        copied = {key: copy_batch(item, device) for key, item in value.items()}
        try:
            return type(value)(copied)  # type: ignore[call-arg]
        except TypeError:
            return copied
    if isinstance(value, tuple):
        items = [copy_batch(item, device) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, list):
        return [copy_batch(item, device) for item in value]
    if hasattr(value, "to") and callable(value.to) and not isinstance(value, type):
        return value.to(device)
    return value
