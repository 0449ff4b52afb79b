"""Sees every torch function of one training forward with its loss: losses, softmax and what uses it, dropout, broadcasting.

It is on for a few steps of a training only. It changes no result, draws no random number, and keeps no tensor.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from gradscope.engine.capture.native.looking_on import LookingOn
from gradscope.engine.findings.record import DropoutCall, LooseTerm, Record
from gradscope.engine.findings.watch import nodes
from gradscope.engine.findings.watch.cosines import Cosines
from gradscope.engine.findings.watch.ctc import ctc_call
from gradscope.engine.findings.watch.draws import Draws
from gradscope.engine.findings.watch.flat import FlatSteps
from gradscope.engine.findings.watch.loose_terms import LooseTerms
from gradscope.engine.findings.watch.loss_numbers import LOSSES, arguments, loss_call
from gradscope.engine.findings.watch.marks import Marks
from gradscope.engine.findings.watch.origins import Cuts, Origins
from gradscope.engine.findings.watch.picks import Picks
from gradscope.engine.findings.watch.sampled import Sampled
from gradscope.engine.findings.watch.shapes_trail import ShapesTrail
from gradscope.engine.findings.watch.weights_trail import WeightsTrail

_DROPOUTS = frozenset(
    ["dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_dropout", "feature_alpha_dropout"]
)
_PIECES = {"log_softmax": "log_softmax", "logsumexp": "logsumexp", "logsigmoid": "logsigmoid", "log": "log"}
_LEAVES_DROPPED = frozenset(
    [
        "view", "reshape", "flatten", "squeeze", "unsqueeze", "transpose", "permute", "contiguous", "float", "to",
        "softmax", "log_softmax", "sigmoid", "logsigmoid",
    ]
)  # fmt: skip
"""What nothing is learnt in, behind a dropout: a prediction that was dropped is still one."""
_CALL = nn.Module._call_impl.__code__
_MOST_LOSSES = 64
"""Calls that are kept of one forward: a loss that is computed sample by sample says the same again and again."""


class FunctionWatch(LookingOn):
    """`with FunctionWatch(...):` around one training forward and its loss.

    `layer()` is the innermost layer that runs now, "" outside of all; `is_inside()` whether the model's forward runs at all
    (default: by the calls that are under way), which tells the model's own code from that of the loss; `output()` the model's
    newest output. What goes wrong in here is handed to `on_error`, never raised.
    """

    def __init__(
        self,
        record: Record,
        *,
        step: int,
        turn: str = "",
        layer: Callable[[], str],
        output: Callable[[], Tensor | None],
        on_error: Callable[[Exception], None],
        is_inside: Callable[[], bool] | None = None,
    ) -> None:
        super().__init__()
        self._record, self._step, self._turn = record, step, turn
        self._layer, self._output, self._on_error = layer, output, on_error
        self._is_inside = is_inside or self._runs
        self._losses = 0
        self._draws = Draws(record, step, turn)
        self._origins, self._cuts, self._flat = Origins(record), Cuts(record), FlatSteps(record)
        self._sampled = Sampled(record, step, turn, self._origins.place)
        self._cosines, self._picks = Cosines(), Picks(step)
        self._dropped: Marks[tuple[str, float, int]] = Marks()
        """Results of a dropout: in which layer, with what probability, and their version: what is written to them later, as
        by `h += x`, makes something else of them."""
        self._shapes, self._weights, self._terms = ShapesTrail(step), WeightsTrail(step), LooseTerms(record)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        try:
            self._record.softmaxes += self._weights.finish()
            self._flat.finish()
            self._draws.finish()
            self._sampled.finish()
            if self._step not in self._record.checked:
                self._record.checked.append(self._step)
        except Exception as problem:
            self._on_error(problem)
        finally:
            for trail in (self._origins, self._cuts, self._flat, self._cosines, self._picks, self._dropped):
                trail.clear()
            self._shapes.clear()
            self._terms.clear()
            self._draws.clear()
            self._sampled.clear()

    def given(self, inputs: Any) -> None:
        """To a layer."""
        self._draws.given(inputs)

    def settle(self, loss: float) -> None:
        """What the forward has come to is known."""
        term = LooseTerm(step=self._step, turn=self._turn)
        self._record.loose_terms += [term] * self._terms.settle(loss)

    def after(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        if _is_blind():
            return
        try:
            with torch._C.DisableTorchFunction():
                name = _name(func)
                if isinstance(result, (Tensor, tuple)) or name in ("numpy", "tolist"):
                    self._look(func, name, args, kwargs, result)
                elif name in ("setitem", "item"):
                    self._draws.see(name, args, kwargs, result, is_inside=self._is_inside())
        except Exception as error:
            self._on_error(error)

    def _look(
        self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        layer, is_inside = self._layer(), self._is_inside()
        self._cuts.see(name, layer, (*args, *kwargs.values()), result, is_inside=is_inside)
        if name in LOSSES:
            self._loss(name, arguments(func, args, kwargs), layer, result=result)
        elif name in _DROPOUTS:
            self._dropout(layer, args, kwargs, result)
        elif name == "ctc_loss":
            call = ctc_call(arguments(func, args, kwargs), self._step)
            self._record.ctc += [] if call is None else [call]
        elif not is_inside and torch.is_grad_enabled():
            self._piece(name, args, kwargs)
        self._terms.see(func, name, args, kwargs, result)
        self._draws.see(name, args, kwargs, result, is_inside=is_inside)
        self._weights.see(name, layer, args, kwargs, result)
        self._cosines.see(name, args, kwargs, result)
        self._flat.see(name, layer, args, result)
        self._sampled.see(name, layer, args, kwargs, result)
        pick = self._picks.see(name, layer, args, kwargs, result, is_inside=is_inside)
        self._record.softmaxes += [] if pick is None else [pick]
        dropped_by, dropped = self._dropped_of(args[0]) if args and name in _LEAVES_DROPPED else (None, 0.0)
        if dropped_by is not None:
            self._put_dropped(result, dropped_by, dropped)
        if not layer or name in LOSSES:
            # Some compute the loss in the model's own forward.
            broadcast = self._shapes.see(name, args, kwargs, result)
            if broadcast is not None and broadcast not in self._record.broadcasts:
                self._record.broadcasts.append(broadcast)
        self._origins.see(layer, args, result)

    def _runs(self) -> bool:
        """Whether the model's forward is under way: in a layer, or in its own code."""
        root = self._record.layers.get("")
        if self._layer() or root is None:
            return bool(self._layer())
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            if frame.f_code is _CALL and frame.f_locals.get("self") is root.module:
                return True
            frame = frame.f_back
        return False

    def _loss(
        self, name: str, values: dict[str, Any], layer: str, class_dim: int | None = None, result: Any = None
    ) -> None:
        given, target = values.get("input"), values.get("target")
        if self._losses >= _MOST_LOSSES or not isinstance(given, Tensor):
            return
        dropped_by, dropped = self._dropped_of(given)
        with torch.no_grad():
            call = loss_call(
                name,
                values,
                step=self._step,
                turn=self._turn,
                layer=layer,
                place=self._origins.place(given),
                is_relayout=self._shapes.is_relaid(given, target, self._output()),
                class_dim=class_dim,
                result=result,
                reach=self._cosines.reach(given),
                dropped_by=dropped_by,
                dropped=dropped,
            )
        if call is not None:
            self._losses += 1
            self._record.losses.append(call)

    def _piece(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A piece of a loss that is written by hand, where it tells something."""
        given = kwargs.get("input", args[0] if args else None)
        if name in ("sub", "rsub"):
            self._difference(args)
        if name not in _PIECES or not isinstance(given, Tensor) or not given.requires_grad or not given.dim():
            return
        made_by, made_of = nodes.maker_names(given)
        is_told = name != "log" or (made_by and made_by == made_of)
        dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
        dim = dim[0] if isinstance(dim, (tuple, list)) and len(dim) == 1 else dim
        if is_told:
            has_classes = isinstance(dim, int) and name in ("log_softmax", "logsumexp")
            self._loss(name, {"input": given}, "", dim % given.dim() if has_classes and isinstance(dim, int) else None)

    def _difference(self, args: tuple[Any, ...]) -> None:
        a, b = args[0] if args else None, args[1] if len(args) > 1 else None
        if not isinstance(a, Tensor) or not isinstance(b, Tensor) or a.requires_grad == b.requires_grad:
            return
        if a.shape == b.shape and a.is_floating_point() and b.is_floating_point():
            learnt, other = (a, b) if a.requires_grad else (b, a)
            self._loss("difference", {"input": learnt, "target": other}, "")

    def _dropout(self, layer: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        p = kwargs.get("p", args[1] if len(args) > 1 else 0.5)
        training = kwargs.get("training", kwargs.get("train", args[2] if len(args) > 2 else True))
        facts = self._record.layers.get(layer)
        module = facts.module if facts is not None else None
        if training and float(p) > 0:
            self._put_dropped(result, layer, float(p))
        self._record.dropouts.append(
            DropoutCall(
                step=self._step,
                layer=layer,
                p=float(p),
                is_training=bool(training),
                module_is_training=bool(getattr(module, "training", training)),
            )
        )

    def _put_dropped(self, result: object, layer: str, p: float) -> None:
        if isinstance(result, Tensor) and result.requires_grad:
            self._dropped.put(result, (layer, p, result._version))

    def _dropped_of(self, tensor: object) -> tuple[str | None, float]:
        """By which layer, and with what probability; (None, 0) where it is no result of a dropout, or no longer."""
        known = self._dropped.get(tensor)
        if known is None or not isinstance(tensor, Tensor) or tensor._version != known[2]:
            return None, 0.0
        return known[0], known[1]


def _name(func: Callable[..., Any]) -> str:
    """ "sub" of Tensor.sub, "__rsub__" and "sub"; "data" of the attribute `data`."""
    name = str(getattr(func, "__name__", ""))
    if name == "__get__":
        return str(getattr(getattr(func, "__self__", None), "__name__", ""))
    if name.startswith("__") and name not in ("__getitem__", "__array__"):
        return {"__rsub__": "rsub", "__rdiv__": "rdiv", "__rmatmul__": "matmul"}.get(
            name, name.strip("_").removeprefix("r")
        )
    return name


def _is_blind() -> bool:
    """Where tensors are not what they seem: in a function that is compiled, traced or transformed, or under another mode."""
    return bool(
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._len_torch_dispatch_stack()
    )
