"""Does a sample see the others of its batch? Its own row stays, all others are exchanged, and its output must not move."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_map

from gradscope.engine.findings.bench import Bench
from gradscope.engine.findings.draft import EXPERIMENTS, CannotJudge, Draft, Experiment
from gradscope.engine.findings.record import Record
from gradscope.engine.findings.tracing import Call, Trace, first_to_move, input_of, motion, spread, traced
from gradscope.engine.model.leaves import tensor_leaves
from gradscope.protocol.failure import UserCodeFailed
from gradscope.protocol.findings import Evidence

MOVED = 1e-4
"""Of the output's spread: an output that does not depend on the others is the same to the last bit in a forward of the
same shapes; this leaves room for kernels that add in another order."""


def find_leak(bench: Bench, record: Record) -> Iterable[Draft]:
    given = input_of(bench)
    parts = _parts(bench, given)
    axis = _batch_axis(bench, parts[0]) if len(parts) == 1 else 0
    size = parts[0].shape[axis]
    if size < 2:
        raise CannotJudge("a batch holds one sample only")
    with traced(bench.model) as before:
        output = bench.evaluate(given, keeps_layers=False).output
    again = bench.evaluate(given, keeps_layers=False).output
    if output is None or again is None or not output.is_floating_point():
        raise CannotJudge("the model's output is no tensor")
    if output.dim() < 1 or size not in output.shape[: axis + 1]:
        raise CannotJudge("the model's output has no axis of the batch's size")
    if not torch.equal(output, again):
        raise CannotJudge("two forwards of the same input differ, in eval mode too")
    if _is_a_set(bench, given, size, axis) or _compares_samples(bench, output, size):
        return []
    after, moved = _with_others(bench, given, axis, size - 1)
    if moved is not None and _leaks(output, moved, size, size - 1, whole=True):
        _, first_moved = _with_others(bench, given, axis, 0)
        is_one_way = first_moved is not None and not _leaks(output, first_moved, size, 0, whole=True)
        return _draft(before, after, (output, moved), size, size - 1, parts[0], is_one_way=is_one_way)
    after, moved = _with_others(bench, given, axis, 0)
    if moved is not None and _leaks(output, moved, size, 0, whole=True):
        return _draft(before, after, (output, moved), size, 0, parts[0])
    return []


def _with_others(bench: Bench, given: Any, axis: int, sample: int) -> tuple[Trace, Tensor | None]:
    """A forward in which all samples but one are exchanged, and its output."""
    with traced(bench.model) as after:
        moved = bench.evaluate(_others_exchanged(bench, given, axis, sample), keeps_layers=False).output
    return after, moved


def _parts(bench: Bench, given: Any) -> list[Tensor]:
    """The tensors that the model is given. Of several, each must be one of samples: no list of edges, no table of each
    sample against each."""
    parts = [tensor for _, tensor in tensor_leaves(given)]
    if not isinstance(bench.model, nn.Module) or not parts or any(part.dim() < 1 for part in parts):
        raise CannotJudge("the input is no tensor")
    sizes = {len(part) for part in parts}
    if len(parts) > 1 and (len(sizes) > 1 or any(part.shape[1:2] == (len(part),) for part in parts)):
        raise CannotJudge("the input is more than one thing for each sample")
    return parts


def _batch_axis(bench: Bench, x: Tensor) -> int:
    """0, unless the data is sequence first: what is asked for at a place is the next one along axis 0, or axis 1 is the
    one that has the size of the targets, or that varies from batch to batch."""
    y = bench.parts(bench.batches[0])[1]
    if x.dim() < 2 or y is None:
        return 0
    if (
        y.shape[:2] == x.shape[:2]
        and y.dtype == x.dtype
        and y.dim() == x.dim()
        and torch.equal(y[:-1], x[1:])
        and len(x) > 2
    ):
        return 1
    if y.dim() == 1 and len(y) == x.shape[1] != len(x):
        return 1
    if y.dim() == 1 and y.dtype == x.dtype and x.dim() == 2 and len(x) > 2 and y.numel() == x.numel():
        # The same, flattened for the loss.
        return 1 if torch.equal(y.view_as(x)[:-1], x[1:]) else 0
    inputs = [bench.parts(batch)[0] for batch in bench.batches]
    sizes = [(part.shape[0], part.shape[1]) for part in inputs if part is not None and part.dim() > 1]
    firsts, seconds = {first for first, _ in sizes}, {second for _, second in sizes}
    # Sequences of varied lengths have a varying second axis too: then the last batch tells, if any.
    return 1 if len(firsts) == 1 and len(seconds) == 2 and sizes[-1][1] < sizes[0][1] and len(sizes) > 2 else 0


def _others_exchanged(bench: Bench, given: Any, axis: int, sample: int) -> Any:
    """With the rows of another batch, where there is one of this shape; else only some of its own, each more than once:
    what depends on their sum or their largest moves too."""
    parts = [tensor for _, tensor in tensor_leaves(given)]
    pairs = [batch for batch in bench.batches[1:] if bench.knows_input and isinstance(batch, (list, tuple))]
    others = ([tensor for _, tensor in tensor_leaves(batch[0])] for batch in pairs)
    shapes = [part.shape for part in parts]
    fitting = (
        found for found in others if [t.shape for t in found] == shapes and not all(map(torch.equal, found, parts))
    )
    some = (2 * torch.arange(parts[0].shape[axis], device=parts[0].device) + 1) % parts[0].shape[axis]
    exchanged = [
        part.clone() for part in next(fitting, [part.index_select(axis, some.to(part.device)) for part in parts])
    ]
    for part, own in zip(exchanged, parts, strict=True):
        part.select(axis, sample).copy_(own.select(axis, sample))
    if all(map(torch.equal, exchanged, parts)):
        raise CannotJudge("all samples of a batch have the same input")
    by_id = {id(own): part for own, part in zip(parts, exchanged, strict=True)}
    return tree_map(lambda leaf: by_id.get(id(leaf), leaf), given)


def _is_a_set(bench: Bench, given: Any, size: int, axis: int) -> bool:
    """The "batch" is one thing, such as the nodes of a graph: the model holds something for each of them, or what goes from
    one to another, and takes no other number of them."""
    held = [tensor for module in bench.model.modules() for tensor in _tensors_of(module)]
    if not any(_is_of_samples(tensor, size) for tensor in held):
        return False
    fewer = tree_map(lambda leaf: leaf.narrow(axis, 0, size - 1) if isinstance(leaf, Tensor) else leaf, given)
    try:
        bench.evaluate(fewer, keeps_layers=False)
    except (UserCodeFailed, RuntimeError):
        return True
    return False


def _tensors_of(module: nn.Module) -> Iterable[Tensor]:
    yield from module.buffers(recurse=False)
    yield from module.parameters(recurse=False)
    for value in vars(module).values():
        if isinstance(value, Tensor):
            yield value


def _is_of_samples(tensor: Tensor, size: int) -> bool:
    """Of each sample, of each against each, or a list of edges."""
    is_list = tensor.dim() == 2 and 2 in tensor.shape and not tensor.is_floating_point()
    return size in tensor.shape or is_list


def _compares_samples(bench: Bench, output: Tensor, size: int) -> bool:
    """The output is a table of each sample against each, and the target says which is which: a contrastive model."""
    y = bench.parts(bench.batches[0])[1]
    is_table = output.dim() == 2 and output.shape[0] == output.shape[1] == size
    if not is_table or y is None:
        return is_table
    return y.shape == output.shape or (
        y.numel() == size and torch.equal(y.flatten().cpu().float(), torch.arange(float(size)))
    )


def _leaks(a: Tensor, b: Tensor, size: int, sample: int, *, whole: bool) -> bool:
    """The sample's own part has moved: in the output (`whole`) where all axes of the batch's size cross, in a layer along
    each axis that may be the batch's."""
    if a.shape != b.shape or not a.numel():
        return False
    axes = [axis for axis in range(a.dim()) if a.shape[axis] == size]
    if not axes:
        return False
    least = MOVED * spread(a)
    if whole:
        for axis in reversed(axes):
            a, b = a.select(axis, sample), b.select(axis, sample)
        return motion(a, b) > least
    return all(motion(a.select(axis, sample), b.select(axis, sample)) > least for axis in axes)


