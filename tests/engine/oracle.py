"""What a forward and backward of a model really give, found without hooks: every layer's `forward` is wrapped.

The wrapper keeps the layer's own tensors and hands clones on, so that later in-place operations do not reach what was
kept; the gradients then come from `torch.autograd.grad` with respect to the kept tensors.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from gradscope import Recipe, Session
from gradscope.protocol.subjects import SubjectKey, SubjectKind

Key = tuple[str, int, str]
"""(layer, call, leaf)."""
Leaves = Callable[[Any], list[tuple[str, Tensor]]]


@dataclass
class Truth:
    outputs: dict[Key, Tensor] = field(default_factory=dict)
    gradients: dict[Key, Tensor | None] = field(default_factory=dict)
    parameters: dict[str, Tensor | None] = field(default_factory=dict)


def bare_tensor(output: Any) -> list[tuple[str, Tensor]]:
    return [("", output)] if isinstance(output, Tensor) else []


def lstm_leaves(output: Any) -> list[tuple[str, Tensor]]:
    if isinstance(output, tuple):
        sequence, (hidden, cell) = output
        return [("[0]", sequence), ("[1][0]", hidden), ("[1][1]", cell)]
    return bare_tensor(output)


def truth(model: nn.Module, loss_of: Callable[[nn.Module], Tensor], leaves: Leaves = bare_tensor) -> Truth:
    """Run loss_of on a copy of the model in train mode."""
    model = copy.deepcopy(model).train()
    found = Truth()
    for name, module in model.named_modules():
        module.forward = _wrapped(module.forward, name, found, leaves)
    states = torch.get_rng_state()
    loss = loss_of(model)
    keys = [key for key, output in found.outputs.items() if output.requires_grad]
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    wanted = [found.outputs[key] for key in keys] + list(parameters.values())
    gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
    torch.set_rng_state(states)
    found.gradients = dict(zip(keys, gradients, strict=False))
    found.parameters = dict(zip(parameters, gradients[len(keys) :], strict=True))
    return found


def _wrapped(forward: Callable[..., Any], name: str, found: Truth, leaves: Leaves) -> Callable[..., Any]:
    calls = 0

    def run(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        call, calls = calls, calls + 1
        output = forward(*args, **kwargs)
        kept = leaves(output)
        found.outputs.update({(name, call, leaf): tensor for leaf, tensor in kept})
        clones = {id(tensor): tensor.clone() for _, tensor in kept}
        return _replaced(output, clones)

    return run


def _replaced(value: Any, clones: dict[int, Tensor]) -> Any:
    if isinstance(value, Tensor):
        return clones.get(id(value), value)
    if isinstance(value, tuple):
        items = [_replaced(item, clones) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if isinstance(value, dict):
        return type(value)({key: _replaced(item, clones) for key, item in value.items()})
    return value


def observe(recipe: Recipe) -> Session:
    """A session after forward and backward."""
    session = Session(recipe)
    session.forward()
    session.backward()
    return session


def assert_seen(session: Session, expected: Truth) -> None:
    """Every output, every gradient, and nothing else; values and summaries."""
    outputs, gradients = (
        {(s.name, s.call, s.leaf): s for s in report.subjects if s.kind == kind}
        for report, kind in zip(session.reports.values(), ("activation", "activation_grad"), strict=True)
    )
    assert set(outputs) == set(expected.outputs)
    for key, tensor in expected.outputs.items():
        assert_values(session, SubjectKind.ACTIVATION, key, tensor)
    arrived = {key for key, gradient in expected.gradients.items() if gradient is not None}
    assert set(gradients) == arrived
    for key in arrived:
        assert_values(session, SubjectKind.ACTIVATION_GRAD, key, expected.gradients[key])
    assert_parameters(session, expected.parameters)
    assert session.observer.errors == []


def assert_parameters(session: Session, expected: dict[str, Tensor | None]) -> None:
    *_, backward = session.reports.values()
    seen = {s.name for s in backward.subjects if s.kind == "grad"}
    assert seen == {name for name, gradient in expected.items() if gradient is not None}
    for name in seen:
        assert_values(session, SubjectKind.GRAD, (name, 0, ""), expected[name])


def assert_values(session: Session, kind: SubjectKind, where: Key, expected: Tensor | None) -> None:
    assert expected is not None
    key = SubjectKey(kind, *where)
    expected = expected.detach()
    torch.testing.assert_close(session.values(key), expected, rtol=1e-6, atol=1e-9, msg=lambda m: f"{key}: {m}")
    subject = next(s for report in session.reports.values() for s in report.subjects if s.key == key)
    assert subject.shape == tuple(expected.shape)
    assert subject.dtype == str(expected.dtype).removeprefix("torch.")
    assert subject.count == expected.numel()
    wide = expected.double()
    assert subject.zero == int((expected == 0).sum())
    found = torch.tensor([subject.min, subject.max, subject.mean, subject.std, subject.l2], dtype=torch.float64)
    truth = torch.stack([wide.min(), wide.max(), wide.mean(), wide.std(correction=0), wide.norm()])
    torch.testing.assert_close(found, truth, rtol=1e-5, atol=1e-7, msg=lambda m: f"{key}: {m}")
