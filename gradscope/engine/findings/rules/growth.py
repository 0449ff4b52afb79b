"""Values that grow from layer to layer: an adjacency that is not normalised, residual branches at full size, a gain that is
too large in each of many layers. No single weight is loud, and the first loss is many times what chance gets."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from gradscope.engine.findings.draft import RULES, CannotJudge, Draft, Rule
from gradscope.engine.findings.record import LossCall, Record
from gradscope.engine.findings.rules.losses import slots
from gradscope.engine.findings.statistics import mean
from gradscope.engine.findings.telling import need_steps, number, seen, weights
from gradscope.protocol.phases import Phase

_STEPS = 20
_LAYERS = 4
_GROWN = 100.0
"""Of the largest output over the first: networks that train keep within 10."""
_RISING = 0.7
_FAR = 10.0
"""Times what chance gets: of a cross entropy."""
_SQUARED_FAR = 100.0
"""The same of a squared error: outputs ten times as far out as the targets."""
_CLASSES = ("cross_entropy", "nll_loss", "binary_cross_entropy_with_logits")


@dataclass(frozen=True)
class _Loss:
    """What was seen of a loss whose chance is known."""

    chance: float
    first: float
    least_since: float
    """The lowest after the first steps."""
    is_squared: bool


def _judge(record: Record) -> Iterator[Draft]:
    if not record.first_sizes:
        raise CannotJudge("nobody has measured how large the first outputs were")
    need_steps(record, _STEPS)
    sizes = {p.layer: record.first_sizes[p.layer] for p in weights(record) if p.layer in record.first_sizes}
    growing = _growing(sizes)
    if not growing:
        return
    loss = next((known for known in _losses(record) if _is_lost(known)), None)
    if loss is None:
        return
    first, largest = sizes[growing[0]], sizes[growing[-1]]
    yield Draft(
        id="initial-loss-too-high",
        where=_around(growing),
        near=tuple(growing[:8]),
        phase=Phase.FORWARD,
        evidence=(
            seen(
                "outputs of the last layer over those of the first",
                largest / first,
                _GROWN,
                text=f"root mean square {number(first)} of {growing[0]}, {number(largest)} of {growing[-1]}",
            ),
            seen("first loss", loss.first, text=f"chance gets {number(loss.chance)}"),
            seen("lowest loss since", loss.least_since, loss.chance),
        ),
        why="Values grow from layer to layer, and what comes out is far too loud.",
        do=f"Bring the gain from {growing[0]} to {growing[-1]} to about 1: normalise what is summed up, start residual "
        "branches at 0, or initialise with smaller weights.",
        instead="No single weight is large: it is their product.",
    )


def _growing(sizes: dict[str, float]) -> list[str]:
    """The layers, in the order of the calls, from the first one to that with the largest outputs; none where they do not
    grow a hundredfold from layer to layer."""
    names = list(sizes)
    if len(names) < _LAYERS or not all(map(math.isfinite, sizes.values())) or not sizes[names[0]]:
        return []
    top = max(range(len(names)), key=lambda place: sizes[names[place]])
    chain = [sizes[name] for name in names[: top + 1]]
    if len(chain) < _LAYERS - 1 or chain[-1] < _GROWN * chain[0]:
        return []
    # In one step it is the weights of one layer, or a sum over very many things.
    steps = [math.log(b / a) for a, b in itertools.pairwise(chain) if a > 0 and b > 0]
    is_steady = max(steps) < 0.7 * math.log(chain[-1] / chain[0])
    middle = mean([float(b > a) for a, b in itertools.pairwise(_halved(chain))])
    return names[: top + 1] if is_steady and middle >= _RISING else []


def _halved(chain: list[float]) -> list[float]:
    """Means of two neighbours: layers of a block take turns."""
    return [math.sqrt(max(a * b, 0.0)) for a, b in itertools.pairwise(chain)]


def _losses(record: Record) -> Iterator[_Loss]:
    """The yardstick; for a step of the recipe's own, each loss function of torch's that it calls outside of all layers."""
    measures = [step.measure for step in record.steps if step.measure is not None]
    if record.is_plain and measures and record.baseline is not None:
        values = [measure.value for measure in measures]
        yield _Loss(record.baseline.value, values[0], min(values[_STEPS // 2 :]), measures[0].kind == "regression")
        return
    for calls in slots(record, (*_CLASSES, "mse_loss")):
        chance, later = _chance(calls[0]), [call.value for call in calls if call.step >= _STEPS]
        if calls[0].step == 0 and not calls[0].layer and chance is not None and later:
            yield _Loss(chance, calls[0].value, min(later), calls[0].function == "mse_loss")


def _chance(call: LossCall) -> float | None:
    if call.function == "mse_loss":
        return call.target_std**2 if call.target_std > 0 else None
    if call.function == "binary_cross_entropy_with_logits":
        return math.log(2)
    classes = call.input_shape[call.class_dim] if call.class_dim is not None else 1
    return math.log(classes) if classes > 1 else None


def _is_lost(loss: _Loss) -> bool:
    far = _SQUARED_FAR if loss.is_squared else _FAR
    return loss.first > far * loss.chance and loss.least_since > loss.chance


def _around(layers: list[str]) -> str:
    """The module that holds most of them."""
    counts: dict[str, int] = {}
    for layer in layers:
        parts = layer.split(".")
        for length in range(1, len(parts)):
            counts[".".join(parts[:length])] = counts.get(".".join(parts[:length]), 0) + 1
    best = max(counts, key=lambda name: (counts[name], len(name)), default="")
    return best if best and counts[best] > len(layers) / 2 else layers[-1]


RULES.append(Rule(ids=("initial-loss-too-high",), judge=_judge))
