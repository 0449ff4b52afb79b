"""The small extension module of `engine/capture/native`; `load` gives None where there is none.

Here, because what lies below the capture has parts of it, too. Nothing depends on it: everything is there in Python as well.
"""

from __future__ import annotations

import time
from types import ModuleType

import torch
from torch import Tensor, nn

from gradscope.engine.quantities.kernel.building import TAPS_FOLDER, load_taps, wanted_taps
from gradscope.protocol import absences
from gradscope.protocol.phases import SubStep
from gradscope.protocol.subjects import COLUMNS, INF, NAN


def load() -> ModuleType | None:
    """The extension that belongs to this installation; None where there is none, or it is not wanted."""
    path = wanted_taps(TAPS_FOLDER)
    if path is None:
        return None
    try:
        module = load_taps(path)
    except ImportError:
        return None
    if module is None:
        return None
    set_up(module, getattr(Tensor, "__dlpack_c_exchange_api__", None))
    return module


def set_up(module: ModuleType, exchange: object) -> None:
    """Tell the extension what it works with. `exchange`: the capsule by which torch tells how a tensor lies in memory, as
    DLPack has it; None before torch 2.10, and torch is asked by attributes."""
    module.set_up(
        Tensor,
        nn.Parameter,
        torch.float32,
        torch.strided,
        torch._C._functorch.is_functorch_wrapped_tensor,
        torch._C._current_graph_task_id,
        time.perf_counter,
        (),
        absences.NO_GRADIENT,
        absences.NO_GRADIENT_OF_VIEW,
        SubStep.BACKWARD,
        len(COLUMNS),
        NAN,
        INF,
        exchange,
    )


NATIVE = load()
"""None: all of it is done in Python."""
