"""Beginning to look for findings: a record by what a training is, a watch that listens, verdicts that judge."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from gradscope.engine.book.book import Book
from gradscope.engine.book.readable import Readable
from gradscope.engine.capture.observer import Observer
from gradscope.engine.findings.own_rules import OwnRules
from gradscope.engine.findings.record import Record
from gradscope.engine.findings.verdicts import Verdicts
from gradscope.engine.findings.watch.watch import Watch
from gradscope.engine.recipe.own_rules import OwnRule
from gradscope.engine.stepping.training import Training
from gradscope.protocol.findings import Findings


class Judged(Readable):
    """What a session has of findings, whoever drives it."""

    observer: Observer

    verdicts: Verdicts | None = None
    """Where somebody has asked for findings."""

    def findings(self) -> Findings:
        """What is wrong with this training, as far as it has been looked at: by the monitors, and by the newest check-up.

        Nothing where the session was opened without findings.
        """
        return self.verdicts.now() if self.verdicts is not None else Findings()

    def ask_own_rules(self) -> None:
        """A step is done: the rules of the user's own look at it. One that fails is told with what else has failed."""
        own = None if self.verdicts is None else self.verdicts.own
        if own is not None:
            own.after_step(self)
            self.observer.errors += own.take_notes()


def watched(book: Book, training: Training, rules: Iterable[OwnRule] = ()) -> Verdicts:
    """Of a recipe, before its first step. `rules`: those of the user's own that belong to it."""
    is_plain = (
        len(training.turns) == 1 and training.turns[0].training_step is None and isinstance(training.model, nn.Module)
    )
    record = Record(
        is_plain=is_plain,
        accumulate=training.accumulate,
        zero_grad_is_automatic=training.zero_grad == "auto",
        has_scaler=training.scaler is not None,
        optimizers={turn.name: turn.optimizer for turn in training.turns},
        loss_function=training.loss,
    )
    return _begin(book, record, rules)


def watched_script(book: Book) -> Verdicts:
    """Of a script, which owns its loop: exact and structural findings only."""
    return _begin(book, Record(is_plain=False, is_script=True, zero_grad_is_automatic=False))


def _begin(book: Book, record: Record, rules: Iterable[OwnRule] = ()) -> Verdicts:
    watch = Watch(book, record)
    # A parameter of a strange kind, or no memory for a copy: the training opens all the same.
    book.observer.guarded(watch.begin)
    book.observer.listener = watch
    verdicts = Verdicts(watch)
    verdicts.own = OwnRules(rules)
    return verdicts
