"""What a loss is given: probabilities where it wants logits, scores where it wants log-probabilities.

The calls of one place in the code are judged together, so that one head of several can be at fault.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

from gradscope.engine.findings.draft import RULES, CannotJudge, Draft, Rule
from gradscope.engine.findings.record import LossCall, Record
from gradscope.engine.findings.telling import number, seen
from gradscope.protocol.findings import Evidence, Severity
from gradscope.protocol.phases import Phase

_CHECKS = 3
"""Numbers that look like probabilities have to do so this often, where it is not known how they were made."""
_LOG_OFF = 1e-2
"""Log-probabilities have a logsumexp of 0 but for rounding (bfloat16 keeps it within some thousandths)."""
_OFF = 0.01
"""Rows of targets may sum to 1 +- this: labels smoothed in half precision."""
_POSITIVE = 1e-2
"""The logarithm of a probability is never above 0."""
_SOFTMAX = ("SoftmaxBackward0", "SparseSoftmaxBackward0")
_OVER_CLASSES = ("cross_entropy", "log_softmax", "logsumexp")
_NEAR_CHANCE = 0.8
"""Of the loss of guessing: below it, as with a temperature of 0.5 or 1 in a usual batch, a loss still has some way to go."""
_BOUNDED = {
    "SigmoidBackward0": ("sigmoid", 1.0),
    "TanhBackward0": ("tanh", 2.0),
    "HardsigmoidBackward0": ("sigmoid", 1.0),
}


def slots(record: Record, functions: Iterable[str]) -> list[list[LossCall]]:
    """The calls of these functions that something is learnt by, those of the same place in each step together."""
    found: dict[tuple[str, str, str, int], list[LossCall]] = {}
    counts: dict[tuple[int, str, str, str], int] = {}
    for call in record.losses:
        if call.function not in functions:
            continue
        key = call.step, call.turn, call.function, call.layer
        number_in_step = counts[key] = counts.get(key, 0) + 1
        found.setdefault((call.turn, call.function, call.layer, number_in_step), []).append(call)
    return [kept for calls in found.values() if (kept := [call for call in calls if call.requires_grad])]


def _needs(*functions: str) -> Callable[[Record], list[list[LossCall]]]:
    def get(record: Record) -> list[list[LossCall]]:
        if not record.checked:
            raise CannotJudge("the functions of the loss were not looked at")
        found = slots(record, functions)
        if not found:
            raise CannotJudge(f"{functions[0]} was not called")
        return found

    return get


def _draft(
    record: Record, id: str, calls: list[LossCall], *evidence: Evidence, do: str = "", why: str = "", instead: str = ""
) -> Draft:
    call = calls[0]
    return Draft(
        id=id,
        where=call.place or record.last_layer,
        phase=Phase.FORWARD,
        first_step=call.step,
        step=calls[-1].step,
        evidence=(*evidence, seen("checks", len(calls), text=f"{call.function}, input {call.input_shape}")),
        do=do,
        why=why,
        instead=instead,
    )


def _classes(call: LossCall) -> int:
    return call.input_shape[call.class_dim] if call.class_dim is not None else 1


def _double_softmax(record: Record) -> Iterator[Draft]:
    for calls in _needs(*_OVER_CLASSES, "nll_loss", "log")(record):
        call = calls[0]
        if call.function in ("nll_loss", "log"):
            inner = "LogSoftmaxBackward0" if call.function == "nll_loss" else "SoftmaxBackward0"
            if not all(c.made_by == inner and c.made_of in _SOFTMAX for c in calls):
                continue
        elif _classes(call) < 2 or not _are_probabilities(calls):
            continue
        floor = math.log(math.e + _classes(call) - 1) - 1
        yield _draft(
            record,
            "double-softmax",
            calls,
            seen("least loss that can be reached", floor if _classes(call) > 1 else None, 0),
            seen("sum of each row", 1, 1, text=f"what {call.function} gets are probabilities"),
            do="Return the logits: the loss applies the softmax itself.",
        )


def _are_probabilities(calls: list[LossCall]) -> bool:
    if not all(call.rows_sum_to_one for call in calls):
        return False
    return all(call.made_by in _SOFTMAX for call in calls) or len(calls) >= _CHECKS


def _squeezed(record: Record) -> Iterator[Draft]:
    for calls in _needs("cross_entropy", "log_softmax", "logsumexp")(record):
        name, width = _BOUNDED.get(calls[0].made_by, ("", 0.0))
        classes = _classes(calls[0])
        if not name or classes < 2 or any(call.made_by != calls[0].made_by for call in calls):
            continue
        floor = math.log(math.exp(width) + classes - 1) - width
        yield _draft(
            record,
            "sigmoid-into-cross-entropy",
            calls,
            seen("range of the logits", width, text=f"they come out of a {name}"),
            seen("least loss that can be reached", floor, 0),
            do=f"Remove the {name} before the loss.",
            why=f"With a range of {width:g} the logits cannot get far apart: the loss cannot get below {number(floor)}.",
        )


def _cut_off(record: Record) -> Iterator[Draft]:
    for calls in _needs("cross_entropy", "log_softmax", "logsumexp", "binary_cross_entropy_with_logits")(record):
        if any(call.made_by != "ReluBackward0" for call in calls):
            continue
        is_binary = calls[0].function.startswith("binary")
        if not is_binary and _classes(calls[0]) < 2:
            continue
        yield _draft(
            record,
            "relu-into-cross-entropy",
            calls,
            seen("least logit that there can be", 0),
            why="No probability can get below one half." if is_binary else "",
        )


def _double_sigmoid(record: Record) -> Iterator[Draft]:
    functions = ("binary_cross_entropy_with_logits", "binary_cross_entropy", "logsigmoid", "log")
    for calls in _needs(*functions)(record):
        takes_logits = calls[0].function in functions[::2]
        if takes_logits:
            is_known = all(call.made_by in ("SigmoidBackward0", *_SOFTMAX) for call in calls)
            found = is_known or _look_squeezed(calls)
        else:
            found = all(call.made_by == call.made_of == "SigmoidBackward0" for call in calls)
        if not found:
            continue
        low, high = min(call.input_low for call in calls), max(call.input_high for call in calls)
        inner = "a softmax" if calls[0].made_by in _SOFTMAX else "a sigmoid"
        yield _draft(
            record,
            "double-sigmoid",
            calls,
            seen("least of what it gets", low, 0),
            seen("greatest of what it gets", high, 1, text=f"it has been through {inner}"),
        )


def _look_squeezed(calls: list[LossCall]) -> bool:
    """All within (0, 1) at every check, over a good part of it, by a formula: 1 / (1 + exp(-x)) written by hand."""
    makers = ("DivBackward0", "ReciprocalBackward0", "MulBackward0", "PowBackward0", "ClampBackward1", "ClampBackward0")
    if len(calls) < _CHECKS or any(call.made_by not in makers for call in calls):
        return False
    inside = all(call.input_low > 0 and call.input_high < 1 for call in calls)
    return inside and max(c.input_high for c in calls) - min(c.input_low for c in calls) > 0.1


def _nll_on_logits(record: Record) -> Iterator[Draft]:
    for calls in _needs("nll_loss")(record):
        if _classes(calls[0]) < 2 or any(call.logsumexp <= _LOG_OFF for call in calls):
            continue
        # A focal loss weighs log-probabilities before nll_loss gathers them: no value of it is above 0.
        are_probabilities = all(call.rows_sum_to_one or call.made_by in _SOFTMAX for call in calls)
        if not are_probabilities and not all(call.input_high > _POSITIVE for call in calls):
            continue
        yield _draft(
            record,
            "nll-on-logits",
            calls,
            seen("logsumexp over the classes (median)", min(call.logsumexp for call in calls), _LOG_OFF),
            seen(
                "greatest value", max(call.input_high for call in calls), 0, text="a log-probability is never above 0"
            ),
        )


def _log_softmax_elsewhere(record: Record) -> Iterator[Draft]:
    """A log-softmax that does not sum to 1 over the classes was taken over another dimension."""
    for calls in _needs("nll_loss")(record):
        normalised = all(
            call.made_by == "LogSoftmaxBackward0" or (call.made_by == "LogBackward0" and call.made_of in _SOFTMAX)
            for call in calls
        )
        if normalised and _classes(calls[0]) > 1 and all(call.logsumexp > _LOG_OFF for call in calls):
            yield _draft(
                record,
                "softmax-wrong-dim",
                calls,
                seen("logsumexp over the classes (median)", min(call.logsumexp for call in calls), _LOG_OFF),
                do=f"Take it over the classes: dim={calls[0].class_dim}.",
            )


def _softmax_of_one(record: Record) -> Iterator[Draft]:
    """A softmax over a single element is 1, whatever it is given."""
    functions = (
        "binary_cross_entropy",
        "mse_loss",
        "l1_loss",
        "smooth_l1_loss",
        "huber_loss",
        "difference",
        "nll_loss",
    )
    for calls in slots(record, (*functions, "binary_cross_entropy_with_logits")):
        if all(call.made_by in _SOFTMAX and call.input_low == call.input_high == 1.0 for call in calls):
            yield _draft(
                record,
                "softmax-wrong-dim",
                calls,
                seen("output for every sample", 1.0),
                do="Use a sigmoid for a single output, or two outputs.",
                why="A softmax over one element is always 1: nothing can be learnt.",
            )


def _kl_on_probabilities(record: Record) -> Iterator[Draft]:
    for calls in _needs("kl_div")(record):
        if any(call.made_by.startswith(("LogSoftmax", "LogBackward", "Log1p", "LogSigmoid")) for call in calls):
            continue
        are_probabilities = _are_probabilities(calls) or all(call.made_by in _SOFTMAX for call in calls)
        are_scores = (
            record.is_plain
            and len(calls) >= _CHECKS
            and all(call.logsumexp > _LOG_OFF and call.input_high > _POSITIVE for call in calls)
        )
        if are_probabilities or are_scores:
            yield _draft(
                record,
                "kl-on-probabilities",
                calls,
                seen("logsumexp over the classes (median)", min(call.logsumexp for call in calls), _LOG_OFF),
                seen(
                    "greatest value",
                    max(call.input_high for call in calls),
                    0,
                    text="a logarithm of one is never above 0",
                ),
                do="" if are_probabilities else "Pass log_softmax(...) of these scores.",
            )


def _narrow(record: Record) -> Iterator[Draft]:
    """Cosines lie in -1 ... 1: with a factor that is too small, or none, no class can be told from the others."""
    for calls in _needs(*_OVER_CLASSES)(record):
        reach, classes = max(call.reach for call in calls), min(map(_classes, calls))
        if not math.isfinite(reach) or classes < 2:
            continue
        floor, chance = math.log(math.exp(-2 * reach) * (classes - 1) + 1), math.log(classes)
        if floor < _NEAR_CHANCE * chance:
            continue
        wanted = math.log(99 * (classes - 1)) / 2
        yield _draft(
            record,
            "logits-too-narrow",
            calls,
            seen("greatest size of a logit", reach, text=f"cosines, times {number(reach)}"),
            seen(
                "least loss that can be reached",
                floor,
                _NEAR_CHANCE * chance,
                text=f"guessing among {classes} gets {number(chance)}",
            ),
            do=f"Divide the cosines by a temperature: {number(1 / wanted)} lets one of {classes} get a probability of 99 %."
            + (" Were they multiplied by it?" if reach < 1 else ""),
            instead="The factor is a number: it is no temperature that is learnt and may still grow.",
        )


def _soft_targets(record: Record) -> Iterator[Draft]:
    for calls in _needs("cross_entropy")(record):
        with_sums = [call.target_sums for call in calls if call.target_sums is not None]
        if len(with_sums) < len(calls):
            continue
        low, high = min(sums[0] for sums in with_sums), max(sums[1] for sums in with_sums)
        if low >= 1 - _OFF and high <= 1 + _OFF:
            continue
        # Rows of zeros leave a sample out, and weights of samples are put into rows: some rows still sum to 1 then.
        # Where no row does, or a target is negative, the rows were never probabilities.
        is_negative = min(call.target_low for call in calls) < -_OFF
        never = all(sums[1] < 1 - _OFF or sums[0] > 1 + _OFF for sums in with_sums)
        yield Draft(
            id="soft-targets-do-not-sum-to-one",
            severity=None if is_negative or never else Severity.INFO,
            phase=Phase.FORWARD,
            first_step=calls[0].step,
            step=calls[-1].step,
            evidence=(
                seen("least sum of a row", low, 1 - _OFF),
                seen("greatest sum of a row", high, 1 + _OFF),
                seen("least target", min(call.target_low for call in calls), 0),
            ),
            do="They are logits: pass softmax(targets, dim=1)." if is_negative else "",
        )


for _id, _judge in {
    "double-softmax": _double_softmax,
    "sigmoid-into-cross-entropy": _squeezed,
    "relu-into-cross-entropy": _cut_off,
    "double-sigmoid": _double_sigmoid,
    "logits-too-narrow": _narrow,
    "nll-on-logits": _nll_on_logits,
    "kl-on-probabilities": _kl_on_probabilities,
    "soft-targets-do-not-sum-to-one": _soft_targets,
}.items():
    RULES.append(Rule(ids=(_id,), judge=_judge))
RULES.append(Rule(ids=("softmax-wrong-dim",), judge=_log_softmax_elsewhere))
RULES.append(Rule(ids=("softmax-wrong-dim",), judge=_softmax_of_one))