def _draft(
    before: Trace,
    after: Trace,
    outputs: tuple[Tensor, Tensor],
    size: int,
    sample: int,
    x: Tensor,
    *,
    is_one_way: bool = False,
) -> list[Draft]:
    """`is_one_way`: the last sample sees others, the first one none."""
    mixer = first_to_move(before, after, lambda a, b: _leaks(a, b, size, sample, whole=False))
    place, module = (mixer.name, mixer.module) if mixer is not None else ("", None)
    if isinstance(module, _BatchNorm) and not module.track_running_stats:
        # Without running statistics it normalises by the batch, on purpose.
        return []
    if _sees_a_batch_as_a_sequence_on_purpose(mixer, size) or (is_one_way and _is_masked(mixer)):
        return []
    moved = max(
        motion(a.select(axis, sample), b.select(axis, sample))
        for a, b in [outputs]
        for axis in range(a.dim())
        if a.shape[axis] == size
    )
    share = moved / (spread(outputs[0]) or 1.0)
    return [
        Draft(
            id="batch-leak",
            where=place,
            evidence=(
                Evidence(
                    name="motion of one sample's output when only the other samples are exchanged",
                    value=share,
                    threshold=MOVED,
                    unit="of its spread",
                    text=f"the output of sample {sample} moves by {share:.2g} of the outputs' spread, in eval mode",
                ),
            ),
            do=_advice(place, module, x),
            instead="It is no randomness: the same batch twice gives the same output, bit for bit.",
        )
    ]


def _sees_a_batch_as_a_sequence_on_purpose(call: Call | None, size: int) -> bool:
    """Its input was given a batch axis of size 1 in front, and the samples stand where the sequence belongs."""
    if call is None or call.given is None or call.given.dim() != 3:
        return False
    is_first = getattr(call.module, "batch_first", False)
    return bool(is_first) and tuple(call.given.shape[:2]) == (1, size)


def _is_masked(call: Call | None) -> bool:
    """Attention lets a later one see earlier ones, and not the other way round, only by a mask of this axis's size: whoever
    gave it knows the axis for time (a decoder whose data is sequence first)."""
    return call is not None and any(isinstance(module, nn.MultiheadAttention) for module in call.module.modules())


def _advice(place: str, module: nn.Module | None, x: Tensor) -> str:
    kind, name = type(module).__name__, f" `{place}`" if place else ""
    if module is not None and getattr(module, "batch_first", None) is False and x.dim() >= 2:
        return (
            f"Make{name} {kind}(..., batch_first=True): it takes the first axis for time, and that is the batch here."
        )
    if isinstance(module, (nn.Softmax, nn.LogSoftmax)):
        return f"Give{name} the axis of the classes or keys: it has dim={module.dim}."
    if place:
        return f"Look at every dim=, view and reshape in the forward of{name} ({kind}): axis 0 is the batch."
    return "Look at every dim=, view and reshape in the model's own forward: axis 0 is the batch."


EXPERIMENTS.append(
    Experiment(
        ids=("batch-leak",),
        title="Does a sample see the others of its batch?",
        run=find_leak,
        passes=lambda bench, record: (4, 0),
    )
)
