"""Units that never fire, layers in the flat parts of their function, units that are all the same."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from gradscope.engine.findings.draft import RULES, CannotJudge, Draft, Rule
from gradscope.engine.findings.record import WINDOW, ParameterFacts, Record, UnitFacts
from gradscope.engine.findings.statistics import is_lower, mean
from gradscope.engine.findings.telling import SOME_STEPS, need_steps, place_of, seen, weights
from gradscope.protocol.findings import Severity
from gradscope.protocol.phases import Phase

_DEAD = 0.5
"""30 to 40 % of dead units are common in networks that train well; where all inputs point one way, every second unit is."""
_BETTER = 0.95
"""A quarter of the steps in which the yardstick falls by a twentieth: it is under way."""
_NEVER_ALIVE = 0.75
"""From the start: far from the half that chance explains."""
_MISSED = 0.05
"""Chance that a unit that fires as often as the others is not seen to do so."""
_NARROW = 8
"""Units: of fewer, some may be dead by chance."""
_SAMPLES = 100
"""A unit that fires for one sample in fifty is alive, and would be missed in fewer."""
_NEARLY_ALL = 0.9
"""Of a custom step, about which it is not known whether it gets anywhere, only this much is a fault."""
_MOST_STEPS = 0.8
"""A layer that runs in fewer of the steps is idle on purpose: an expert, a branch."""
_DIVERGED = 1e3
"""Times the first loss: divergence ends the evidence."""
_FLAT = 0.75
"""Three quarters of a layer's elements."""
_GOOD = 0.2
"""Of what always saying the same gets: below it, the layer has not kept the training from its end."""
_SAME = 1e-6
"""Of the largest element: rounding of sums in another order."""
_MOVED = 1e-5
"""In sizes of itself: what never moved shows nothing."""
_GATES = {"LSTM": 4, "LSTMCell": 4, "GRU": 3, "GRUCell": 3, "MultiheadAttention": 3}
"""How many parts lie in one weight, each of which gets gradients of its own."""

Calls = Sequence[tuple[int, Tensor, int]]


def _dead_units(record: Record) -> Iterator[Draft]:
    need_steps(record, WINDOW)
    if _has_diverged(record):
        raise CannotJudge("the loss has grown a thousandfold, or is not finite: what is dead then says nothing")
    dead: dict[str, tuple[float, float, UnitFacts]] = {}
    for (layer, is_input), facts in record.units.items():
        shares = _shares(record, facts)
        if shares is not None and shares[0] > _too_many(facts.width) and not (is_input and layer in dead):
            dead[layer] = (*shares, facts)
    if not dead:
        return
    places = sorted(dead, key=lambda layer: (dead[layer][2].is_input, -dead[layer][0], place_of(record, layer)))
    where = places[0]
    share, early, facts = dead[where]
    is_old = early > _too_many(facts.width)
    yield Draft(
        id="dead-units",
        where=where,
        near=tuple(layer for layer in places[1:5]),
        severity=_severity(record, share, is_old=is_old),
        phase=Phase.FORWARD,
        first_step=facts.first[0][0] if is_old else facts.recent[0][0],
        evidence=(
            seen(
                "share of units that never fire",
                share,
                _too_many(facts.width),
                text=f"of {facts.width} units{' that go into it' if facts.is_input else ''}, "
                + ("from the start" if is_old else "after a while"),
            ),
            seen("the same in the first steps", early),
            seen("samples that were looked at", sum(samples for *_, samples in _window(record, facts) or ()), _SAMPLES),
        ),
        do=f"Look at the biases and the initialisation before {where}."
        if is_old
        else f"Lower the learning rate, or use LeakyReLU or GELU for {where}.",
        instead="Each unit is counted over all samples: sparse units that fire now and then are not among them.",
    )


def _severity(record: Record, share: float, *, is_old: bool) -> Severity | None:
    """What died on the way of a training that got where it should is worth a note. A layer most of which was never alive
    cannot have been meant, whatever the rest of the model makes of it."""
    if record.is_plain:
        is_stuck = record.is_unsolved and not _still_falls(record)
        return None if is_stuck or (is_old and share >= _NEVER_ALIVE) else Severity.INFO
    return None if share >= _NEARLY_ALL else Severity.INFO


