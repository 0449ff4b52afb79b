"""Which layers of a model were not seen, and why; told apart as far as forward and backward show it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from gradscope.engine.model.compiled import is_compiled
from gradscope.engine.model.modules import has_forward, inside_scripted
from gradscope.protocol import absences
from gradscope.protocol.messages import Absence
from gradscope.protocol.subjects import SubjectKind

_OUTPUT = SubjectKind.ACTIVATION.value


def unseen_after_forward(
    modules: Mapping[str, nn.Module],
    called: Collection[str],
    *,
    new: Collection[str],
    fused: Collection[str],
    stays_compiled: Collection[str] | None = None,
) -> Iterator[Absence]:
    """Every module of a model whose output was not seen since nobody called it. `fused`: encoder layers that were not looked
    into; `stays_compiled`: the layers that run compiled, where what is compiled does not run eagerly here."""
    uncalled = {name: module for name, module in modules.items() if name not in called}
    if not uncalled:
        return
    scripted = inside_scripted(modules)
    around = _ancestors(called)
    if_compiled = absences.COMPILED_SINCE if stays_compiled is None else absences.COMPILED_IN_SCRIPT
    compiled = {name for name, module in uncalled.items() if is_compiled(module)}.union(stays_compiled or ())
    for name, module in uncalled.items():
        reason = absences.NEVER_CALLED
        if name in scripted:
            reason = absences.scripted(scripted[name])
        elif name in new:
            reason = absences.NEW_LAYER
        elif name in compiled or not _ancestors([name]).isdisjoint(compiled):
            reason = if_compiled
        elif not has_forward(module):
            if not module._parameters or not name:
                # A list of layers, or what holds a script's models, has no output that could have been seen.
                continue
            reason = absences.HAS_NO_FORWARD
        elif not _ancestors([name]).isdisjoint(fused):
            reason = absences.FUSED
        elif name in around:
            reason = absences.LAYERS_CALLED
        elif stays_compiled is not None and not _of_called(name, called, around):
            reason = absences.OTHER_MODEL
        yield Absence(name=name, kind=_OUTPUT, reason=reason)


def _of_called(name: str, called: Collection[str], around: set[str]) -> bool:
    """Whether anything was called of the model of a script that a layer belongs to: where none was, that is as usual."""
    root = name.partition(".")[0]
    return root in called or root in around


def unseen_after_backward(
    modules: Mapping[str, nn.Module], never_called: Collection[str], called: Collection[str], reached: Collection[int]
) -> Iterator[Absence]:
    """More of the layers that were never called, by the gradients: `reached` are the ids of the parameters that got one.

    A parameter that a called layer has too (a tied weight) proves nothing.
    """
    elsewhere = {id(p) for name in called if name in modules for p in modules[name]._parameters.values()}
    for name in never_called:
        module = modules.get(name)
        own = (
            [p for p in module._parameters.values() if p is not None and p.requires_grad] if module is not None else []
        )
        telling = [p for p in own if id(p) not in elsewhere]
        if any(id(p) in reached for p in telling):
            yield Absence(name=name, kind=_OUTPUT, reason=absences.USED_WITHOUT_CALL)
        elif telling and len(telling) == len(own):
            yield Absence(name=name, kind=_OUTPUT, reason=absences.NOT_USED)


def _ancestors(names: Collection[str]) -> set[str]:
    found: set[str] = set()
    for name in names:
        while name:
            name = name.rpartition(".")[0]
            if name in found:
                break
            found.add(name)
    return found


def why_no_gradient(tensor: Tensor) -> str:
    """The reason, should no gradient of this output arrive."""
    if tensor.requires_grad:
        return absences.NO_GRADIENT_OF_VIEW if tensor._is_view() else absences.NO_GRADIENT
    if not tensor.is_floating_point() and not tensor.is_complex():
        return absences.NOT_DIFFERENTIABLE
    return absences.NEEDS_NO_GRADIENT if torch.is_grad_enabled() else absences.WITHOUT_GRAPH


def trained_by_others(names: Collection[str], parameters: Iterable[str]) -> dict[str, bool]:
    """Of each parameter, and of each layer that has parameters: whether all of it is other optimizers' to train (`names`).
    Empty where they train nothing."""
    others: dict[str, bool] = {}
    for name in parameters if names else ():
        is_others, inside = name in names, name
        while inside:
            others[inside] = others.get(inside, True) and is_others
            inside = inside.rpartition(".")[0]
    return others


def why_unreached(name: str, others: Mapping[str, bool], otherwise: str = absences.NO_GRADIENT) -> str:
    """Of a parameter or a layer that no gradient reached. Where others train it, that is as it should be."""
    while name and name not in others:
        # A layer without parameters is of the network that it is in.
        name = name.rpartition(".")[0]
    return absences.OTHERS_TURN if others.get(name, False) else otherwise
