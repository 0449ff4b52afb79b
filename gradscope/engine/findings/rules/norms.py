"""Normalisations behind which all samples look the same."""

from __future__ import annotations

from collections.abc import Iterator

from gradscope.engine.findings.draft import RULES, CannotJudge, Draft, Rule
from gradscope.engine.findings.record import Record
from gradscope.engine.findings.telling import place_of, seen
from gradscope.protocol.findings import Severity
from gradscope.protocol.phases import Phase

_CHECKS = 3
_DIFFERENT = 1e-2
"""How far samples differ in what goes in, over its size: below it, something before has made them equal."""
_TWO = 2
_MOST_STEPS = 0.8
_THE_SAME = 1e-3
"""The same of what comes out, over the largest weight of the layer; what a normalisation lets through has about 1."""


def _judge(record: Record) -> Iterator[Draft]:
    if not record.norms:
        raise CannotJudge("no normalisation with more than one sample was called")
    severity = Severity.INFO if record.is_plain and not record.is_unsolved else None
    for layer in sorted(record.norms, key=lambda name: place_of(record, name)):
        facts = record.norms[layer]
        if len(facts) < _CHECKS:
            continue
        before, after = min(fact[1] for fact in facts), max(fact[2] for fact in facts)
        if before > _DIFFERENT and after < _THE_SAME:
            yield Draft(
                id="norm-wipes-input",
                where=layer,
                severity=severity,
                phase=Phase.FORWARD,
                first_step=facts[0][0],
                evidence=(
                    seen("how far samples differ before it, over their size", before, _DIFFERENT),
                    seen("how far they differ behind it, over its largest weight", after, _THE_SAME),
                    seen("checks", len(facts), _CHECKS),
                ),
                instead="What goes in does differ from sample to sample.",
            )


def _over_two(record: Record) -> Iterator[Draft]:
    """Of two values, minus their mean and over their deviation, one is 1 and the other -1: which is larger is all that is
    left of them."""
    if not record.norm_counts:
        raise CannotJudge("no normalisation with more than one sample was called")
    for layer in sorted(record.norm_counts, key=lambda name: place_of(record, name)):
        counts = [count for _, count in record.norm_counts[layer]]
        if len(counts) < _CHECKS or sum(count == _TWO for count in counts) < _MOST_STEPS * len(counts):
            continue
        kind = record.layers[layer].kind
        is_of_batch = "BatchNorm" in kind
        yield Draft(
            id="norm-wipes-input",
            where=layer,
            phase=Phase.FORWARD,
            first_step=record.norm_counts[layer][0][0],
            evidence=(
                seen("values that each mean is taken of", _TWO, _TWO + 1, text=f"by {layer} ({kind})"),
                seen("checks", len(counts), _CHECKS),
            ),
            why="Of two values it makes 1 and -1: only which of them is larger is left"
            + (", and what it says of a sample depends on the other one." if is_of_batch else "."),
            do=f"Use larger batches, or LayerNorm or GroupNorm for {layer}."
            if is_of_batch
            else f"Let {layer} normalise over more than two values.",
            instead="It is so in each step, not only in a last batch that is smaller.",
        )


RULES.append(Rule(ids=("norm-wipes-input",), judge=_judge))
RULES.append(Rule(ids=("norm-wipes-input",), judge=_over_two))
