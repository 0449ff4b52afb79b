"""Does an early input matter, and can nothing be learnt from it? Its gradient is exactly 0, and a small change of it moves
the result."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from gradscope.engine.findings.bench import Bench
from gradscope.engine.findings.draft import EXPERIMENTS, CannotJudge, Draft, Experiment
from gradscope.engine.findings.record import Record
from gradscope.engine.findings.tracing import Call, input_of, motion, traced
from gradscope.protocol.findings import Evidence

NUDGE = 0.03
"""Of the input's spread: where functions are still straight, and a rounding or a largest element seldom turns over."""
MOVED = 1e-6
"""Of the loss: a forward of the same shapes that does not depend on an input is the same to the last bit."""
WINDOW = 8
"""A gradient that is cut off on purpose (truncated backpropagation through time) goes back further than that."""


def find_cut(bench: Bench, record: Record) -> Iterable[Draft]:
    x = input_of(bench)
    if not isinstance(x, Tensor) or x.dim() < 2 or x.shape[1] < 4:
        raise CannotJudge("the inputs are no sequences")
    if not x.is_floating_point() and x.dim() > 2:
        raise CannotJudge("the inputs are no sequences of tokens or vectors")
    if x.is_floating_point() and x.dim() != 3:
        raise CannotJudge("the inputs are no sequences of vectors")
    nudged = _Nudged(bench, x)
    with traced(bench.model, keeps=False) as trace:
        gradient, result = nudged.gradient()
    cells = [call for call in trace.calls.values() if call.times > 1 and [*call.module.parameters()]]
    if gradient is None or not cells or not all(_is_trained(call.module) for call in cells):
        return []
    dead = _dead_steps(gradient)
    length = x.shape[1]
    alive = length - len(dead)
    if not dead or alive == 0 or (alive >= WINDOW or alive > length / 2):
        return []
    for step in (dead[-1], dead[0]):
        if bool(gradient[:, step + 1 :].any()):
            moved = nudged.motion_at(step, result)
            if moved > MOVED:
                return [_draft(_cell(cells), cells, step, len(dead), length, moved)]
    return []


def _is_trained(module: nn.Module) -> bool:
    """A reservoir that is left as it is needs no gradient in time."""
    return any(parameter.requires_grad for parameter in module.parameters())


def _cell(cells: list[Call]) -> Call:
    """The first that is called again and again, a cell of torch's before others."""
    return min(cells, key=lambda call: not isinstance(call.module, nn.RNNCellBase))


def _dead_steps(gradient: Tensor) -> list[int]:
    """Steps with a gradient of exactly 0, in all samples."""
    is_dead = (gradient == 0).transpose(0, 1).flatten(1).all(1)
    return [int(step) for step in is_dead.nonzero().flatten()]


class _Nudged:
    """The last output (of one step, where there is one for each) with a part of the input changed a little: a float input
    itself, or what an embedding makes of tokens."""

    def __init__(self, bench: Bench, x: Tensor) -> None:
        self._bench, self._x = bench, x
        self._embedding: nn.Module | None = None
        self._change: Tensor | None = None
        self._seen: Tensor | None = None
        if not x.is_floating_point():
            embeddings = [m for m in bench.model.modules() if isinstance(m, nn.Embedding)]
            if not embeddings:
                raise CannotJudge("the tokens go into no embedding")
            self._embedding = embeddings[0]

    def gradient(self) -> tuple[Tensor | None, Tensor]:
        """With respect to the input or embedding (B, T, ...), of what is looked at; and that itself."""
        looked_at = self._run(None, with_grad=True)
        assert self._seen is not None
        if not looked_at.requires_grad:
            return None, looked_at
        gradient = self._bench.gradient(looked_at.sum(), self._seen)
        return gradient, looked_at.detach()

    def motion_at(self, step: int, before: Tensor) -> float:
        """Of what is looked at, in parts of its size, when the input of that step is nudged."""
        assert self._seen is not None
        change = torch.zeros_like(self._seen)
        change[:, step] = NUDGE * float(self._seen.detach().float().std())
        after = self._run(change, with_grad=False)
        return motion(before, after) / (float(before.abs().max()) or 1.0)

    def _run(self, change: Tensor | None, *, with_grad: bool) -> Tensor:
        self._change = change
        batch, bench = self._bench.batches[0], self._bench
        handle = None
        if self._embedding is not None:
            handle = self._embedding.register_forward_hook(_Embedded(self))
        else:
            x = self._x.detach().clone()
            if change is not None:
                x = x + change
            self._seen = x.requires_grad_(with_grad)
            batch = _with_input(batch, self._x, self._seen)
        try:
            loss, output = bench.loss(batch, with_grad=with_grad)
        finally:
            if handle is not None:
                handle.remove()
        if self._seen is None:
            raise CannotJudge("the embedding is not called")
        length = self._x.shape[1]
        if output is not None and output.dim() == 3 and output.shape[:2] == self._x.shape[:2]:
            return output[:, length - 1]
        return loss if output is None else output

    def see(self, output: Tensor) -> Tensor:
        if self._change is None and self._seen is None:
            self._seen = output if output.requires_grad else output.detach().requires_grad_()
            return self._seen
        return output if self._change is None else output + self._change.to(output)


class _Embedded:
    """A hook; an object of ours, which the bench does not put back."""

    def __init__(self, nudged: _Nudged) -> None:
        self._nudged = nudged

    def __call__(self, module: nn.Module, given: Any, output: Tensor) -> Tensor:
        return self._nudged.see(output)


def _with_input(batch: Any, x: Tensor, other: Tensor) -> Any:
    """The batch with another input."""
    if isinstance(batch, Tensor):
        return other
    if isinstance(batch, (list, tuple)):
        parts = [
            other if isinstance(part, Tensor) and torch.equal(part, x) and i == 0 else part
            for i, part in enumerate(batch)
        ]
        return parts if isinstance(batch, list) else tuple(parts)
    if isinstance(batch, dict):
        return {
            k: other if isinstance(v, Tensor) and v.shape == x.shape and torch.equal(v, x) else v
            for k, v in batch.items()
        }
    raise CannotJudge("the batch is of no known kind")


def _draft(cell: Call, cells: list[Call], step: int, dead: int, length: int, moved: float) -> Draft:
    return Draft(
        id="gradient-cut",
        where=cell.name,
        near=tuple(call.name for call in cells if call is not cell)[:8],
        evidence=(
            Evidence(
                name="gradient of an early input",
                value=0.0,
                text=f"the gradient at step {step} is exactly 0, as it is at {dead} of {length} steps",
            ),
            Evidence(
                name="motion of the result by that input",
                value=moved,
                threshold=MOVED,
                unit="of its size",
                text=f"a nudge of step {step} by {NUDGE:g} of its spread moves the result by {moved:.2g}",
            ),
        ),
        do=f"Remove .detach(), .data, .item() or no_grad() between two calls of `{cell.name}` in the loop over time.",
        instead=f"It is no truncation on purpose: the gradient reaches only {length - dead} of {length} steps.",
    )


EXPERIMENTS.append(
    Experiment(
        ids=("gradient-cut",),
        title="Does an early input matter that nothing can be learnt from?",
        run=find_cut,
        passes=lambda bench, record: (4, 1),
    )
)
