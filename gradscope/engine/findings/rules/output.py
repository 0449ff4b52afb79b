"""What the model says in the end: answers that it cannot give, a loss that is turned upside down, one answer for all."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import torch

from gradscope.engine.findings.draft import RULES, CannotJudge, Draft, Rule
from gradscope.engine.findings.record import LossCall, Record
from gradscope.engine.findings.statistics import is_lower, mean
from gradscope.engine.findings.telling import need_steps, number, seen
from gradscope.protocol.findings import Severity
from gradscope.protocol.phases import Phase

_REGRESSION = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "difference")
_OUTSIDE = 0.05
"""Of the targets: a few outliers may be meant to be cut off; one in twenty is not."""
_RANGES = {
    "Relu": "0 and more",
    "Softplus": "0 and more",
    "Exp": "0 and more",
    "Abs": "0 and more",
    "Sigmoid": "0 to 1",
    "Softmax": "0 to 1",
    "Tanh": "-1 to 1",
}
_LABEL = 1e-3
"""Labels of a binary cross entropy lie in [0, 1] but for rounding."""
_WORSE = 2.0
_TOGETHER = 0.9
_STEPS = 20
_LONG = 100
"""Steps before only one answer is taken for more than a beginning: a rare class is learnt last."""
_NO_BETTER = 0.8
"""Of what always saying the same gets: below it, the rare class shows in the probabilities already."""
_RECENT = 40
_RARE = 8
"""Times that the rare class was seen in these steps."""
_UNEVEN = 10.0
_CLASSES = 20


def _output_range(record: Record) -> Iterator[Draft]:
    if not record.checked:
        raise CannotJudge("the functions of the loss were not looked at")
    groups: dict[tuple[str, str, str], list[LossCall]] = {}
    for call in record.losses:
        if call.requires_grad:
            groups.setdefault((call.turn, call.function, call.place), []).append(call)
    # Where the training gets where it should, the rest is outliers.
    severity = Severity.INFO if record.is_plain and not record.is_unsolved else None
    for (_, function, place), calls in groups.items():
        kind = calls[0].made_by.partition("Backward")[0]
        outside = mean([call.out_of_reach for call in calls])
        low, high = min(call.target_low for call in calls), max(call.target_high for call in calls)
        if function in _REGRESSION and outside > _OUTSIDE and all(c.made_by == calls[0].made_by for c in calls):
            yield Draft(
                id="output-range",
                where=place or record.last_layer,
                severity=severity,
                phase=Phase.FORWARD,
                first_step=calls[0].step,
                evidence=(
                    seen("share of the targets out of reach", outside, _OUTSIDE),
                    seen("targets", None, text=f"{number(low)} to {number(high)}; outputs of {kind}: {_RANGES[kind]}"),
                ),
                do=f"Remove the {kind.lower()} at the end, or bring the targets into its range.",
            )
        elif function.startswith("binary_cross_entropy") and (low < -_LABEL or high > 1 + _LABEL):
            yield Draft(
                id="output-range",
                where=place or record.last_layer,
                phase=Phase.FORWARD,
                first_step=calls[0].step,
                evidence=(seen("least target", low, 0), seen("greatest target", high, 1)),
                why="A binary cross entropy of a label that is no probability has no floor.",
                do="Bring the labels into 0 ... 1.",
            )


def _loss_maximised(record: Record) -> Iterator[Draft]:
    if not record.is_plain:
        raise CannotJudge("there is no yardstick beside the loss of a custom step")
    need_steps(record, _STEPS)
    if any(step.measure is None for step in record.steps):
        raise CannotJudge("there is no yardstick beside this loss")
    pairs = [(s.loss, s.measure.value) for s in record.steps if s.measure is not None]
    pairs = [pair for pair in pairs if all(map(math.isfinite, pair))]
    if len(pairs) < _STEPS:
        return
    own, other = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    part = max(3, len(own) // 5)
    before, after = mean(other[:part]), mean(other[-part:])
    falls = mean(own[-part:]) < mean(own[:part]) - 0.1 * abs(mean(own[:part]))
    if not falls or not after > _WORSE * before or mean(own[-part:]) >= 0:
        return
    # Step by step: where the one rises, the other falls. Another kind of loss (a margin, a reward) has its own ups and downs.
    together = _correlation(_changes(own), _changes(other))
    if together > -_TOGETHER:
        return
    yield Draft(
        id="loss-maximised",
        phase=Phase.FORWARD,
        evidence=(
            seen(
                "yardstick, first and last",
                after,
                _WORSE * before,
                text=f"rises from {number(before)} to {number(after)}",
            ),
            seen("loss at the end", mean(own[-part:]), 0, text=f"falls from {number(mean(own[:part]))}"),
            seen("correlation of their changes", together, -_TOGETHER),
        ),
        instead="The loss and the yardstick of the same outputs move against each other at every step.",
    )


def _changes(values: Sequence[float]) -> list[float]:
    return [b - a for a, b in itertools.pairwise(values)]


def _correlation(a: Sequence[float], b: Sequence[float]) -> float:
    mean_a, mean_b = mean(a), mean(b)
    top = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    bottom = math.sqrt(sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b))
    return top / bottom if bottom else 0.0


def _predicts_one_class(record: Record) -> Iterator[Draft]:
    if not record.is_plain:
        raise CannotJudge("what a custom step predicts is not known")
    need_steps(record, _LONG)
    newest = [s for s in record.steps[-_RECENT:] if s.predictions is not None and s.targets is not None]
    said = [s.predictions.flatten() for s in newest if s.predictions is not None]
    wanted = [s.targets.flatten() for s in newest if s.targets is not None]
    if not said:
        raise CannotJudge("the model is no classifier")
    predictions, targets = torch.cat(said), torch.cat(wanted)
    classes, counts = targets.unique(return_counts=True)
    if len(classes) < 2 or len(classes) > _CLASSES or bool((predictions != predictions[0]).any()):
        return
    most, least = int(counts.max()), int(counts.min())
    is_better = record.baseline is not None and record.end < _NO_BETTER * record.baseline.value
    if least < _RARE or most < _UNEVEN * least or is_better or _still_falls(record):
        return
    yield Draft(
        id="predicts-one-class",
        phase=Phase.FORWARD,
        first_step=newest[0].step,
        evidence=(
            seen(
                "different answers in the newest steps",
                1,
                2,
                text=f"all {len(predictions)} are class {int(predictions[0])}",
            ),
            seen("most frequent class over the rarest", most / least, _UNEVEN),
            seen("times that the rarest was wanted", least, _RARE),
        ),
        do=how_to_weigh(record, int(classes[counts.argmax()]), int(classes[counts.argmin()]), most / least),
        instead=f"After {len(record.steps)} steps the yardstick is still where always saying the same gets.",
    )


def how_to_weigh(record: Record, frequent: int, rare: int, times: float) -> str:
    given = getattr(record.loss_function, "weight", None)
    if isinstance(given, torch.Tensor) and given.dim() == 1 and len(given) > max(frequent, rare):
        of_frequent, of_rare = float(given[frequent]), float(given[rare])
        if of_rare < of_frequent:
            return (
                f"The weights of the classes are the wrong way round: class {frequent}, the most frequent, weighs "
                f"{number(of_frequent)}, and class {rare} {number(of_rare)}. Take 1 / frequency, so that class {rare} weighs "
                f"about {times:.0f} times as much."
            )
    return f"Weigh class {rare} by about {times:.0f}, or sample evenly."


def _still_falls(record: Record) -> bool:
    values = record.measures
    half = len(values) // 2
    newest, before = values[-half // 2 :], values[half : -half // 2]
    return bool(before) and is_lower(newest, before) and mean(newest) < 0.9 * mean(before)


RULES.append(Rule(ids=("output-range",), judge=_output_range))
RULES.append(Rule(ids=("loss-maximised",), judge=_loss_maximised))
RULES.append(Rule(ids=("predicts-one-class",), judge=_predicts_one_class))
