"""The taps in torch's clipping of gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from gradscope.engine.script.taps import Taps


class ClipTaps:
    """Called in the places of torch's own, with them."""

    def __init__(self, taps: Taps) -> None:
        self._taps = taps

    def norm(
        self, original: Callable[..., Any], parameters: Any, max_norm: Any, total_norm: Any, *rest: Any, **more: Any
    ) -> Any:
        return self._clip(original, parameters, (max_norm, total_norm, *rest), more, limit=max_norm, norm=total_norm)

    def value(self, original: Callable[..., Any], parameters: Any, *rest: Any, **more: Any) -> Any:
        return self._clip(original, parameters, rest, more, limit=None, norm=None)

    def _clip(
        self,
        original: Callable[..., Any],
        parameters: Any,
        rest: tuple[Any, ...],
        more: dict[str, Any],
        *,
        limit: Any,
        norm: Any,
    ) -> Any:
        given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
        line = self._taps.safely(self._taps.following.here)
        self._taps.safely(self._taps.following.gradient_calls.clipping, given, line)
        if norm is None:
            norm = self._taps.safely(
                lambda: torch.nn.utils.get_total_norm([p.grad for p in given if p.grad is not None])
            )
        before, self._taps.hand.is_by_torch = self._taps.hand.is_by_torch, True
        try:
            result = original(given, *rest, **more)
        finally:
            self._taps.hand.is_by_torch = before
        self._taps.safely(
            lambda: self._taps.following.gradient_calls.clipped(
                given, float(norm), None if limit is None else float(limit), line
            )
        )
        return result
