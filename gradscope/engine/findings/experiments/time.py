"""Sequences that are to say what comes next: does the model see the answer, or is it asked for what it was just given?

What is asked for is read from the loss, whoever shifts: the class whose score the gradient raises at each place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradscope.engine.findings.bench import Bench, Evaluation
from gradscope.engine.findings.draft import EXPERIMENTS, CannotJudge, Draft, Experiment
from gradscope.engine.findings.record import Record
from gradscope.engine.findings.tracing import (
    Call,
    first_to_move,
    given_to,
    input_of,
    motion,
    spread,
    traced,
)
from gradscope.protocol.findings import Evidence

MOVED = 1e-4
"""Of the output's spread; see `samples`."""
NEXT = 0.9
"""So much of what is asked for is the token after: ends of sequences, padding and ignored places are something else."""
SAME = 0.99
"""So much is the token itself; less is a model that repairs what was altered."""


@dataclass(frozen=True)
class Asked:
    """How far ahead the answer lies: 0 is the input itself."""

    ahead: int
    share: float


def find_in_time(bench: Bench, record: Record) -> Iterable[Draft]:
    if (given := given_to(bench)) is not None:
        return _of_several(bench, given)
    x = input_of(bench)
    if not isinstance(x, Tensor) or x.dim() < 2 or x.shape[1] < 3 or (not x.is_floating_point() and x.dim() > 2):
        raise CannotJudge("the inputs are no sequences of tokens or vectors")
    if x.is_floating_point():
        copied = _copied_window(bench)
        if copied is not None:
            return [copied]
    asked = _asked_values(bench, x) if x.is_floating_point() else _asked_tokens(bench, x)
    if asked is None or asked.ahead > 3:
        return []
    return _judged(bench, x, asked)


def _of_several(bench: Bench, given: list[Tensor]) -> list[Draft]:
    """A model with several inputs: is it asked for one of them, at the same place, by a part that does not look ahead (a
    decoder that is fed what it is to say)? What looks at all of it, such as an encoder, may be asked to give it back."""
    for place, x in enumerate(given):
        if x.is_floating_point() or x.dim() != 2 or x.shape[1] < 3:
            continue
        asked = _asked_tokens(bench, x)
        if asked is not None and asked.ahead == 0:
            return _judged(_OneOf(bench, given, place), x, asked)
    return []


class _OneOf:
    """The bench of a model with several inputs, as if it had that one only."""

    def __init__(self, bench: Bench, given: list[Tensor], place: int) -> None:
        self.model, self._bench, self._given, self._place = bench.model, bench, given, place

    def evaluate(self, x: Tensor, *, keeps_layers: bool = True) -> Evaluation:
        given = [*self._given[: self._place], x, *self._given[self._place + 1 :]]
        return self._bench.evaluate(*given, keeps_layers=keeps_layers)


def _judged(bench: Bench | _OneOf, x: Tensor, asked: Asked) -> list[Draft]:
    length = x.shape[1]
    here = length // 2
    with traced(bench.model) as before:
        output = _output(bench, x)
    axes = _time_axes(output, x)
    if not axes:
        raise CannotJudge("the output has no axis of time")
    with traced(bench.model) as after:
        moved = _output(bench, _altered(x, slice(here + 1, length)))
    seen = _least_motion(output, moved, axes, slice(0, here + 1))
    remembered = _least_motion(output, _output(bench, _altered(x, slice(0, here))), axes, slice(here, length))
    if asked.ahead == 0:
        is_causal = seen <= MOVED < remembered
        is_task = isinstance(bench, Bench) and _is_narrow(bench, x)
        return [_not_shifted(asked, here, seen)] if is_causal and not is_task else []
    if seen <= MOVED:
        return []
    if x.is_floating_point():
        # Only through means and deviations of the window: a normalisation of the input, which is no way to read the answer.
        turned = torch.cat([x[:, : here + 1], x[:, here + 1 :].flip(1)], 1)
        if _least_motion(output, _output(bench, turned), axes, slice(0, here + 1)) <= MOVED:
            return []
    mover = first_to_move(before, after, lambda a, b: _moves_before(a, b, x, here))
    if remembered <= MOVED:
        return [_inverted(mover, seen, remembered, length)]
    return [_leak(mover, asked, seen, here, length)]


