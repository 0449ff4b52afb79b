"""Which findings follow from which: only here is one known beside another.

Where a cause is named, what follows from it is worth no warning of its own: it becomes an info with the cause as its root.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gradscope.protocol.findings import Finding, Severity

_NONFINITE = ("nonfinite-forward", "nonfinite-loss", "nonfinite-backward", "nonfinite-step")
_SCALES = ("lr-too-high", "initial-loss-too-high", "vanishing-gradient", "exploding-gradient")
_RATES = (
    "lr-too-high", "lr-too-low", "group-lr-too-low", "momentum-too-high", "lr-decays-too-early", "weight-decay-too-strong",
)  # fmt: skip

FOLLOWS: dict[str, tuple[str, ...]] = {
    "nonfinite-input": (*_NONFINITE, "scaler-skips"),
    "input-not-scaled": (*_SCALES, "saturated", "dead-units"),
    "target-not-scaled": (*_RATES, "initial-loss-too-high", "exploding-gradient", "clip-too-low"),
    "batch-leak": ("initial-loss-too-high", "future-leak"),
    "double-softmax": ("initial-loss-too-high", "vanishing-gradient"),
    "logits-too-narrow": ("lr-too-low", "lr-too-high"),
    "dropout-on-output": ("lr-too-high",),
    "nll-on-logits": ("initial-loss-too-high", "loss-maximised"),
    "kl-on-probabilities": ("loss-maximised",),
    "constant-input": ("dead-units", "predicts-one-class", "labels-unrelated", "validation-leak"),
    "one-token": ("dead-units", "constant-input", "predicts-one-class", "labels-unrelated"),
    "constant-target": ("dead-units", "predicts-one-class", "single-class-batches"),
    "labels-unrelated": ("dead-units",),
    "exploding-gradient": ("dead-units", "lr-too-high", *_NONFINITE),
    "norm-in-eval": ("dead-units", "exploding-gradient"),
    "model-in-eval": ("norm-in-eval",),
    "norm-wipes-input": ("vanishing-gradient", "dead-units", "lr-too-low"),
    "single-class-batches": ("dead-units", "predicts-one-class"),
    "grad-not-zeroed": ("dead-units", "lr-too-high", "exploding-gradient"),
    "symmetric-units": ("vanishing-gradient", "dead-units"),
    "unregistered": ("not-in-optimizer",),
    "steps-undone": ("lr-too-low", "group-lr-too-low"),
    "ctc-too-short": ("nonfinite-loss", "not-reached"),
    "order-invisible": ("labels-unrelated",),
    "size-invisible": ("labels-unrelated",),
    "initial-loss-too-high": ("exploding-gradient",),
    "momentum-too-high": ("lr-too-high", "lr-too-low"),
    "lr-too-high": ("dead-units", "predicts-one-class", *_NONFINITE),
    "weight-decay-too-strong": ("dead-units", "vanishing-gradient"),
    "scaler-skips": ("lr-too-low", *_NONFINITE),
    "half-underflow": ("lr-too-low", "not-reached"),
}
"""Cause -> what may follow from it."""

EXACT_CAUSES = frozenset(
    [
        "nonfinite-input",
        "nonfinite-forward",
        "nonfinite-loss",
        "nonfinite-backward",
        "nonfinite-step",
        "scaler-skips",
        "half-underflow",
        "unregistered",
        "not-reached",
        "not-in-optimizer",
        "gradient-cut",
        "grad-not-zeroed",
        "symmetric-units",
        "no-nonlinearity",
        "norm-in-eval",
        "norm-wipes-input",
        "double-softmax",
        "sigmoid-into-cross-entropy",
        "double-sigmoid",
        "logits-too-narrow",
        "dropout-on-output",
        "nll-on-logits",
        "kl-on-probabilities",
        "softmax-wrong-dim",
        "broadcast-in-loss",
        "layout-mixup",
        "output-range",
        "loss-maximised",
        "batch-leak",
        "constant-input",
        "constant-target",
        "one-token",
        "single-class-batches",
        "mask-hides-wrong-part",
    ]
)
"""First they are to be mended: while one is known, no training is run again to look for others."""
_NEARLY_ALL = 0.9
"""Of a layer's units dead: the place is worth saying beside the cause."""


def settled(findings: Sequence[Finding]) -> list[Finding]:
    """What follows from another finding made an info; errors first, then warnings, then infos, each in the order given."""
    present = {finding.id for finding in findings if finding.severity.counts}
    result = []
    for finding in findings:
        root = next((cause for cause in FOLLOWS if cause in present and finding.id in FOLLOWS[cause]), None)
        if root is not None and not _is_worth_saying(finding, root):
            finding = replace(finding, severity=Severity.INFO, root=root)
        result.append(finding)
    return sorted(result, key=lambda finding: list(Severity).index(finding.severity))


def _is_worth_saying(finding: Finding, root: str) -> bool:
    if not finding.severity.counts:
        return True
    share = next((evidence.value for evidence in finding.evidence if evidence.unit == "%"), None)
    return finding.id == "dead-units" and root == "lr-too-high" and share is not None and share >= 100 * _NEARLY_ALL
