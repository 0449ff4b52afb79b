"""The numbers of one call of a loss: what goes into it, what it is compared with, how it was made.

Of a large input, rows spread evenly are looked at, so that a vocabulary of 50,000 costs no second copy of its logits.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from gradscope.engine.findings.record import LossCall, Record
from gradscope.engine.findings.watch import nodes

OVER_CLASSES = frozenset(("cross_entropy", "nll_loss", "log_softmax", "logsumexp", "kl_div"))
REGRESSION = frozenset(("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "difference"))
LOSSES = (OVER_CLASSES | REGRESSION) - {"log_softmax", "logsumexp", "difference"} | {
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "poisson_nll_loss",
    "gaussian_nll_loss",
}
RANGES = {
    "Relu": (0.0, math.inf),
    "Softplus": (0.0, math.inf),
    "Exp": (0.0, math.inf),
    "Abs": (0.0, math.inf),
    "Sigmoid": (0.0, 1.0),
    "Softmax": (0.0, 1.0),
    "Tanh": (-1.0, 1.0),
}
"""Where the results of a node can lie."""
_MOST = 1 << 18
"""Elements that are looked at: a quarter of a million takes well below a millisecond."""
_TOLERANCE = 1e-3
"""Rounding of a sum of probabilities, in half precision too."""
_OTHER = 0.25
"""Of the range of the targets."""
_NEAR = 0.1
"""Targets beyond the range by less than a tenth of their spread may be noise around its end."""


def plain(tensor: object) -> bool:
    """Whether its numbers can be read here as they are."""
    return (
        isinstance(tensor, Tensor)
        and type(tensor) in (Tensor, torch.nn.Parameter)
        and tensor.layout is torch.strided
        and tensor.device.type != "meta"
        and not tensor.is_complex()
        and not tensor.is_quantized
        and not tensor.is_nested
    )


@lru_cache(maxsize=64)
def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def arguments(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """By name, with what is left out at its default."""
    signature = _signature(function)
    if signature is None:
        return dict(zip(("input", "target"), args, strict=False)) | kwargs
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)


def sample(tensor: Tensor) -> Tensor:
    """Some rows of it, float32 or float64, spread evenly."""
    x = tensor.detach()
    if x.dim() and x.numel() > _MOST:
        keep = max(1, _MOST * x.shape[0] // x.numel())
        x = x[:: max(1, x.shape[0] // keep)]
    return x if x.dtype is torch.float64 else x.float()


def loss_call(
    function: str,
    values: dict[str, Any],
    *,
    step: int,
    turn: str,
    layer: str,
    place: str,
    is_relayout: bool,
    class_dim: int | None = None,
    result: object = None,
    **more: Any,
) -> LossCall | None:
    """`values` holds "input" and, where there is one, "target"; `more` is known besides, by its name in LossCall. None where
    its numbers cannot be read."""
    given, target = values.get("input"), values.get("target")
    if not isinstance(given, Tensor) or not plain(given) or not given.is_floating_point() or not given.numel():
        return None
    x = sample(given)
    dim = _class_dim(function, given) if class_dim is None else class_dim
    if function == "kl_div" and given.dim() > 2 and not _sums_to_one(x.exp(), dim) and _sums_to_one(x.exp(), 1):
        dim = 1
    made_by, made_of = nodes.maker_names(given)
    y = (
        target
        if isinstance(target, Tensor) and plain(target) and target.is_floating_point() and target.numel()
        else None
    )
    low, high = (math.nan, math.nan) if y is None else _range(sample(y))
    return LossCall(
        step=step,
        turn=turn,
        function=function,
        layer=layer,
        input_shape=tuple(given.shape),
        target_shape=tuple(target.shape) if isinstance(target, Tensor) else None,
        class_dim=dim,
        requires_grad=given.requires_grad,
        made_by=made_by,
        made_of=made_of,
        rows_sum_to_one=dim is not None and given.shape[dim] > 1 and bool((x >= 0).all()) and _sums_to_one(x, dim),
        is_in_unit=bool(((x >= 0) & (x <= 1)).all()),
        logsumexp=math.nan if dim is None else float(x.logsumexp(dim).abs().median()),
        input_low=_range(x)[0],
        input_high=_range(x)[1],
        target_low=low,
        target_high=high,
        target_sums=_target_sums(function, given, y, dim),
        is_relayout=is_relayout,
        options={key: value for key, value in values.items() if isinstance(value, (str, int, float, bool))},
        place=place,
        value=float(result) if isinstance(result, Tensor) and not result.dim() and _is_mean(values) else math.nan,
        target_std=math.nan if y is None or y.numel() < 2 else float(sample(y).std()),
        out_of_reach=0.0 if y is None or function not in REGRESSION else _out_of_reach(made_by, y),
        **more,
    )


def has_other_targets(target: Tensor, record: Record, step: int) -> bool:
    """Whether the losses of this step compare the output with numbers of another size than the targets have: a loss may scale
    them itself, or take their logarithm. (Smoothed labels are of about the same size.)"""
    calls = [call for call in record.losses if call.step == step and call.target_low == call.target_low]
    calls = [call for call in calls if math.prod(call.target_shape or ()) == target.numel()]
    if not calls or not plain(target):
        return False
    low, high = _range(sample(target))
    wide = max(high - low, 1e-12)
    return all(abs(call.target_low - low) + abs(call.target_high - high) > _OTHER * wide for call in calls)


def _is_mean(values: dict[str, Any]) -> bool:
    return values.get("reduction", "mean") == "mean" and values.get("weight") is None


def _class_dim(function: str, x: Tensor) -> int | None:
    if function not in OVER_CLASSES or not x.dim():
        return None
    if function in ("cross_entropy", "nll_loss"):
        return 1 if x.dim() > 1 else 0
    return x.dim() - 1


def _sums_to_one(x: Tensor, dim: int | None) -> bool:
    return dim is not None and bool(((x.sum(dim) - 1).abs() < _TOLERANCE).all())


def _range(x: Tensor) -> tuple[float, float]:
    low, high = torch.aminmax(x)
    return float(low), float(high)


def _target_sums(function: str, given: Tensor, target: Tensor | None, dim: int | None) -> tuple[float, float] | None:
    if function != "cross_entropy" or target is None or dim is None or target.shape != given.shape:
        return None
    return _range(sample(target).sum(dim))


def _out_of_reach(made_by: str, target: Tensor) -> float:
    low, high = RANGES.get(made_by.partition("Backward")[0], (-math.inf, math.inf))
    if math.isinf(low) and math.isinf(high):
        return 0.0
    y = sample(target)
    margin = _NEAR * float(y.std()) if y.numel() > 1 else 0.0
    return float(((y < low - margin) | (y > high + margin)).float().mean())
