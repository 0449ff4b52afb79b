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


RULES.append(Rule(ids=("norm-wipes-input",), judge=_judge))
