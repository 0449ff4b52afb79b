"""Sentences of the log that are made in the app."""

from __future__ import annotations

import re

from gradscope.protocol.messages import VALIDATION_LOSS, Validated
from gradscope.protocol.numbers import number


def with_step(sentence: str, step: int) -> str:
    """The sentence, and the step before it where it does not say that itself."""
    return sentence if re.search(rf"\bstep {step}\b", sentence, re.IGNORECASE) else f"Step {step}: {sentence}"


def in_words(validated: Validated) -> str:
    """What a validation has come to."""
    known = {VALIDATION_LOSS: validated.loss, **validated.metrics}
    numbers = ", ".join(f"{name} {number(value, digits=5)}" for name, value in known.items() if value is not None)
    when = "before the first step" if validated.step < 0 else f"after step {validated.step}"
    best = ", the best so far" if validated.is_best else ""
    return f"Validation {when}: {numbers}{best} ({validated.samples} samples)"
