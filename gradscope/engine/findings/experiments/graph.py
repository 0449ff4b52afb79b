"""Which leaves of the loss's graph does nobody know? By two forwards of each turn: a leaf that is in both is kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from gradscope.engine.findings.bench import Bench
from gradscope.engine.findings.draft import EXPERIMENTS, CannotJudge, Draft, Experiment
from gradscope.engine.findings.record import Record
from gradscope.engine.findings.tracing import Functions
from gradscope.engine.model.leaves import tensor_leaves
from gradscope.engine.stepping.foreign_leaves import Held, held_by, leaves_of
from gradscope.protocol.findings import Evidence


def find_unregistered(bench: Bench, record: Record) -> Iterable[Draft]:
    """Also sets `bench.foreign`."""
    if not bench.batches:
        raise CannotJudge("there is no batch")
    foreign = _foreign_leaves(bench, record)
    bench.foreign = tuple(foreign)
    by_holder: dict[str, list[tuple[str, Tensor]]] = {}
    places = held_by(bench.roots, foreign) if foreign else {}
    for leaf in foreign:
        held = places.get(id(leaf))
        if not _is_meant(held, bench):
            path = "" if held is None else _in_model(held.place, bench)
            by_holder.setdefault(_holder(held, bench), []).append((path, leaf))
    return [_draft(holder, found) for holder, found in sorted(by_holder.items())]


def _in_model(place: object, bench: Bench) -> str:
    """As from the model: without its own name."""
    return str(place).removeprefix(f"{_name_of_model(bench)}.")


def _name_of_model(bench: Bench) -> str:
    return next((name for name, root in bench.roots.items() if root is bench.model), "model")


def _holder(held: Held | None, bench: Bench) -> str:
    """One layer, or one list of layers, is one cause, whatever tensors it has."""
    if held is None:
        return ""
    is_of_layer = held.module is not None and _is_layer(held.module) and held.place.parent is not None
    place = held.place.parent if is_of_layer else held.place
    return _in_model(place, bench).partition("[")[0]


def _is_layer(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn")


def _foreign_leaves(bench: Bench, record: Record) -> list[Tensor]:
    """Of every turn: in two forwards, and in no module of the model, no optimizer, no batch."""
    batch = bench.batches[0]
    known = {id(p) for p in _parameters(bench.model)} | {id(t) for _, t in tensor_leaves(batch)}
    for optimizer in record.optimizers.values():
        known |= {id(p) for group in optimizer.param_groups for p in group["params"]}
    found: dict[int, Tensor] = {}
    for turn in record.optimizers or ("",):
        with _Differentiated() as differentiated:
            first = leaves_of(_end_of_graph(bench, record, batch, turn))
            again = {id(leaf) for leaf in leaves_of(_end_of_graph(bench, record, batch, turn))}
        # What the code itself asks the gradient of is an input (coordinates, a perturbation).
        mine = known | differentiated.inputs
        found |= {id(leaf): leaf for leaf in first if id(leaf) in again and id(leaf) not in mine}
    return list(found.values())


def _end_of_graph(bench: Bench, record: Record, batch: Any, turn: str) -> Tensor:
    """The loss; the model's output where the loss is a script's."""
    return bench.graph() if record.is_script else bench.loss(batch, turn=turn)[0]


def _parameters(model: Any) -> Iterable[Tensor]:
    if isinstance(model, nn.Module):
        yield from model.parameters()
    elif isinstance(model, dict):
        for part in model.values():
            yield from _parameters(part)
    elif isinstance(model, Tensor):
        yield model


def _is_meant(held: Held | None, bench: Bench) -> bool:
    """A network outside of the model that is in eval mode (a teacher), or that belongs to the loss (the features of a
    perceptual loss), is used as it is: that its parameters get gradients costs time, and nothing else."""
    if held is None or held.module is None or held.is_in(_name_of_model(bench)):
        return False
    return not held.module.training or (_is_layer(held.module) and held.is_in("loss"))


class _Differentiated(Functions):
    """The tensors that torch.autograd.grad is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: set[int] = set()

    def see(self, name: str, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if function is torch.autograd.grad:
            wanted = args[1] if len(args) > 1 else kwargs.get("inputs", ())
            self.inputs |= {id(tensor) for tensor in ([wanted] if isinstance(wanted, Tensor) else wanted)}
        return function(*args, **kwargs)


def _draft(holder: str, found: list[tuple[str, Tensor]]) -> Draft:
    count, size = len(found), sum(leaf.numel() for _, leaf in found)
    one = count == 1
    is_list = any("[" in path for path, _ in found)
    name = holder or "the tensor"
    if is_list:
        do = f"Make `{name}` an nn.ModuleList or nn.ModuleDict (of tensors: nn.ParameterList), before the optimizer is made."
    elif holder.startswith(("loss.", "training_step")) or " in " in holder:
        do = f"Give `{name}` to the optimizer too, beside model.parameters()."
    else:
        do = f"Make `{name}` an nn.Parameter of its module, before the optimizer is made."
    return Draft(
        id="unregistered",
        where=holder,
        near=tuple(path for path, _ in found if path and path != holder)[:8],
        evidence=(
            Evidence(
                name="tensors that get a gradient and that nobody trains",
                value=count,
                threshold=0,
                text=f"{count} tensor{'' if one else 's'} with {size:,} values, in two forwards the same",
            ),
        ),
        do=do,
        instead="They are no inputs and no constants: they require a gradient, and stay from one forward to the next.",
    )


EXPERIMENTS.append(
    Experiment(
        ids=("unregistered",),
        title="Does anything get a gradient that the model does not know?",
        run=find_unregistered,
        passes=lambda bench, record: (2, 0),
    )
)
