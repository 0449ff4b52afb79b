"""The findings of one training: what the rules say of its record, and what the newest check-up has found."""

from __future__ import annotations

import importlib
import pkgutil
import time
from collections.abc import Callable, Iterable

from gradscope.engine.findings import experiments, rules
from gradscope.engine.findings.catalogue import CATALOGUE, Entry
from gradscope.engine.findings.draft import EXPERIMENTS, RULES, CannotJudge, Draft, Experiment, Rule
from gradscope.engine.findings.own_rules import OwnRules
from gradscope.engine.findings.roots import settled
from gradscope.engine.findings.watch.watch import Watch
from gradscope.engine.surroundings.error_parts import class_name, message_of
from gradscope.protocol.findings import MAX_FOUND, Check, Finding, Findings, Verdict

_ONLY_CHECK_UP = "Only a check-up can tell"
_MOST_NEAR = 50


def load() -> None:
    """Import every rule and every experiment, these in the order in which they are run."""
    names = {
        package: [module.name for module in pkgutil.iter_modules(package.__path__)] for package in (rules, experiments)
    }
    middle = [name for name in names[experiments] if name not in (*experiments.FIRST, *experiments.LAST)]
    names[experiments] = [*experiments.FIRST, *middle, *experiments.LAST]
    for package, modules in names.items():
        for name in modules:
            importlib.import_module(f"{package.__name__}.{name}")


class Verdicts:
    """Judges when it is asked, or when enough has happened since the last time."""

    def __init__(self, watch: Watch) -> None:
        load()
        self.watch = watch
        self.found_by_experiments: dict[str, list[Draft]] = {}
        """Experiment's title -> what it found in the newest check-up."""
        self.not_judged_by: dict[str, str] = {}
        """Experiment's title -> why it could not judge."""
        self.own: OwnRules | None = None
        """The rules of the user's own, where there may be any."""
        self.forward = self.backward = 0
        self.seconds = 0.0
        self._newest: Findings | None = None
        self._judged_at = -1
        self._took_secs = 0.0
        self._judged_clock = time.perf_counter()
        self._seen_first: dict[tuple[str, str], int] = {}
        self._of_gone: list[Finding] = []
        """What was found in models that the script has let go since."""

    # ------------------------------------------------------------------------------------------ asked

    def now(self) -> Findings:
        """Everything that is known now."""
        if self._newest is None or self._judged_at != self.watch.record.count:
            self._judge()
        assert self._newest is not None
        return self._newest

    def forget_newest(self) -> None:
        """A check-up has changed what is known."""
        self._newest = None

    def let_go(self) -> Callable[[], None]:
        """Hold nothing of a model that a script may have let go, until what is returned is called. What there is to find is
        found before."""
        self.now()
        take_back = self.watch.let_go()

        def after() -> None:
            lost = take_back()
            found = () if self._newest is None else self._newest.findings
            self._of_gone += [finding for finding in found if finding.where in lost]

        return after

    def is_due(self) -> bool:
        """Whether it is time to judge again: after 2, 6, 11, 21 steps, then every 20, less often where that takes long."""
        steps = self.watch.record.count
        if steps == self._judged_at:
            return False
        if self.watch.record.first_nonfinite is not None and (self._newest is None or not self._newest.counted):
            return True
        if steps not in (2, 6, 11, 21) and steps - max(self._judged_at, 0) < 20:
            return False
        # A hundredth of the time at most.
        return time.perf_counter() - self._judged_clock > 100 * self._took_secs

    # ------------------------------------------------------------------------------------------ judging

    def _judge(self) -> None:
        started = time.perf_counter()
        record = self.watch.record
        self.watch.settle_baseline()
        drafts: list[Draft] = []
        reasons: dict[str, str] = {}
        asked: set[str] = set()
        for rule in RULES:
            asked |= set(rule.ids)
            try:
                drafts += rule.judge(record)
            except CannotJudge as error:
                reasons.update(dict.fromkeys(rule.ids, str(error)))
            except Exception as error:
                # A bug of ours, or a class of the user's that raises: the training goes on.
                reasons.update(dict.fromkeys(rule.ids, _failed(rule, error)))
        for experiment in EXPERIMENTS:
            if experiment.title in self.found_by_experiments:
                asked |= set(experiment.ids)
                drafts += self.found_by_experiments[experiment.title]
            else:
                reason = self.not_judged_by.get(experiment.title, _ONLY_CHECK_UP)
                for id in experiment.ids:
                    reasons.setdefault(id, reason)
        now, own = self._findings(drafts), self._own_findings()
        # Of a model that has the name of one that is gone, only what it is like itself is said.
        here = {*record.layers, *record.parameters}
        self._of_gone = [finding for finding in self._of_gone if finding.where not in here]
        findings = settled([*now, *own, *self._of_gone])
        self._newest = Findings(
            findings=tuple(findings[:MAX_FOUND]),
            checks=(*_checks(findings, reasons, asked), *(self.own.checks if self.own is not None else ())),
            steps=record.count,
            forward=self.forward,
            backward=self.backward,
            seconds=self.seconds,
        )
        self._judged_at, self._judged_clock = record.count, time.perf_counter()
        self._took_secs = self._judged_clock - started

    def _findings(self, drafts: Iterable[Draft]) -> list[Finding]:
        found: dict[tuple[str, str], Finding] = {}
        for draft in drafts:
            key = draft.id, draft.where
            if key not in found:
                found[key] = self._finding(CATALOGUE[draft.id], draft)
        order = list(CATALOGUE)
        return sorted(found.values(), key=lambda finding: order.index(finding.id))

    def _own_findings(self) -> list[Finding]:
        if self.own is None:
            return []
        entries, drafts = self.own.entries, self.own.drafts
        for draft in drafts:
            # They know it, also where it is the very first one.
            self._seen_first.setdefault((draft.id, draft.where), draft.first_step)
        return [self._finding(entries[draft.id], draft) for draft in drafts if draft.id in entries]

    def _finding(self, entry: Entry, draft: Draft) -> Finding:
        newest = self.watch.record.newest_step
        step = newest if draft.step is None else draft.step
        first = self._seen_first.setdefault((draft.id, draft.where), min(draft.first_step or step, step))
        return Finding(
            id=entry.id,
            severity=draft.severity or entry.severity,
            where=draft.where,
            title=entry.title,
            why=draft.why or entry.why,
            do=draft.do or entry.do,
            certainty=entry.certainty,
            source=entry.source,
            evidence=draft.evidence,
            instead=draft.instead,
            near=tuple(draft.near[:_MOST_NEAR]),
            phase=draft.phase,
            step=max(step, first),
            first_step=first,
            subject=draft.subject,
            curves=draft.curves,
        )


def _checks(findings: list[Finding], reasons: dict[str, str], asked: set[str]) -> Iterable[Check]:
    found = {finding.id for finding in findings}
    for id in CATALOGUE:
        if id in found:
            yield Check(id=id, verdict=Verdict.FOUND)
        elif id in reasons:
            yield Check(id=id, verdict=Verdict.NOT_JUDGED, reason=reasons[id])
        elif id in asked:
            yield Check(id=id, verdict=Verdict.QUIET)


def _failed(rule: Rule | Experiment, error: Exception) -> str:
    return f"Looking for it failed: {class_name(type(error))}: {message_of(error)}"
