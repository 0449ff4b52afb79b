"""Do several layers act as one? By following what each weight layer puts out to the next one, in one forward in eval mode;
and for the whole model by f(a + b) = f(a) + f(b) - f(0)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from gradscope.engine.findings.bench import Bench
from gradscope.engine.findings.draft import EXPERIMENTS, CannotJudge, Draft, Experiment
from gradscope.engine.findings.record import Record
from gradscope.engine.findings.tracing import Functions, Trace, input_of, motion, traced
from gradscope.engine.model.leaves import tensor_leaves
from gradscope.protocol.findings import Evidence, Severity

ADDITIVE = 1e-4
"""Of the output: float32 rounding of a few layers; any activation gives 0.01 and more."""
SOLVED = 0.1
"""Of the baseline: a linear model is all that such a task takes, and it may have been wanted."""
_WEIGHT_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_PASSES = (
    "view", "reshape", "flatten", "unflatten", "transpose", "permute", "movedim", "swapaxes", "squeeze", "unsqueeze",
    "contiguous", "clone", "dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "to", "float", "batch_norm",
)  # fmt: skip
"""In eval mode they change no value, or each channel by a factor and an offset."""
_LINEAR = (
    *_PASSES, "linear", "conv1d", "conv2d", "conv3d", "add", "__add__", "__radd__", "add_", "__iadd__", "sub", "__sub__",
    "__rsub__", "__neg__", "neg", "mean", "sum", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "cat", "concat", "stack", "__getitem__", "select", "narrow", "chunk", "split", "unbind", "expand",
    "repeat", "pad", "flip", "roll", "pixel_shuffle", "pixel_unshuffle", "zeros", "zeros_like", "tile", "detach",
)  # fmt: skip
_SCALES = ("mul", "__mul__", "__rmul__", "mul_", "__imul__", "div", "__truediv__", "true_divide")
_PRODUCTS = ("matmul", "__matmul__", "mm", "bmm", "einsum")
_SAYS_NOTHING = (
    "__get__", "dim", "size", "numel", "__len__", "is_floating_point", "type", "is_complex", "ndimension", "get_device",
    "is_contiguous", "stride", "requires_grad_", "__set__", "is_inference", "is_nested", "empty",
)  # fmt: skip


@dataclass
class _Weighed:
    """One call of a weight layer."""

    name: str
    module: nn.Module
    inside: tuple[int, int]
    """Channels in and out."""
    mixes_heads: bool = False
    """What it is given is a product of two things that depend on the input, such as weights and values of an attention: that
    a layer follows there is the custom."""
    consumers: int = 0
    """How many calls have been given what it put out."""


def find_linear(bench: Bench, record: Record) -> Iterable[Draft]:
    model = bench.model
    if not isinstance(model, nn.Module):
        raise CannotJudge("the model is no module")
    if record.stands_still:
        raise CannotJudge("nothing has moved: what its layers will do is not known")
    if sum(isinstance(module, _WEIGHT_LAYERS) for module in model.modules()) < 2:
        return []
    x = input_of(bench)
    followed = _Followed(model)
    with traced(model, keeps=False) as trace, followed.during(trace):
        bench.evaluate(x, keeps_layers=False)
    found = {
        (pair[0].name, pair[1].name): pair
        for pair in followed.pairs
        if id(pair[0]) not in followed.kept_outputs and _adds_nothing(*pair)
    }
    # Each time it is called: in a recurrence the last step goes to the next layer, and all others do not.
    times = Counter((first.name, second.name) for first, second in followed.pairs)
    pairs = [
        pair for names, pair in found.items() if times[names] == followed.times[names[0]] == followed.times[names[1]]
    ]
    if (
        isinstance(x, Tensor)
        and x.is_floating_point()
        and not followed.bent
        and max(followed.times.values(), default=0) == 1
    ):
        drafts = _whole(bench, record, x, followed)
        if drafts:
            return drafts
    return _parts(pairs, record, first=next(iter(followed.layers), ""))


def _adds_nothing(first: _Weighed, second: _Weighed) -> bool:
    """What both do together, one layer could do: the channels between are no bottleneck (a low rank on purpose), no layer is
    frozen, grouped or made for another shape of filter (a factorised convolution)."""
    between = first.inside[1]
    if first.consumers != 1 or first.mixes_heads:
        return False
    if between < min(first.inside[0], second.inside[1]):
        return False
    for layer in (first.module, second.module):
        if getattr(layer, "groups", 1) > 1 or not all(p.requires_grad for p in layer.parameters(recurse=False)):
            return False
    kernels = [getattr(layer.module, "kernel_size", ()) for layer in (first, second)]
    is_factorised = all(len(kernel) > 1 for kernel in kernels) and any(len(set(kernel)) > 1 for kernel in kernels)
    return not is_factorised and first.module is not second.module


class _Followed:
    """Where the outputs of weight layers go."""

    def __init__(self, model: nn.Module) -> None:
        self.pairs: list[tuple[_Weighed, _Weighed]] = []
        self.layers: dict[str, _Weighed] = {}
        self.bent: list[str] = []
        """Functions that are not linear, or not known to be."""
        self.times: Counter[str] = Counter()
        """How often each weight layer was called."""
        self.kept_outputs: set[int] = set()
        """Layers whose output the model also gives away, by id."""
        self.model = model

    def during(self, trace: Trace) -> _Following:
        return _Following(self, trace)


class _Following(Functions):
    def __init__(self, into: _Followed, trace: Trace) -> None:
        super().__init__()
        self._into, self._trace = into, trace
        self._by_id: dict[int, tuple[Tensor, _Weighed]] = {}
        """Tensors that are what a weight layer put out, but for their shape and a factor and an offset for each channel."""
        self._products: dict[int, Tensor] = {}
        self._after: list[Any] = []

    def __enter__(self) -> Any:
        self._after.append(self._into.model.register_forward_hook(self._leave_model))
        return super().__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, *raised: Any) -> None:
        for handle in self._after:
            handle.remove()
        super().__exit__(*raised)  # type: ignore[no-untyped-call]

    def _leave_model(self, module: nn.Module, given: Any, returned: Any) -> None:
        found = [self._by_id[id(t)][1] for _, t in tensor_leaves(returned) if id(t) in self._by_id]
        self._into.kept_outputs |= {id(layer) for layer in found}

    def see(self, name: str, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        returned = function(*args, **kwargs)
        if not self._trace.stack or not isinstance(returned, (Tensor, tuple, list)) or name in _SAYS_NOTHING:
            return returned
        given = [t for _, t in tensor_leaves((args, kwargs))]
        module = self._trace.stack[-1]
        known = [self._by_id[id(t)][1] for t in given if id(t) in self._by_id]
        if name in ("linear", "conv1d", "conv2d", "conv3d") and isinstance(module, _WEIGHT_LAYERS):
            self._weigh(module, known, returned, mixes_heads=any(id(t) in self._products for t in given))
            return returned
        if isinstance(returned, Tensor) and (
            (name in _PASSES and any(id(t) in self._products for t in given))
            or name == "scaled_dot_product_attention"
            or (name in _PRODUCTS and not any(isinstance(t, nn.Parameter) for t in given))
        ):
            self._products[id(returned)] = returned
        if name in _PASSES and len(known) == 1 and isinstance(returned, Tensor) and _is_passed(name, args, kwargs):
            self._by_id[id(returned)] = (returned, known[0])
            return returned
        for layer in known:
            layer.consumers += 1
        if not _is_linear(name, given, self._into):
            self._into.bent.append(name)
        return returned

    def _weigh(self, module: nn.Module, known: list[_Weighed], returned: Any, *, mixes_heads: bool) -> None:
        name = self._trace.names.get(module, "")
        weight: Any = module.weight
        layer = _Weighed(name, module, (weight.shape[1] * getattr(module, "groups", 1), weight.shape[0]), mixes_heads)
        self._into.times[name] += 1
        for before in known[:1]:
            before.consumers += 1
            self._into.pairs.append((before, layer))
        self._into.layers[name] = layer
        self._by_id[id(returned)] = (returned, layer)


def _is_passed(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    if name == "batch_norm":
        return not kwargs.get("training", args[5] if len(args) > 5 else False)
    if "dropout" in name:
        return not kwargs.get("training", args[2] if len(args) > 2 else True)
    return True


def _is_linear(name: str, given: list[Tensor], into: _Followed) -> bool:
    if name in _LINEAR:
        return True
    if name in _SCALES:
        # By a number or a parameter, not by what depends on the input: a gate.
        return sum(not isinstance(t, nn.Parameter) and t.numel() > 1 for t in given) < 2
    if name in _PRODUCTS:
        return any(isinstance(t, nn.Parameter) for t in given)
    return not any(t.is_floating_point() for t in given)


def _whole(bench: Bench, record: Record, x: Tensor, followed: _Followed) -> list[Draft]:
    layers = list(followed.layers.values())
    channels = [layer.inside for layer in layers]
    is_bottleneck = (
        min(out for _, out in channels[:-1]) < min(channels[0][0], channels[-1][1]) if len(layers) > 1 else True
    )
    if len(layers) < 2 or is_bottleneck or any(getattr(layer.module, "groups", 1) > 1 for layer in layers):
        return []
    others = (bench.parts(batch)[0] for batch in bench.batches[1:])
    other = next((b for b in others if b is not None and b.shape == x.shape), x.flip(0))
    outputs = [bench.evaluate(part, keeps_layers=False).output for part in (x, other, x + other, torch.zeros_like(x))]
    a, b, both, none = (None if output is None else output.double() for output in outputs)
    if a is None or b is None or both is None or none is None:
        raise CannotJudge("the model's output is no tensor")
    size = motion(a, none) + motion(b, none)
    if size < 1e-6:
        return []
    rest = motion(both + none, a + b) / size
    if rest > ADDITIVE:
        return []
    names = [layer.name for layer in layers]
    text = f"f(a+b) - f(a) - f(b) + f(0) is {rest:.1g} of the output: {len(names)} weight layers are one linear map"
    evidence = Evidence(name="what is left of f(a+b) - f(a) - f(b) + f(0)", value=rest, threshold=ADDITIVE, text=text)
    return [_draft(names, evidence, record)]


def _parts(pairs: list[tuple[_Weighed, _Weighed]], record: Record, *, first: str) -> list[Draft]:
    """One for each chain. `first`: the weight layer that is called first."""
    chains: list[list[_Weighed]] = []
    for one, second in pairs:
        chain = next((chain for chain in chains if chain[-1] is one), None)
        if chain is None:
            chains.append([one, second])
        else:
            chain.append(second)
    drafts: dict[str, Draft] = {}
    for chain in chains:
        widths = " -> ".join(str(width) for width in (chain[0].inside[0], *(layer.inside[1] for layer in chain)))
        evidence = Evidence(
            name="weight layers in a row with nothing bent between",
            value=len(chain),
            threshold=2,
            unit="layers",
            text=f"{', '.join(layer.name for layer in chain)}: {widths} channels, and only reshaping between them",
        )
        names = [layer.name for layer in chain]
        # The same place in each of many blocks is one cause.
        alike = re.sub(r"\d+", "N", " ".join(names))
        known = drafts.get(alike)
        drafts[alike] = replace(known, near=(*known.near, *names)) if known else _draft(names, evidence, record)
        if _is_input_projection(names, first) and not known:
            drafts[alike] = replace(drafts[alike], severity=Severity.INFO)
    return list(drafts.values())


def _is_input_projection(names: list[str], first: str) -> bool:
    """It only brings the input to the width of the blocks behind it, the first of which begins with a weight layer: that one
    layer could do what both do costs nothing, and is the custom where a block is a module of its own."""
    outer, inner = (name.split(".")[:-1] for name in names[:2])
    return len(names) == 2 and names[0] == first and len(inner) > len(outer) and inner[: len(outer)] == outer


def _draft(names: list[str], evidence: Evidence, record: Record) -> Draft:
    is_solved = record.baseline is not None and bool(record.steps) and record.end < SOLVED * record.baseline.value
    return Draft(
        id="no-nonlinearity",
        where=_common_parent(names),
        near=tuple(names)[:8],
        evidence=(evidence,),
        do=f"Put an activation (ReLU, GELU) between `{names[0]}` and `{names[1]}`.",
        instead="No low rank was meant: between them it is as wide as at one of the ends, or wider.",
        severity=Severity.INFO if is_solved else None,
    )


def _common_parent(names: list[str]) -> str:
    parts = [name.split(".")[:-1] for name in names]
    common = []
    for step in zip(*parts, strict=False):
        if len(set(step)) > 1:
            break
        common.append(step[0])
    return ".".join(common)


EXPERIMENTS.append(
    Experiment(
        ids=("no-nonlinearity",),
        title="Is there anything bent between the weight layers?",
        run=find_linear,
        passes=lambda bench, record: (5, 0),
    )
)
