"""Does a dropout draw in eval mode? By the functions that are called in two forwards, the second with them left out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gradscope.engine.findings.bench import Bench
from gradscope.engine.findings.draft import EXPERIMENTS, CannotJudge, Draft, Experiment
from gradscope.engine.findings.record import Record
from gradscope.engine.findings.tracing import Functions, Trace, input_of, motion, spread, traced
from gradscope.protocol.findings import Evidence

_DROPOUTS = (
    "dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_dropout", "feature_alpha_dropout",
)  # fmt: skip
_MEANT = ("mcdropout", "montecarlo", "monte_carlo", "mc_dropout", "bayes", "alwayson", "always_on")
"""In the names of classes: dropout that is to be active always, for an estimate of how sure the model is (Gal and
Ghahramani, 2016). Nothing but the name tells it from a forgotten argument."""
MOVED = 1e-3
"""Of the output's spread: less is no matter for a validation."""


@dataclass(frozen=True)
class Drawn:
    layer: str
    function: str
    p: float


def find_dropout(bench: Bench, record: Record) -> Iterable[Draft]:
    if not isinstance(bench.model, nn.Module):
        raise CannotJudge("the model is no module")
    x = input_of(bench)
    outputs: list[Tensor | None] = []
    found: list[Drawn] = []
    for is_left_out in (False, True):
        with traced(bench.model, keeps=False) as trace, _Dropouts(trace, is_left_out=is_left_out) as seen:
            outputs.append(bench.evaluate(x, keeps_layers=False).output)
        found = found or seen.found
        if not found:
            return []
    drawn, without = outputs
    if drawn is None or without is None:
        raise CannotJudge("the model's output is no tensor")
    share = motion(drawn, without) / (spread(without) or 1.0)
    return [_draft(found, share)] if share > MOVED else []


def _draft(found: list[Drawn], share: float) -> Draft:
    first = found[0]
    by_hand, p = first.function == "a random mask", first.p
    place = f" in `{first.layer}`" if first.layer else ""
    if by_hand:
        do = f"Return early{place} unless self.training: the mask is drawn in eval mode too."
    elif first.function == "scaled_dot_product_attention":
        do = f"Pass dropout_p={p:g} if self.training else 0.0{place}: the function has no mode."
    else:
        do = f"Pass training=self.training to F.{first.function}(p={p:g}){place}, or make it an nn.Dropout of the module."
    return Draft(
        id="dropout-in-eval",
        where=first.layer,
        near=tuple(dict.fromkeys(d.layer for d in found if d.layer != first.layer))[:8],
        evidence=(
            Evidence(
                name="motion of the output by dropout in eval mode",
                value=share,
                threshold=MOVED,
                unit="of its spread",
                text=f"{first.function} (p = {p:.2g}) draws in eval mode and moves the output by {share:.2g} of its spread",
            ),
        ),
        do=do,
        instead="Every module of the model was in eval mode, and no module of its own was put back to train mode.",
    )


class _Dropouts(Functions):
    """The dropouts that draw, and what was made by hand of a random mask; `is_left_out`: they pass everything."""

    def __init__(self, trace: Trace, *, is_left_out: bool) -> None:
        super().__init__()
        self.found: list[Drawn] = []
        self._trace, self._is_left_out = trace, is_left_out
        self._masks: dict[int, Tensor] = {}
        """Made of random numbers alone, by id; held, so that no other tensor gets the id."""

    def see(self, name: str, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not self._trace.stack or self._is_meant():
            return function(*args, **kwargs)
        p = _active_p(name, args, kwargs)
        if p > 0:
            self.found.append(Drawn(self._trace.layer, name, p))
            if self._is_left_out:
                args, kwargs = _without_dropout(name, args, kwargs)
                return args[0] if name in _DROPOUTS else function(*args, **kwargs)
        elif name in ("mul", "__mul__", "__rmul__", "mul_", "__imul__", "multiply") and len(args) == 2:
            kept = self._masked(args)
            if kept is not None:
                return kept
        returned = function(*args, **kwargs)
        self._follow(name, args, returned)
        return returned

    def _is_meant(self) -> bool:
        """A module of the model is in train mode although all were put to eval mode: that takes some doing. Or the name of
        a class says so."""
        stack, names = self._trace.stack, self._trace.names
        innermost = stack[-1]
        if innermost in names and innermost.training:
            return True
        return any(word in type(module).__name__.lower() for module in stack for word in _MEANT)

    def _follow(self, name: str, args: tuple[Any, ...], returned: Any) -> None:
        """A mask stays one when it is compared, converted or scaled."""
        if not isinstance(returned, Tensor):
            return
        tensors = [arg for arg in args if isinstance(arg, Tensor)]
        is_drawn = name in ("rand", "rand_like", "bernoulli", "bernoulli_", "uniform_")
        if is_drawn or (tensors and all(id(arg) in self._masks for arg in tensors)):
            self._masks[id(returned)] = returned

    def _masked(self, args: tuple[Any, ...]) -> Tensor | None:
        """What is multiplied by a mask of 0 and one other number above 1: of what is kept, as much as was dropped."""
        for mask, kept in (args, args[::-1]):
            if not isinstance(mask, Tensor) or not isinstance(kept, Tensor):
                continue
            if id(mask) not in self._masks or id(kept) in self._masks or mask.dtype is torch.bool:
                continue
            values = mask.detach().float().unique()
            if len(values) == 2 and float(values[0]) == 0.0 and float(values[1]) > 1.0 + 1e-3:
                self.found.append(Drawn(self._trace.layer, "a random mask", 1.0 - 1.0 / float(values[1])))
                return kept.clone() if self._is_left_out else None
        return None


def _active_p(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
    """The probability to drop; 0 for what drops nothing now."""
    if name in _DROPOUTS:
        is_active = bool(kwargs.get("training", args[2] if len(args) > 2 else True))
        return float(kwargs.get("p", args[1] if len(args) > 1 else 0.5)) if is_active else 0.0
    if name == "scaled_dot_product_attention":
        return float(kwargs.get("dropout_p", args[4] if len(args) > 4 else 0.0))
    if name == "multi_head_attention_forward" and kwargs.get("training", True):
        return float(kwargs.get("dropout_p", args[10] if len(args) > 10 else 0.0))
    return 0.0


def _without_dropout(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if name == "scaled_dot_product_attention":
        return (*args[:4], 0.0, *args[5:]) if len(args) > 4 else args, {
            **kwargs,
            **({} if len(args) > 4 else {"dropout_p": 0.0}),
        }
    return args, {**kwargs, "training": False} if name == "multi_head_attention_forward" else kwargs


EXPERIMENTS.append(
    Experiment(
        ids=("dropout-in-eval",),
        title="Is dropout off in eval mode?",
        run=find_dropout,
        passes=lambda bench, record: (2, 0),
    )
)
