"""Scales that cannot work: gradients that die or explode, a first loss far above chance, a clip that leaves nothing.

All of them are only judged while the training has not got anywhere; solved, they are the user's business.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from gradscope.engine.findings.draft import RULES, CannotJudge, Draft, Rule
from gradscope.engine.findings.record import ParameterFacts, Record
from gradscope.engine.findings.statistics import mean
from gradscope.engine.findings.telling import need_steps, number, place_of, seen, weights
from gradscope.protocol.phases import Phase

_STEPS = 20
_VANISHED = 1e-4
"""First over last layer; networks that train keep within 1e-2 ... 1e2."""
_MOST = 0.8
_FALLING = 0.7
_DEEP = 4
"""Weight layers: fewer have no depth to vanish in."""
_ELASTIC = 100.0
"""Size of a gradient times size of its weight over the loss: at 100, weights that change by 0.01 % change the loss by 1 %.
Healthy networks: 0.1 ... 10."""
_GROWTH = 30.0
_GROWN = 20.0
_LOUD_GAIN = 3.0
"""std x sqrt(fan in): He initialisation has 1.4, and 3 makes what passes nine times as large in variance."""
_SLOW = 10
_CLIPPED = 0.95
_COEFFICIENT = 0.01
_TINY = 2e-3
"""Sum of the update ratios: the weights cannot have moved by more than a five-hundredth of their size."""
_CLIP_STEPS = 40


def _needs_plain(record: Record, steps: int) -> None:
    if not record.is_plain:
        raise CannotJudge("whether a custom step gets anywhere cannot be judged")
    if not record.has_blown_up:
        need_steps(record, steps)


def _vanishing(record: Record) -> Iterator[Draft]:
    _needs_plain(record, _STEPS)
    if not record.is_unsolved or record.has_blown_up:
        return
    found: set[str] = set()
    for chain in _chains(record):
        for what, sizes in (("the weights", _weight_sizes(chain)), ("the outputs", _output_sizes(record, chain))):
            fade = _fade(sizes)
            if fade is not None and chain[0].layer not in found and not found & {p.layer for p in chain}:
                found.add(chain[0].layer)
                yield Draft(
                    id="vanishing-gradient",
                    where=chain[0].layer,
                    near=tuple(p.layer for p in chain[1:4]),
                    phase=Phase.BACKWARD,
                    first_step=fade[1],
                    evidence=(
                        seen(
                            "first layer's gradient over the last's",
                            fade[0],
                            _VANISHED,
                            text=f"of {what}, {chain[0].layer} over {chain[-1].layer}, falling layer by layer",
                        ),
                        seen("layers on the way", len(chain), _DEEP),
                        seen("yardstick now", record.end),
                    ),
                    instead="The last layers do get gradients, and the training has not got anywhere yet.",
                )


def _chains(record: Record) -> list[list[ParameterFacts]]:
    """All weights in the order of the calls; and those of each part that is deep enough by itself, the largest first."""
    chain = [
        p for p in weights(record) if p.grads and p.requires_grad and "Embedding" not in record.layers[p.layer].kind
    ]
    found = [chain]
    for layer in record.layers:
        part = [p for p in chain if layer and p.layer.startswith(f"{layer}.")]
        if len(part) < len(chain) and part not in found:
            found.append(part)
    return [part for part in found if len(part) >= _DEEP]


def _weight_sizes(chain: list[ParameterFacts]) -> list[dict[int, float]]:
    return [{step: norm / math.sqrt(p.tensor.numel()) for step, norm in p.grads} for p in chain]


def _output_sizes(record: Record, chain: list[ParameterFacts]) -> list[dict[int, float]]:
    return [dict(record.output_grads.get(p.layer, ())) for p in chain]


def _fade(sizes: list[dict[int, float]]) -> tuple[float, int] | None:
    """The middle ratio of first to last, and the first step of it; None where it has not vanished."""
    steps = [step for step in sizes[0] if step >= 2 and sizes[-1].get(step)]
    if len(steps) < _STEPS // 2:
        return None
    ratios = [sizes[0][step] / sizes[-1][step] for step in steps]
    small = [step for step, ratio in zip(steps, ratios, strict=True) if 0 < ratio < _VANISHED]
    if len(small) <= _MOST * len(steps):
        return None
    logs = [mean([math.log(size.get(step, 0.0) + 1e-30) for step in steps]) for size in sizes]
    rising = mean([float(b > a) for a, b in itertools.pairwise(logs)])
    return (sorted(ratios)[len(ratios) // 2], small[0]) if rising > _FALLING else None


def _exploding(record: Record) -> Iterator[Draft]:
    _needs_plain(record, _STEPS)
    measures, losses = record.measures, record.own_losses
    if not losses or not math.isfinite(losses[0]) or losses[0] == 0:
        raise CannotJudge("the first loss is not finite, or 0")
    if not record.is_unsolved:
        return
    measure = record.steps[0].measure
    # A loss that has no floor may pass through 0: it is no measure of itself then.
    is_in_nats = measure is not None and measure.kind in ("classes", "binary")
    size = max(abs(losses[0]), measure.value if measure is not None and is_in_nats else 0.0)
    elastic = {p.name: _elasticity(p, size) for p in weights(record) if p.grads and p.grads[0][0] == 0}
    loud = {name: value for name, value in elastic.items() if value > _ELASTIC}
    if loud and (record.has_blown_up or record.end > 0.5 * measures[0]):
        name = max(loud, key=lambda key: loud[key])
        yield Draft(
            id="exploding-gradient",
            where=record.parameters[name].layer,
            near=tuple(record.parameters[other].layer for other in loud if other != name),
            phase=Phase.BACKWARD,
            evidence=(
                seen("gradient x weight / loss at the first step", loud[name], _ELASTIC, text=f"of {name}"),
                seen("yardstick now", record.end, None, text=f"{number(measures[0])} at first"),
            ),
            instead="It is so before the first step: no learning rate has anything to do with it.",
        )
    elif record.has_blown_up and max(elastic.values(), default=0) > _GROWN:
        yield from _growing(record, elastic)


def _elasticity(p: ParameterFacts, loss: float) -> float:
    value = p.grads[0][1] * p.start_l2 / loss
    return value if math.isfinite(value) else 0.0


def _growing(record: Record, elastic: dict[str, float]) -> Iterator[Draft]:
    """The gradient grows layer by layer on its way back, thirty times and more in all."""
    chain = [p for p in weights(record) if record.output_grads.get(p.layer)]
    sizes = [record.output_grads[p.layer][0][1] for p in chain]
    if len(chain) < _DEEP or not all(map(math.isfinite, sizes)) or not sizes[-1]:
        return
    rising = mean([float(a > b) for a, b in itertools.pairwise(sizes)])
    if rising >= _MOST and sizes[0] / sizes[-1] > _GROWTH:
        yield Draft(
            id="exploding-gradient",
            where=chain[0].layer,
            near=tuple(p.layer for p in chain[1:]),
            phase=Phase.BACKWARD,
            evidence=(
                seen("first layer's output gradient over the last's", sizes[0] / sizes[-1], _GROWTH),
                seen("gradient x weight / loss at the first step", max(elastic.values()), _GROWN),
            ),
        )


def _initial_loss(record: Record) -> Iterator[Draft]:
    _needs_plain(record, _SLOW)
    measures = [step.measure for step in record.steps if step.measure is not None]
    if not measures or record.baseline is None:
        raise CannotJudge("what chance would get is not known")
    kind, first = measures[0].kind, measures[0].value
    classes = measures[0].classes
    chance = math.log(classes) if kind == "classes" and classes and classes > 1 else record.baseline.value
    values = [m.value for m in measures]
    slow = next((i for i, value in enumerate(values) if value < chance), len(values))
    # Logits with a standard deviation s start about s*s/2 above ln C: twice ln C and more is a loud opinion.
    limit = 2 * chance + 1 if kind != "regression" else 5 * chance
    if not first > limit or slow < _SLOW or (kind == "regression" and not _is_loud(record, first)):
        return
    gains = {
        p.name: p.start_std * math.sqrt(p.tensor.numel() / p.shape[0]) for p in weights(record) if p.tensor.numel() > 8
    }
    big = [name for name, gain in gains.items() if gain > _LOUD_GAIN]
    if not big:
        return
    last = max(gains, key=lambda name: place_of(record, record.parameters[name].layer))
    name = last if last in big else max(big, key=lambda key: gains[key])
    yield Draft(
        id="initial-loss-too-high",
        where=record.parameters[name].layer,
        near=tuple(record.parameters[other].layer for other in big if other != name),
        phase=Phase.FORWARD,
        evidence=(
            seen("first yardstick", first, limit, text=f"chance gets {number(chance)}"),
            seen("steps to get below chance", slow, _SLOW, "steps"),
            seen("std x sqrt(fan in)", gains[name], _LOUD_GAIN, text=f"of {name} at the start"),
        ),
        do=f"Start {name} with a standard deviation of {number(record.parameters[name].start_std / gains[name])} or less.",
    )


def _is_loud(record: Record, first: float) -> bool:
    """It is the spread of the outputs that costs, not an offset of the targets."""
    spread = record.steps[0].output_std
    return math.isfinite(spread) and spread**2 > 0.5 * first


def _clip(record: Record) -> Iterator[Draft]:
    clips = [(s.clip_norm, s.clip_limit) for s in record.steps if s.clip_norm is not None and s.clip_limit is not None]
    if not clips:
        raise CannotJudge("nothing is clipped by norm")
    _needs_plain(record, _CLIP_STEPS)
    share = mean([float(norm > limit) for norm, limit in clips])
    left = sorted(limit / norm for norm, limit in clips if norm > 0)
    moved = _moved(record)
    if (
        share <= _CLIPPED
        or not left
        or left[len(left) // 2] >= _COEFFICIENT
        or moved >= _TINY
        or not record.is_unsolved
    ):
        return
    if max(record.steps[-1].rates, default=0.0) > 1.1 * max(record.steps[0].rates, default=0.0):
        return  # a warm-up: it is still to begin
    usual = sorted(norm for norm, _ in clips)[len(clips) // 2]
    yield Draft(
        id="clip-too-low",
        phase=Phase.STEP,
        evidence=(
            seen("share of the steps that are clipped", share, _CLIPPED),
            seen("what is left of the gradient (median)", left[len(left) // 2], _COEFFICIENT),
            seen("how far the weights have moved, in sizes of themselves", moved, _TINY),
        ),
        do=f"Clip at about {number(usual)}, the usual norm, not at {number(clips[-1][1])}.",
        instead="An optimizer that divides by the size of the gradient (Adam) does not mind: this one hardly moves.",
    )


def _moved(record: Record) -> float:
    """The largest of the groups' sums of update ratios."""
    sums: dict[tuple[str, int], float] = {}
    for step in record.steps:
        for group, move in enumerate(step.group_moves):
            sums[step.turn, group] = sums.get((step.turn, group), 0.0) + move
    return max(sums.values(), default=math.inf)


RULES.append(Rule(ids=("vanishing-gradient",), judge=_vanishing))
RULES.append(Rule(ids=("exploding-gradient",), judge=_exploding))
RULES.append(Rule(ids=("initial-loss-too-high",), judge=_initial_loss))
RULES.append(Rule(ids=("clip-too-low",), judge=_clip))