# ---------------------------------------------------------------------------------------------- what is asked for


def _asked_tokens(bench: Bench, x: Tensor) -> Asked | None:
    """By the gradient of the loss with respect to the scores; None where it is not about the tokens of the input."""
    try:
        loss, output = bench.loss(bench.batches[0])
    except CannotJudge:
        return _asked_of_targets(bench, x)
    if output is None or not output.requires_grad:
        raise CannotJudge("the output that the loss was made of is not known")
    gradient = bench.gradient(loss, output)
    scores = None if gradient is None else _by_position(gradient.detach(), x)
    if scores is None:
        return None
    return _shift_of(scores.argmin(-1), scores.abs().sum(-1) > 0, x)


def _asked_of_targets(bench: Bench, x: Tensor) -> Asked | None:
    """Where the loss cannot be had: targets that are the tokens after. That they are the tokens themselves says nothing, as a
    loss may shift."""
    y = bench.parts(bench.batches[0])[1]
    if y is None or y.is_floating_point() or y.shape != x.shape:
        return None
    asked = _shift_of(y, y >= 0, x)
    return asked if asked is not None and asked.ahead > 0 else None


def _shift_of(wanted: Tensor, is_asked: Tensor, x: Tensor) -> Asked | None:
    shares = {}
    for ahead in range(4):
        known = is_asked[:, : x.shape[1] - ahead]
        if int(known.sum()) < 8:
            continue
        hits = wanted[:, : x.shape[1] - ahead] == x[:, ahead:]
        shares[ahead] = float(hits[known].float().mean())
    return _clearest(shares, x)


def _clearest(shares: dict[int, float], x: Tensor) -> Asked | None:
    if not shares:
        return None
    best = max(shares, key=lambda ahead: shares[ahead])
    others = [share for ahead, share in shares.items() if ahead != best]
    counts = x.unique(return_counts=True)[1].double() / x.numel()
    # With hardly more than one token, every shift looks alike.
    is_clear = float((counts**2).sum()) < 0.7 and shares[best] > max(others, default=0.0) + 0.05
    return Asked(best, shares[best]) if is_clear and shares[best] >= (SAME if best == 0 else NEXT) else None


def _by_position(gradient: Tensor, x: Tensor) -> Tensor | None:
    """(B, T, classes) of whichever layout; None for another."""
    size, length = x.shape[:2]
    if gradient.dim() == 2 and gradient.shape[0] == size * length:
        return gradient.view(size, length, -1)
    if gradient.dim() != 3 or gradient.shape[0] != size:
        return None
    layouts = [gradient] if gradient.shape[1] == length else []
    layouts += [gradient.transpose(1, 2)] if gradient.shape[2] == length else []
    # The scores of one place get gradients of both signs; a layout read wrongly has columns of one sign.
    return max(layouts, key=lambda g: float(((g > 0).any(-1) & (g < 0).any(-1)).float().mean()), default=None)


def _asked_values(bench: Bench, x: Tensor) -> Asked | None:
    """By comparing targets with inputs, of all batches."""
    ahead: int | None = None
    for batch in bench.batches:
        values, y = bench.parts(batch)
        if values is None or y is None or not y.is_floating_point() or y.shape[:2] != values.shape[:2]:
            return None
        wide, target = values.reshape(*values.shape[:2], -1), y.reshape(*y.shape[:2], -1)
        fits = [k for k in range(4) if k < values.shape[1] - 1 and _is_shifted(wide, target, k)]
        if len(fits) != 1 or (ahead is not None and ahead != fits[0]):
            return None
        ahead = fits[0]
    if ahead == 0:
        # A script's loss cannot be had: it may shift.
        loss, output = bench.loss(bench.batches[0])
        gradient = bench.gradient(loss, output) if output is not None else None
        if gradient is None or gradient.shape[:2] != x.shape[:2]:
            return None
        if not bool(gradient[:, -1].any()):
            # Nothing is asked at the last place: the loss does the shifting.
            return Asked(1, 1.0) if bool(gradient.any()) else None
    return None if ahead is None else Asked(ahead, 1.0)


