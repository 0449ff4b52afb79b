"""The summary of a tensor on a CUDA or ROCm device in one kernel launch, where Triton is there and gives the right numbers.

Whether it does is tried out once for each device and dtype, when the first such tensor is summarised; else `on_device` does
the work. Nothing here waits for the device but that trial.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from types import ModuleType

import torch
from torch import Tensor

from gradscope.engine.quantities import fused_check
from gradscope.engine.quantities.kernel.building import SWITCH
from gradscope.engine.quantities.on_device import PACKED
from gradscope.engine.quantities.trial_mark import TriedInVain, marked
from gradscope.engine.quantities.values import GPU_FLOATS, Readable
from gradscope.engine.surroundings.devices import still_answers

ALIGNMENT = 16
"""Bytes that a thread reads at once."""
_PROGRAMS_PER_PROCESSOR = 5
"""As many as its registers have room for."""

_fused: dict[tuple[int, torch.dtype], FusedSummary | str] = {}
"""By number of the device and dtype: what does the work, or why nothing does."""


def fused_summary(readable: Readable) -> Tensor | None:
    """As `on_device.packed_summary`; None where that has to do it."""
    values = readable.values
    if not (values.is_cuda and values.dtype in GPU_FLOATS and values.numel() and values.is_contiguous()):
        return None
    if torch.cuda.is_current_stream_capturing():
        # The graph would be replayed when the row and the scratch belong to others.
        return None
    index = values.get_device()
    known = _fused.get((index, values.dtype))
    if known is None:
        known = _fused[index, values.dtype] = _tried(values.device, values.dtype)
    if isinstance(known, str):
        return None
    before = readable.before
    if before is not None and (before.data_ptr() - values.data_ptr()) % ALIGNMENT:
        # The kernel reads both with the same offset.
        values, before = values - before, None
    return known.row(values, before)


def reason_for_torch(device: torch.device) -> str:
    """Why summaries on a device take many operations each; "" where they do not, or where it is not known yet."""
    found = [known for (index, _), known in _fused.items() if index == device.index and isinstance(known, str)]
    return found[0] if device.type == "cuda" and found else ""


def _tried(device: torch.device, dtype: torch.dtype) -> FusedSummary | str:
    if os.environ.get(SWITCH) == "off":
        return f"{SWITCH} is off"
    try:
        mark = marked(f"{torch.cuda.get_device_name(device)} {dtype}", lambda: still_answers(device))
        with mark, torch.cuda.device(device), torch.no_grad(), _allowed_to_wait():
            fused = FusedSummary(device, dtype)
            return fused_check.disagreement(fused.row, device, dtype, tile=fused.tile) or fused
    except TriedInVain as reason:
        return str(reason)
    except Exception as error:
        # No Triton, no compiler for its launcher, a GPU that it does not know: whatever it is, torch can do it.
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


@contextlib.contextmanager
def _allowed_to_wait() -> Iterator[None]:
    """Also where the user has torch complain of it. Setting the mode warns, so it is only set where it has to be."""
    mode = torch.cuda.get_sync_debug_mode()
    if mode:
        torch.cuda.set_sync_debug_mode("default")
    try:
        yield
    finally:
        if mode:
            torch.cuda.set_sync_debug_mode(mode)


class FusedSummary:
    """The kernel for one dtype on one device."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        kernel = _import_kernel()
        if device.type == "cuda" and kernel.IS_INTERPRETED:
            raise RuntimeError("Triton interprets kernels on the CPU here (TRITON_INTERPRET)")
        self.tile: int = kernel.TILE
        self._kernel = kernel
        self._device = device
        self._index = device.index
        self._itemsize = dtype.itemsize
        self._dtype = kernel.DTYPES[dtype]
        processors = torch.cuda.get_device_properties(device).multi_processor_count
        self._most_programs = min(kernel.MAX_PROGRAMS, _PROGRAMS_PER_PROCESSOR * processors)
        self._scratch: dict[int, Tensor] = {}
        """By stream: what runs in one stream runs one after the other."""
        self._launchers: dict[bool, _Launcher] = {}

    def row(self, values: Tensor, before: Tensor | None, most_programs: int | None = None) -> Tensor:
        """Of at least one neighbouring number on this device; what is taken off them lies at the same offset."""
        if torch.cuda.current_device() != self._index:
            with torch.cuda.device(self._index):
                return self.row(values, before, most_programs)
        stream = torch._C._cuda_getCurrentRawStream(self._index)
        scratch = self._scratch.get(stream)
        if scratch is None:
            scratch = self._scratch[stream] = torch.zeros(
                self._kernel.SCRATCH_BYTES, dtype=torch.uint8, device=self._device
            )
        row = torch.empty(PACKED, dtype=torch.float64, device=self._device)
        address, count = values.data_ptr(), values.numel()
        offset = address % ALIGNMENT
        first = offset // self._itemsize
        programs = min(-(-(first + count) // self.tile), most_programs or self._most_programs)
        has_before = before is not None
        before_address = 0 if before is None else before.data_ptr() - offset
        arguments = (address - offset, before_address, first, count, scratch.data_ptr(), row.data_ptr())
        launcher = self._launchers.get(has_before)
        if launcher is None:
            launcher = self._launchers[has_before] = _Launcher(self._kernel, self._dtype, has_before)
        launcher(programs, stream, arguments)
        return row


class _Launcher:
    """One compiled form of the kernel. Only the first launch looks for it by its arguments, which takes Triton longer than
    all the rest: sizes and addresses make no other form of it."""

    def __init__(self, kernel: ModuleType, dtype: object, has_before: bool) -> None:
        self._kernel = kernel
        self._constants = (dtype, has_before)
        self._constants_of_compiled = () if kernel.CONSTANTS_ARE_COMPILED_IN else self._constants
        self._compiled = None

    def __call__(self, programs: int, stream: int, arguments: tuple[int, ...]) -> None:
        grid = (programs, 1, 1)
        if self._compiled is None:
            kernel = self._kernel.summarise[grid]
            self._compiled = kernel(*arguments, *self._constants, num_warps=self._kernel.WARPS)
        else:
            self._compiled[grid](*arguments, *self._constants_of_compiled, stream=stream)


def _import_kernel() -> ModuleType:
    """Triton takes a while to import, and not every torch comes with it."""
    from gradscope.engine.quantities import fused_kernel

    return fused_kernel
