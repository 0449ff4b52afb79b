"""Counts how often each unit of a layer fires, how much of a layer lies in the flat parts of its function, and how far
samples still differ behind a normalisation.

What it costs: some 16,000 elements of a layer's output are looked at in a step, of samples that are spread over the batch,
others in each step. That takes some 50 microseconds on a CPU; a layer that has as many takes many times as long. In a few
steps, a part of what went into a normalisation is looked at as well. A verdict looks back at 20 steps and 100 samples or
more, so a unit that fires once in a thousand times is seen to be alive. Nothing is moved off the device, and no random number
is drawn.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable

import torch
from torch import Tensor, nn

from gradscope.engine.findings.record import CHECK_STEPS, WINDOW, Record, UnitFacts
from gradscope.engine.findings.watch import nodes
from gradscope.engine.findings.watch.loss_numbers import plain
from gradscope.engine.findings.watch.marks import Marks
from gradscope.engine.findings.watch.series import note

_FIRING = (nn.ReLU, nn.ReLU6, nn.Threshold)
"""Modules that put out exactly 0 where they do not fire. The others (LeakyReLU, ELU, GELU, SiLU) let a gradient pass."""
_BOUNDED = (nn.Tanh, nn.Sigmoid, nn.Hardtanh, nn.Hardsigmoid)
_CONVOLUTIONS = (nn.modules.conv._ConvNd,)
_WEIGHTS = (nn.Linear, *_CONVOLUTIONS)
_FIRES = frozenset(("Relu", "Threshold", "Hardtanh", "ClampMin"))
_FLAT = {"Tanh": 1.0, "Sigmoid": 2.0}
_BETWEEN = frozenset(
    [
        "View",
        "UnsafeView",
        "ReshapeAlias",
        "Clone",
        "ToCopy",
        "Alias",
        "Squeeze",
        "Unsqueeze",
        "NativeDropout",
        "FusedDropout",
        "MaxPool1DWithIndices",
        "MaxPool2DWithIndices",
        "MaxPool3DWithIndices",
        "AvgPool2D",
        "AvgPool3D",
        "AdaptiveAvgPool2D",
        "AdaptiveAvgPool3D",
        "Mean",
    ]
)
"""What a ReLU's output may go through and still be 0 where all of it was 0."""
_AVERAGES = frozenset(
    [
        "Mean",
        "AvgPool2D",
        "AvgPool3D",
        "AdaptiveAvgPool2D",
        "AdaptiveAvgPool3D",
        "View",
        "Squeeze",
        "ReshapeAlias",
        "Clone",
    ]
)
_NORMS = frozenset(("NativeGroupNorm", "NativeBatchNorm", "CudnnBatchNorm", "NativeLayerNorm", "InstanceNorm"))
_STEEP = 0.99
"""abs(tanh) above it: the slope is below 0.02, a fiftieth of the largest. The same of a sigmoid, stretched to -1 ... 1."""
_MOST = 1 << 14
"""Elements of a layer that are looked at in a step; at least 8 rows."""
_ROWS = 8
"""Samples that are compared with each other behind a normalisation."""