def _is_shifted(x: Tensor, y: Tensor, ahead: int) -> bool:
    """Every column of the target is a column of the input, so many steps later."""
    later, now = x[:, ahead:], y[:, : x.shape[1] - ahead]
    columns = [
        next((j for j in range(x.shape[2]) if torch.equal(later[..., j], now[..., i])), None) for i in range(y.shape[2])
    ]
    return None not in columns and bool((now != now[:, :1]).any())


def _copied_window(bench: Bench) -> Draft | None:
    """Windows of one series, each with a target that is its own last value."""
    inputs, targets = zip(*map(bench.parts, bench.batches), strict=True)
    if any(x is None or x.dim() not in (2, 3) or x.shape[1:] != inputs[0].shape[1:] for x in inputs):
        return None
    if any(y is None or not y.is_floating_point() or y[0].numel() != 1 for y in targets):
        return None
    x, y = torch.cat(inputs), torch.cat([y.reshape(len(y)) for y in targets])
    x = x.reshape(*x.shape[:2], -1)
    if len(x) < 8 or x.shape[1] < 4 or len(y) != len(x) or bool((y == y[0]).all()):
        return None
    columns = [j for j in range(x.shape[2]) if torch.equal(x[:, -1, j], y)]
    if not columns:
        return None
    heads = {row.numpy().tobytes() for row in x[:, :-1].contiguous().cpu()}
    followed = sum(row.numpy().tobytes() in heads for row in x[:, 1:].contiguous().cpu())
    if followed < 0.5 * len(x):
        return None
    return Draft(
        id="target-not-shifted",
        evidence=(
            Evidence(
                name="targets that are the last value of their own window",
                value=1.0,
                threshold=SAME,
                text=f"all {len(x)} targets equal the last value of their window (column {columns[0]})",
            ),
        ),
        do="Take the target one step later: for a window s[i:i+T] it is s[i+T].",
        instead="The windows are of one series: most of them begin where another one does, one step later.",
    )


# ---------------------------------------------------------------------------------------------- what moves


def _altered(x: Tensor, part: slice) -> Tensor:
    """With other values there: of tokens each one another id that occurs, of vectors those of another sample."""
    altered = x.clone()
    if x.is_floating_point():
        altered[:, part] = x[:, part].roll(1, 0) + float(x.std()) if len(x) > 1 else x[:, part] + float(x.std())
        return altered
    ids = x.unique()
    altered[:, part] = ids.roll(1)[torch.searchsorted(ids, x[:, part].contiguous())]
    return altered


def _output(bench: Bench | _OneOf, x: Tensor) -> Tensor:
    """(B, T, ...), also where samples and steps were made one axis."""
    output = bench.evaluate(x, keeps_layers=False).output
    if output is None:
        raise CannotJudge("the model's output is no tensor")
    size, length = x.shape[:2]
    is_flat = output.dim() >= 1 and output.shape[0] == size * length
    return output.view(size, length, *output.shape[1:]) if is_flat else output


def _time_axes(output: Tensor, x: Tensor) -> list[int]:
    """Those that may be of time."""
    if not output.is_floating_point() or output.dim() < 2 or output.shape[0] != len(x):
        return []
    return [axis for axis in range(1, output.dim()) if output.shape[axis] == x.shape[1]]


def _least_motion(output: Tensor, moved: Tensor, axes: list[int], part: slice) -> float:
    """How far the outputs of these steps have moved, in spreads of the output: the least of the axes that may be of time."""
    if moved.shape != output.shape:
        return 0.0
    indices = [(slice(None),) * axis + (part,) for axis in axes]
    return min(motion(output[index], moved[index]) for index in indices) / (spread(output) or 1.0)


def _moves_before(a: Tensor, b: Tensor, x: Tensor, here: int) -> bool | None:
    """The steps up to here have moved, in what a module is given or puts out; None where time is no axis of it."""
    size, length = x.shape[:2]
    shape = tuple(a.shape)
    if shape[:2] == (size, length):
        index: tuple[slice, ...] = (slice(None), slice(0, here + 1))
    elif shape[:2] == (length, size):
        index = (slice(0, here + 1),)
    elif len(shape) == 3 and shape[0] == size and shape[2] == length:
        index = (slice(None), slice(None), slice(0, here + 1))
    else:
        return None
    return motion(a[index], b[index]) > MOVED * spread(a)


