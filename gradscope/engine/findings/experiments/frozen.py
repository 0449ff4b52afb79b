"""Does a frozen part hold the training back? A frozen last layer that knows nothing cannot have been meant; any other may."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from gradscope.engine.findings.bench import Bench, Change, Run
from gradscope.engine.findings.counterfactual import curves, ends, horizon, is_better, passes_of, short
from gradscope.engine.findings.draft import EXPERIMENTS, Draft, Experiment
from gradscope.engine.findings.record import LayerFacts, ParameterFacts, Record
from gradscope.engine.findings.statistics import mean
from gradscope.protocol.findings import Evidence

FROM_CHANCE = (0.8, 1.3)
"""The first loss of a classifier that knows nothing, in baselines: one that was trained on something is better, or wrong
with confidence."""
SHUFFLES = 3
"""How often the weights of a layer are put into another order."""
SAME = 0.1
"""A layer whose first loss changes by less than a tenth with its weights in another order has learned nothing in it."""


def run(bench: Bench, record: Record) -> Iterable[Draft]:
    frozen = [facts for facts in record.parameters.values() if not facts.requires_grad and len(facts.shape) > 1]
    if not record.is_unsolved or not frozen or not any(facts.requires_grad for facts in record.parameters.values()):
        return
    steps = horizon(bench, record)
    as_it_is = bench.unchanged(steps)
    last = _frozen_last_layer(record)
    if last is not None and _is_at_chance(record) and _knows_nothing(bench, record, last):
        own = [facts for facts in record.parameters.values() if facts.name in last.parameters]
        thawed = bench.train(steps, Change(thawed=_tensors(own)))
        if is_better(thawed, as_it_is, record):
            yield _last_layer(record, last, as_it_is, thawed)
            return
    thawed = bench.train(steps, Change(thawed=_tensors(frozen)))
    if is_better(thawed, as_it_is, record):
        layers = tuple(dict.fromkeys(facts.layer for facts in frozen))
        yield Draft(
            id="frozen-part-holds-back",
            where=layers[0],
            near=layers[1:],
            evidence=(ends(as_it_is, thawed, "trained along"),),
            do=f"If that was not meant: requires_grad_(True) for {', '.join(layers[:3])}, and give it to the optimizer.",
            curves=curves(as_it_is, thawed, "trained along"),
        )


def _last_layer(record: Record, last: LayerFacts, as_it_is: Run, thawed: Run) -> Draft:
    first = mean(record.measures[:1])
    own = last.parameters[0]
    return Draft(
        id="output-layer-frozen",
        where=last.name,
        evidence=(
            Evidence(
                name="loss at the first step",
                value=first,
                threshold=None if record.baseline is None else record.baseline.value,
                text=f"The first loss is {short(first)}, as good as always saying the same, and stays so with the weights of "
                f"{last.name} in any other order: it has not been trained before",
            ),
            ends(as_it_is, thawed, "with it trained along"),
        ),
        do=f"model.{last.name}.requires_grad_(True), and give it to the optimizer: {own} has requires_grad False.",
        instead="It is no pretrained layer that is kept on purpose: it knows nothing of this task yet.",
        curves=curves(as_it_is, thawed, "with it trained along"),
    )


def _frozen_last_layer(record: Record) -> LayerFacts | None:
    """The last layer with a weight, where all of it is frozen although what runs right before it is trained."""
    order = [facts for facts in record.order if facts.parameters]
    weighty = [facts for facts in order if any(len(p.shape) > 1 for p in _own(record, facts))]
    if not weighty:
        return None
    last = weighty[-1]
    own = _own(record, last)
    # A weight that is shared has another name too, and may be frozen for its other use.
    if any(p.requires_grad for p in own) or len(own) != len(last.parameters) or not isinstance(last.module, nn.Module):
        return None
    before = [facts for facts in order[: order.index(last)] if facts.is_leaf]
    is_trained = bool(before) and any(p.is_trained and p.requires_grad for p in _own(record, before[-1]))
    return last if is_trained else None


def _own(record: Record, layer: LayerFacts) -> list[ParameterFacts]:
    return [record.parameters[name] for name in layer.parameters if name in record.parameters]


def _is_at_chance(record: Record) -> bool:
    if record.baseline is None or not record.measures:
        return False
    if record.baseline.kind == "regression":
        # An untrained output may be far from the mean of the targets: the shuffles alone tell.
        return True
    low, high = FROM_CHANCE
    return low * record.baseline.value <= record.measures[0] <= high * record.baseline.value


def _knows_nothing(bench: Bench, record: Record, layer: LayerFacts) -> bool:
    """With the elements of its weight in another order it was no worse: at the start, before anything was adapted to it."""
    batch = bench.batches[0]
    weight = next(p.tensor for p in _own(record, layer) if len(p.shape) > 1)
    generator = torch.Generator().manual_seed(0)

    def look() -> float:
        return float(bench.loss(batch, with_grad=False)[0])

    before = bench.at_start(look)
    after = [bench.at_start(look, prepare=lambda: _shuffle(weight, generator)) for _ in range(SHUFFLES)]
    return math.isfinite(before) and all(value < (1 + SAME) * before for value in after)


def _shuffle(weight: Tensor, generator: torch.Generator) -> None:
    with torch.no_grad():
        flat = weight.detach().flatten()
        order = torch.randperm(flat.numel(), generator=generator).to(flat.device)
        weight.copy_(flat[order].reshape(weight.shape))


def _tensors(facts: Iterable[ParameterFacts]) -> tuple[nn.Parameter, ...]:
    return tuple(p.tensor for p in facts if isinstance(p.tensor, nn.Parameter))


def _passes(bench: Bench, record: Record) -> tuple[int, int]:
    model = bench.model
    if not record.is_unsolved or not isinstance(model, nn.Module) or all(p.requires_grad for p in model.parameters()):
        return 0, 0
    return passes_of(bench, 1)


EXPERIMENTS.append(
    Experiment(
        ids=("output-layer-frozen", "frozen-part-holds-back"),
        title="Do frozen layers hold the training back?",
        run=run,
        passes=_passes,
        is_of_dynamics=True,
        runs_the_loop=True,
    )
)
