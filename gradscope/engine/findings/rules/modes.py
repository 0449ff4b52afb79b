"""Train and eval mode, and dropout that leaves hardly anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gradscope.engine.findings.draft import RULES, CannotJudge, Draft, Rule
from gradscope.engine.findings.record import LayerFacts, Record
from gradscope.engine.findings.rules.losses import slots
from gradscope.engine.findings.telling import seen
from gradscope.engine.findings.watch.loss_numbers import REGRESSION
from gradscope.protocol.findings import Severity
from gradscope.protocol.phases import Phase

_OF_CLASSES = frozenset(
    (
        "cross_entropy",
        "nll_loss",
        "log_softmax",
        "logsumexp",
        "binary_cross_entropy",
        "binary_cross_entropy_with_logits",
    )
)
_HARDLY = 0.9
"""p = 0.9 makes the variance of what passes ten times as large; published networks use up to 0.8."""


def _norm_in_eval(record: Record) -> Iterator[Draft]:
    norms = [layer for layer in record.order if _keeps_statistics(layer.module)]
    if not norms:
        raise CannotJudge("no batch normalisation was called")
    for layer in norms:
        if layer.is_training is False and _is_untouched(layer.module):
            yield Draft(
                id="norm-in-eval",
                where=layer.name,
                phase=Phase.FORWARD,
                near=tuple(other.name for other in norms if other is not layer and _is_untouched(other.module)),
                evidence=(
                    seen("batches that its statistics are of", 0),
                    seen("running mean and variance", None, text="0 and 1 everywhere, as they were made"),
                ),
                do=f"Call model.train() before training; leave {layer.name} out of eval() until it has statistics.",
                instead="A pretrained layer that is kept in eval mode on purpose has statistics of its own.",
            )


def _keeps_statistics(module: Any) -> bool:
    return bool(getattr(module, "track_running_stats", False)) and getattr(module, "running_mean", None) is not None


def _is_untouched(module: Any) -> bool:
    """No batch has been counted, and the statistics are as they are made."""
    counted = module.num_batches_tracked
    if counted is not None and int(counted):
        return False
    return bool((module.running_mean == 0).all()) and bool((module.running_var == 1).all())


def _model_in_eval(record: Record) -> Iterator[Draft]:
    affected = [layer for layer in record.order if _matters(layer)]
    if not affected:
        raise CannotJudge("nothing in the model depends on the mode")
    if not record.all_eval:
        return
    was_training = [layer for layer in affected if layer.is_training]
    fresh = [layer for layer in affected if _keeps_statistics(layer.module) and _is_untouched(layer.module)]
    # Fine-tuning in eval mode, with dropout off and pretrained statistics, is done on purpose. What cannot be meant: a model
    # that began in train mode and went on in eval mode, or statistics that nothing has ever been put into.
    yield Draft(
        id="model-in-eval",
        severity=None if was_training or fresh else Severity.INFO,
        phase=Phase.FORWARD,
        near=tuple(layer.name for layer in affected[:4]),
        evidence=(
            seen("layers whose work depends on the mode", len(affected)),
            seen("began in train mode", len(was_training)),
            seen("statistics that were never taken", len(fresh)),
        ),
        do="Call model.train() again after each validation." if was_training else "",
    )


def _matters(layer: LayerFacts) -> bool:
    return _dropout(layer.module) > 0 or _keeps_statistics(layer.module)


def _dropout(module: Any) -> float:
    """With what probability a layer drops; 0 where it does not."""
    kind = type(module).__name__
    if "Dropout" in kind:
        p = getattr(module, "p", 0.0)
    elif kind in ("RNN", "LSTM", "GRU"):
        p = module.dropout if module.num_layers > 1 else 0.0
    elif kind == "MultiheadAttention":
        p = module.dropout
    else:
        p = 0.0
    return float(p) if isinstance(p, (int, float)) else 0.0


def _dropout_too_high(record: Record) -> Iterator[Draft]:
    found = {
        layer.name: (_dropout(layer.module), 0)
        for layer in record.order
        if layer.is_training and _dropout(layer.module) >= _HARDLY
    }
    for call in record.dropouts:
        if call.is_training and call.p >= _HARDLY:
            found.setdefault(call.layer, (call.p, call.step))
    # Where the training gets where it should, the user knows what that p is for.
    severity = Severity.INFO if record.is_plain and not record.is_unsolved else None
    for name, (p, step) in found.items():
        passing = f"{1 - p:.1%} of the elements pass" + (f", multiplied by {1 / (1 - p):.3g}" if p < 1 else "")
        yield Draft(
            id="dropout-too-high",
            where=name,
            severity=severity,
            phase=Phase.FORWARD,
            first_step=step,
            near=tuple(other for other in found if other != name),
            evidence=(seen("p", p, _HARDLY, text=passing),),
            do=f"p is the probability to drop: was {round(1 - p, 3):g} meant?" if p < 1 else "p = 1 drops everything.",
        )


def _dropout_on_output(record: Record) -> Iterator[Draft]:
    if not record.checked:
        raise CannotJudge("the functions of the loss were not looked at")
    # Distances of features may be dropped on purpose, as noise; of a plain training they are of predictions and targets.
    functions = _OF_CLASSES | REGRESSION if record.is_plain else _OF_CLASSES
    severity = Severity.INFO if record.is_plain and not record.is_unsolved else None
    told: set[str] = set()
    for calls in slots(record, functions):
        call = calls[0]
        if call.dropped_by is None or call.dropped_by in told or any(c.dropped_by is None for c in calls):
            continue
        told.add(call.dropped_by)
        yield Draft(
            id="dropout-on-output",
            where=call.dropped_by,
            severity=severity,
            phase=Phase.FORWARD,
            first_step=call.step,
            step=calls[-1].step,
            evidence=(
                seen(
                    "share of the predictions that is put to 0",
                    call.dropped,
                    0,
                    text=f"{call.function} gets what comes out of the dropout, {call.input_shape}",
                ),
                seen("checks", len(calls)),
            ),
            do=f"Move the dropout (p = {call.dropped:g}) before the last layer with weights.",
            instead="No layer with weights lies between the dropout and the loss.",
        )


RULES.append(Rule(ids=("norm-in-eval",), judge=_norm_in_eval))
RULES.append(Rule(ids=("model-in-eval",), judge=_model_in_eval))
RULES.append(Rule(ids=("dropout-too-high",), judge=_dropout_too_high))
RULES.append(Rule(ids=("dropout-on-output",), judge=_dropout_on_output))