def _still_falls(record: Record) -> bool:
    """The last quarter of the steps is clearly better than the one before."""
    values = record.measures
    part = max(5, len(values) // 4)
    newest, before = values[-part:], values[-2 * part : -part]
    return bool(before) and is_lower(newest, before) and mean(newest) < _BETTER * mean(before)


def _too_many(width: int) -> float:
    """Half of them, and two standard deviations more: if each is dead by the toss of a coin, it is no more than that."""
    return min(_NEARLY_ALL - 0.05, max(_DEAD + 0.05, _DEAD + 1 / math.sqrt(width)))


def _window(record: Record, facts: UnitFacts) -> Calls | None:
    """The newest calls: of 20 steps, and of as many more as 100 samples take; None where there are not as many, or the layer
    does not run in most of the steps."""
    calls = list(facts.recent)
    count = samples = 0
    for _, _, n in reversed(calls):
        count, samples = count + 1, samples + n
        if count >= WINDOW and samples >= _SAMPLES:
            break
    else:
        return None
    kept = calls[-count:]
    turns = max(1, len(record.optimizers))
    newest = max(kept[-1][0], record.newest_step)
    return kept if count >= _MOST_STEPS * (newest - kept[0][0] + 1) / turns else None


def _shares(record: Record, facts: UnitFacts) -> tuple[float, float] | None:
    """The share of dead units now, and at first."""
    window = _window(record, facts)
    if window is None or facts.width < _NARROW or _is_sparse(window):
        return None
    return _never(window), _never(facts.first)


def _is_sparse(calls: Calls) -> bool:
    """Those that fire do it so rarely that as many samples could well have missed them (a sparse autoencoder)."""
    samples = sum(n for *_, n in calls)
    total = torch.stack([fired for _, fired, _ in calls]).sum(0)
    alive = total[total > 0].float()
    rate = min(1.0, float(alive.median()) / samples) if len(alive) else 1.0
    return (1 - rate) ** samples > _MISSED


def _never(calls: Calls) -> float:
    total = torch.stack([fired for _, fired, _ in calls]).sum(0)
    return float((total == 0).float().mean())


def _has_diverged(record: Record) -> bool:
    losses = record.own_losses
    newest = losses[-WINDOW:]
    limit = _DIVERGED * (abs(losses[0]) + 1e-6) if losses else math.inf
    return any(not math.isfinite(loss) or abs(loss) > limit for loss in newest)


def _saturated(record: Record) -> Iterator[Draft]:
    need_steps(record, WINDOW)
    if _has_diverged(record):
        raise CannotJudge("the loss has grown a thousandfold, or is not finite")
    if not record.is_plain:
        raise CannotJudge("whether a custom step gets anywhere cannot be judged")
    if not _is_far_off(record):
        return
    last = max((place_of(record, p.layer) for p in weights(record)), default=-1)
    flat: dict[str, tuple[float, int]] = {}
    for layer, shares in record.flat.items():
        values = [share for _, share in shares]
        newest = values[-max(WINDOW, len(values) // 2) :]
        often = sum(share > _FLAT for share in newest) / len(newest)
        # At the output it is an answer, not a fault.
        if len(values) >= WINDOW and often > _MOST_STEPS and place_of(record, layer) < last:
            flat[layer] = sum(newest) / len(newest), next(step for step, share in shares if share > _FLAT)
    if not flat:
        return
    at_start = {layer: found for layer, found in flat.items() if record.flat[layer][0][1] > _FLAT}
    where = min(at_start or flat, key=lambda layer: place_of(record, layer))  # what comes behind follows from it
    yield Draft(
        id="saturated",
        where=where,
        # What only came to be so on the way follows from something else, mostly from a rate that is too high.
        severity=None if at_start else Severity.INFO,
        near=tuple(layer for layer in sorted(flat, key=lambda name: place_of(record, name)) if layer != where),
        phase=Phase.FORWARD,
        first_step=flat[where][1],
        evidence=(
            seen("share of elements where the slope is below 2 % of the largest", flat[where][0], _FLAT),
            seen("the same in the first step", record.flat[where][0][1], _FLAT),
        ),
    )


def _is_far_off(record: Record) -> bool:
    """Flat from the start is worth a word until the training has clearly got somewhere."""
    return record.is_unsolved or record.baseline is None or record.end > _GOOD * record.baseline.value


def _symmetric(record: Record) -> Iterator[Draft]:
    need_steps(record, SOME_STEPS)
    for p in record.parameters.values():
        if not p.start_rows_equal and record.layers[p.layer].kind not in _GATES:
            continue
        if not p.requires_grad or not p.is_trained or len(p.updates) < SOME_STEPS or p.tensor.dim() < 2:
            continue
        parts = _equal_parts(p, _GATES.get(record.layers[p.layer].kind, 1))
        if parts and p.moved > _MOVED:
            yield Draft(
                id="symmetric-units",
                where=p.layer,
                phase=Phase.STEP,
                evidence=(
                    seen("rows that are different", parts, p.shape[0], text=f"of {p.shape[0]} rows of {p.name}"),
                    seen("how far they have moved, in sizes of themselves", p.moved, _MOVED),
                ),
                do=f"Initialise {p.name} at random.",
                instead="A layer that only starts at zero has different rows after a few steps.",
            )


def _equal_parts(p: ParameterFacts, gates: int) -> int:
    """In how many parts, of one row each, the rows fall: 1, or the number of gates; 0 where they differ."""
    rows = p.tensor.detach().flatten(1)
    if rows.shape[1] < 2 or rows.numel() == 0 or not bool(torch.isfinite(rows).all()):
        return 0
    largest = float(rows.abs().max())
    for parts in dict.fromkeys((1, gates)):
        if rows.shape[0] % parts or rows.shape[0] // parts < 2 or largest == 0.0:
            continue
        blocks = rows.reshape(parts, -1, rows.shape[1])
        if float((blocks - blocks[:, :1]).abs().max()) <= _SAME * largest:
            return parts
    return 0


RULES.append(Rule(ids=("dead-units",), judge=_dead_units))
RULES.append(Rule(ids=("saturated",), judge=_saturated))
RULES.append(Rule(ids=("symmetric-units",), judge=_symmetric))
