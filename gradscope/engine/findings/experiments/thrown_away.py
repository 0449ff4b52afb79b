"""Is anything computed in each step and thrown away? Layers that are called and never get a gradient, while no result of the
module whose forward calls them is made of what they put out. A head whose answer is returned, and left out by the loss, is
something else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import nn

from gradscope.engine.findings.bench import Bench
from gradscope.engine.findings.draft import EXPERIMENTS, CannotJudge, Draft, Experiment
from gradscope.engine.findings.record import Record
from gradscope.engine.findings.telling import SOME_STEPS, need_steps, tops
from gradscope.engine.findings.tracing import Functions
from gradscope.engine.findings.watch.marks import Marks, tensors_of
from gradscope.engine.model.leaves import tensor_leaves
from gradscope.engine.stepping.foreign_leaves import leaves_of


def find_thrown_away(bench: Bench, record: Record) -> Iterable[Draft]:
    """Only writes `record.thrown_away`: the rule of layers without gradients tells."""
    record.thrown_away = set()
    if not isinstance(bench.model, nn.Module) or not bench.batches:
        raise CannotJudge("the model is no module, or there is no batch")
    need_steps(record, SOME_STEPS)
    idle = _idle(record)
    modules = dict(bench.model.named_modules())
    for top in tops(record, idle):
        parent = next((name for name in _around(top) if record.layers.get(name) and record.layers[name].calls), None)
        inside = [layer for layer in idle if layer == top or layer.startswith(f"{top}.")]
        if parent is not None and _is_thrown_away(bench, modules, parent, inside):
            record.thrown_away |= set(inside)
    return []


def _idle(record: Record) -> list[str]:
    """Layers that were called, all of whose parameters are trained and never got a gradient."""
    mine: dict[str, list[bool]] = {}
    for p in record.parameters.values():
        is_idle = p.requires_grad and p.is_trained and not p.grads and p.missing >= SOME_STEPS
        mine.setdefault(p.layer, []).append(is_idle)
    called = {name for name, facts in record.layers.items() if facts.calls}
    return [layer for layer, are_idle in mine.items() if layer in called and layer not in record.cuts and all(are_idle)]


def _around(name: str) -> Iterator[str]:
    """The names of the modules around it, the innermost first; the model itself last."""
    while name:
        name = name.rpartition(".")[0]
        yield name


def _is_thrown_away(bench: Bench, modules: dict[str, nn.Module], parent: str, inside: list[str]) -> bool:
    lost = {id(p) for layer in inside for p in modules[layer].parameters(recurse=False)}
    watched = _Watched(modules[parent], [modules[layer] for layer in inside], lost)
    handles = [modules[parent].register_forward_hook(watched.parent_left)]
    handles += [modules[layer].register_forward_hook(watched.layer_left) for layer in inside]
    try:
        with watched:
            bench.loss(bench.batches[0])
    finally:
        for handle in handles:
            handle.remove()
    return watched.has_returned and not watched.is_used


class _Watched(Functions):
    """Whether what some layers put out is in a result of the module around them, kept in an attribute, or taken out of the
    graph (a branch of Python, a mask)."""

    def __init__(self, parent: nn.Module, layers: list[nn.Module], lost: set[int]) -> None:
        super().__init__()
        self._parent, self._layers, self._lost = parent, layers, lost
        self._made: Marks[bool] = Marks()
        self.has_returned = self.is_used = False

    def layer_left(self, module: nn.Module, given: Any, output: Any) -> None:
        for _, tensor in tensor_leaves(output):
            self._made.put(tensor, True)
            # What does not go on by the graph could be used in any way.
            self.is_used |= not tensor.requires_grad

    def parent_left(self, module: nn.Module, given: Any, output: Any) -> None:
        self.has_returned = True
        attributes = [value for part in module.modules() for value in vars(part).values()]
        kept = [tensor for value in attributes for tensor in tensors_of(value)]
        results = [*(tensor for _, tensor in tensor_leaves(output)), *kept]
        if not any(tensor.requires_grad for _, tensor in tensor_leaves(output)):
            self.is_used = True
        for tensor in results:
            if tensor.grad_fn is not None and any(id(leaf) in self._lost for leaf in leaves_of(tensor)):
                self.is_used = True

    def see(self, name: str, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = function(*args, **kwargs)
        if any(self._made.get(tensor) for tensor in tensors_of((args, kwargs))):
            made = list(tensors_of(result))
            if name not in ("__get__", "size", "dim", "stride", "numel") or made:
                self.is_used |= not made or any(not tensor.requires_grad for tensor in made)
            for tensor in made:
                self._made.put(tensor, True)
        return result


EXPERIMENTS.append(
    Experiment(
        ids=("never-used",),
        title="Is anything computed and thrown away?",
        run=find_thrown_away,
        passes=lambda bench, record: (len(_idle(record)), 0),
    )
)