class UnitWatch:
    """Told of each layer that is left in a training forward."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._last: nn.Module | None = None
        """The weight layer that was left last: by it, units lie in dimension 1 or in the last one."""
        self._gates: Marks[str] = Marks()
        """Outputs of sigmoid modules, which are a hidden layer only where a weight layer takes them as they are."""
        self._counted: Marks[bool] = Marks()
        """Outputs whose units were counted where they were left."""
        self._roles: dict[type[nn.Module], str] = {}
        self._step = -1
        self._calls: dict[str, int] = {}
        self._shared: set[str] = set()
        self._shares: list[tuple[str, Tensor]] = []
        """How much of a layer lies in the flat parts, of the step under way."""
        self._norm: tuple[str, float, float] | None = None
        """The normalisation that was left last: name, spread of its input, largest weight."""

    def let_go(self) -> Callable[[], None]:
        """Hold nothing of the model, until what is returned is called."""
        last, self._last = None if self._last is None else weakref.ref(self._last), None

        def take_back() -> None:
            self._last = None if last is None else last()

        return take_back

    def left(self, step: int, name: str, module: nn.Module, given: object, output: object) -> None:
        """A layer is left. `given` is its first input; only tensors are looked at. Raises whatever torch raises."""
        if step != self._step:
            self._step, self._calls, self._norm = step, {}, None
            self._shares.clear()
            self._gates.clear()
            self._counted.clear()
        kind = type(module)
        role = self._roles.get(kind)
        if role is None:
            role = self._roles[kind] = _role(kind)
        if not role or (role == "norm" and step not in CHECK_STEPS and step % WINDOW):
            return
        calls = self._calls[name] = self._calls.get(name, 0) + 1
        x, y = given if isinstance(given, Tensor) else None, output if isinstance(output, Tensor) else None
        with torch.no_grad():
            if role == "weights":
                if x is not None and x.requires_grad and x.dim() > 1 and x.grad_fn is not None and plain(x):
                    self._enters(step, name, module, x, calls)
                self._last = module
            elif y is not None and plain(y) and y.is_floating_point() and y.dim() > 1 and y.shape[0]:
                self._leaves(step, name, module, x, y, calls)

    def _leaves(self, step: int, name: str, module: nn.Module, x: Tensor | None, y: Tensor, calls: int) -> None:
        if isinstance(module, _FIRING) and name not in self._shared:
            if calls > 1 and self._last is not None and not self._is_repeated():
                # One module for several places: what goes into the weight layers behind tells them apart.
                self._shared.add(name)
                self._record.units.pop((name, False), None)
            else:
                self._count(step, name, y, self._unit_dim(y), calls, is_input=False)
                self._counted.put(y, True)
        if isinstance(module, _BOUNDED):
            if isinstance(module, nn.Sigmoid):
                self._gates.put(y, name)
            else:
                self._flat(step, name, y, module)
        elif x is not None and not isinstance(module, _FIRING) and not any(module.children()):
            self._normalised(step, name, module, x, y)

    def _is_repeated(self) -> bool:
        """The weight layer before is called again and again, too: a loop over time."""
        last = next((name for name, facts in self._record.layers.items() if facts.module is self._last), "")
        return self._calls.get(last, 0) > 1

    def _enters(self, step: int, name: str, module: nn.Module, x: Tensor, calls: int) -> None:
        if self._counted.get(x):
            return
        gate = self._gates.get(x)
        made = nodes.maker(x.grad_fn, _BETWEEN)
        kind = nodes.kind(made)
        if kind in _FIRES:
            shown = _before_flattening(x)
            if shown is not None:
                is_conv = isinstance(module, _CONVOLUTIONS) or shown is not x
                self._count(step, name, shown, 1 if is_conv else -1, calls, is_input=True)
        elif gate is not None:
            self._flat(step, gate, x, nn.Sigmoid())
        elif kind in _FLAT and made is nodes.maker(x.grad_fn) and not self._is_module_output(kind):
            self._flat(step, name, x, nn.Tanh() if kind == "Tanh" else nn.Sigmoid())
        elif kind in _NORMS or nodes.kind(nodes.maker(x.grad_fn, _AVERAGES)) in _NORMS:
            self._averaged(step, x)

    def _is_module_output(self, kind: str) -> bool:
        """Tanh modules are counted where they are left."""
        return kind == "Tanh" and any(facts.kind == "Tanh" and facts.calls for facts in self._record.layers.values())

    def _unit_dim(self, y: Tensor) -> int:
        if self._last is None:
            return 1 if y.dim() > 3 else -1
        return 1 if isinstance(self._last, _CONVOLUTIONS) and y.dim() > 2 else -1

    def _count(self, step: int, name: str, y: Tensor, dim: int, calls: int, *, is_input: bool) -> None:
        key, width = (name, is_input), y.shape[dim]
        facts = self._record.units.get(key)
        if facts is None:
            facts = self._record.units[key] = UnitFacts(name, width, is_input)
        if facts.width != width or not y.numel():
            return
        part, samples = _some(y.detach(), dim % y.dim(), step, _MOST >> min(calls - 1, 3))
        fired = (part != 0).sum([d for d in range(y.dim()) if d != dim % y.dim()])
        if facts.recent and facts.recent[-1][0] == step:
            # A loop over time, or micro-batches: one entry for the step.
            _, more, others = facts.recent.pop()
            fired, samples = fired + more, samples + others
        entry = (step, fired, samples)
        facts.recent.append(entry)
        if facts.first and facts.first[-1][0] == step:
            facts.first[-1] = entry
        elif len(facts.first) < WINDOW:
            facts.first.append(entry)

    def _flat(self, step: int, name: str, y: Tensor, module: nn.Module) -> None:
        rows, _ = _some(y.detach(), y.dim() - 1, step)
        if isinstance(module, nn.Hardtanh):
            share = (rows <= module.min_val) | (rows >= module.max_val)
            share = rows >= module.max_val if module.min_val == 0 else share  # below: the same as a ReLU
        elif isinstance(module, nn.Tanh):
            share = rows.abs() > _STEEP
        else:
            share = (2 * rows - 1).abs() > _STEEP
        known = self._record.flat.get(name)
        if not known or known[-1][0] != step:
            self._shares.append((name, share.float().mean()))

    def settle(self) -> None:
        """A forward is over: take what was left on the device, all at once, since each look waits for it."""
        if self._shares:
            names, shares = zip(*self._shares, strict=True)
            for name, share in zip(names, torch.stack([s.to(shares[0].device) for s in shares]).tolist(), strict=True):
                known = self._record.flat.setdefault(name, [])
                if not known or known[-1][0] != self._step:
                    note(known, (self._step, share))
            self._shares.clear()

    def _normalised(self, step: int, name: str, module: nn.Module, x: Tensor, y: Tensor) -> None:
        self._norm = None
        weight = getattr(module, "weight", None)
        largest = float(weight.detach().abs().max()) if isinstance(weight, Tensor) and weight.numel() else 1.0
        if largest == 0.0 or x.shape[0] < 2 or not plain(x):
            return  # a residual branch that starts at 0
        before = _spread(x) / (float(_few(x).abs().max()) + 1e-12)
        count = _averaged_over(module, x)
        if count is not None:
            note(self._record.norm_counts.setdefault(name, []), (step, count))
        self._norm = (name, before, largest)
        note(self._record.norms.setdefault(name, []), (step, before, _spread(y) / largest))

    def _averaged(self, step: int, x: Tensor) -> None:
        if self._norm is not None and x.shape[0] > 1 and nodes.kind(nodes.maker(x.grad_fn)) not in _NORMS:
            name, before, largest = self._norm
            known = self._record.norms[name]
            known[-1] = (step, before, min(known[-1][2], _spread(x) / largest))


def _role(kind: type[nn.Module]) -> str:
    """ "" for modules that there is nothing to see at."""
    if issubclass(kind, _WEIGHTS):
        return "weights"
    if issubclass(kind, (*_FIRING, *_BOUNDED)):
        return "function"
    return "norm" if "Norm" in kind.__name__ else ""


def _averaged_over(module: nn.Module, x: Tensor) -> int | None:
    """How many values each mean is taken of; None for a kind that is not known, and for one by running statistics."""
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return x.numel() // x.shape[1] if module.training or not module.track_running_stats else None
    if isinstance(module, nn.LayerNorm):
        return math.prod(module.normalized_shape)
    if isinstance(module, nn.GroupNorm):
        return x.numel() // (x.shape[0] * module.num_groups)
    return None


def _few(x: Tensor) -> Tensor:
    """A few samples, and of a large one the first positions."""
    rows = x.detach()[:_ROWS]
    if rows.dim() > 2 and rows.numel() > 4 * _MOST:
        d = 1 if rows.dim() == 3 and rows.shape[1] > rows.shape[2] // 4 else 2
        rows = rows.narrow(d, 0, max(1, rows.shape[d] * 4 * _MOST // rows.numel()))
    return rows.float()


def _spread(x: Tensor) -> float:
    """How far samples lie from their mean, at most."""
    rows = _few(x)
    return float((rows - rows.mean(0)).abs().max())


def _some(y: Tensor, dim: int, step: int, most: int = _MOST) -> tuple[Tensor, int]:
    """A part of y with about `most` elements, all of dimension `dim`, another one in each step; and how many samples (of
    channels) or rows (of features) are in it. Positions lie side by side: to pick single ones takes thirty times as long."""
    over, index = y.numel() / most, [slice(None)] * y.dim()
    for d in (d for d in range(y.dim()) if d != dim):
        if over <= 1:
            break
        size = y.shape[d]
        if d == 0:
            stride = max(1, min(size // _ROWS, math.ceil(over)))
            index[d], over = slice(step % stride, None, stride), over / stride
        else:
            keep = max(1, math.floor(size / over))
            start = step * keep % (size - keep + 1)
            index[d], over = slice(start, start + keep), over * keep / size
    part = y[tuple(index)]
    return part, part.shape[0] if dim == 1 and y.dim() > 2 else part.numel() // max(1, part.shape[dim])


def _before_flattening(x: Tensor) -> Tensor | None:
    """x with the channels that it had before it was flattened; None where that cannot be told, x where it was not."""
    node = x.grad_fn
    for _ in range(4):
        if nodes.kind(node) in ("View", "UnsafeView", "ReshapeAlias"):
            sizes = getattr(node, "_saved_self_sym_sizes", None)
            if sizes is None:
                return None
            if x.dim() == 2 and len(sizes) > 2 and int(sizes[0]) == x.shape[0]:
                return x.reshape([int(size) for size in sizes])
        node = nodes.before(node)
    return x