def _is_narrow(bench: Bench, x: Tensor) -> bool:
    """Somewhere it is narrower than its input, or noise is put on that: to give the input back is a task then."""
    if not x.is_floating_point():
        return False
    with traced(bench.model) as trace:
        bench.loss(bench.batches[0], with_grad=False)
    calls = [call for call in trace.calls.values() if call.name]
    is_noisy = any(isinstance(call.module, nn.modules.dropout._DropoutNd) for call in calls[:2])
    sizes = [call.put_out.numel() for call in calls if call.put_out is not None]
    return is_noisy or (bool(sizes) and min(sizes) < x.numel())


# ---------------------------------------------------------------------------------------------- what is said


def _not_shifted(asked: Asked, here: int, seen: float) -> Draft:
    return Draft(
        id="target-not-shifted",
        evidence=(
            Evidence(
                name="places where the input itself is asked for",
                value=asked.share,
                threshold=SAME,
                text=f"the loss asks for the input of the same place at {asked.share:.0%} of the places",
            ),
            Evidence(
                name="motion of outputs by what comes after them", value=seen, threshold=MOVED, unit="of their spread"
            ),
        ),
        do="Shift by one: inputs s[:, :-1], targets s[:, 1:].",
        instead=f"The model is causal (outputs up to step {here} do not see what follows), so it is no autoencoder; "
        "and the loss does not shift either.",
    )


def _leak(mover: Call | None, asked: Asked, seen: float, here: int, length: int) -> Draft:
    name, module = (mover.name, mover.module) if mover is not None else ("", None)
    place = f"`{name}`" if name else "the model"
    if isinstance(module, nn.MultiheadAttention):
        do = f"Give {place} attn_mask=torch.triu(torch.full(({length}, {length}), float('-inf')), 1)."
    elif isinstance(module, nn.RNNBase) and module.bidirectional:
        do = f"Make {place} an nn.{type(module).__name__}(..., bidirectional=False)."
    elif isinstance(module, nn.Conv1d):
        left = module.dilation[0] * (module.kernel_size[0] - 1)
        do = f"Pad the input of {place} on the left only, by dilation * (kernel_size - 1) = {left}."
    else:
        do = f"Let {place} look back only: a causal mask for attention, padding on the left for convolutions."
    return Draft(
        id="future-leak",
        where=name,
        evidence=(
            Evidence(
                name="motion of outputs by what comes after them",
                value=seen,
                threshold=MOVED,
                unit="of their spread",
                text=f"outputs up to step {here} move by {seen:.2g} of their spread when only later steps change",
            ),
            Evidence(
                name="places where a later input is asked for",
                value=asked.share,
                threshold=NEXT,
                text=f"the loss asks for the input {asked.ahead} ahead at {asked.share:.0%} of the places",
            ),
        ),
        do=do,
        instead="It is no model that fills gaps: what it is asked for stands in its input, as it is.",
    )


def _inverted(mover: Call | None, seen: float, remembered: float, length: int) -> Draft:
    name = mover.name if mover is not None else ""
    place = f"of `{name}`" if name else "of the attention"
    return Draft(
        id="mask-hides-wrong-part",
        where=name,
        why="The model sees what comes, which is the answer, and not what was.",
        evidence=(
            Evidence(
                name="motion of outputs by what comes before them",
                value=remembered,
                threshold=MOVED,
                unit="of their spread",
            ),
            Evidence(
                name="motion of outputs by what comes after them", value=seen, threshold=MOVED, unit="of their spread"
            ),
        ),
        do=f"Invert the mask {place}: True (or -inf) is what is hidden, torch.ones({length}, {length}).triu(1).bool().",
        instead="It is no missing mask: the past is hidden, and the future is seen.",
    )


EXPERIMENTS.append(
    Experiment(
        ids=("target-not-shifted", "future-leak", "mask-hides-wrong-part"),
        title="Does a sequence model see the answer, or is it asked for its own input?",
        run=find_in_time,
        passes=lambda bench, record: (7, 0),
    )
)
