"""Runs the rules of the user's own after every step. None of them can change or end a training.

What they say goes into the same record as ours; see `gradscope.finding` for how they are written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from gradscope.engine.findings.catalogue import CATALOGUE, Entry
from gradscope.engine.findings.draft import Draft
from gradscope.engine.recipe.own_rules import OwnRule, declared
from gradscope.engine.reports.report import PhaseReport, Subject
from gradscope.engine.surroundings.error_parts import shortened
from gradscope.engine.surroundings.randomness import RandomStates
from gradscope.engine.surroundings.unwinding import is_interruption
from gradscope.engine.surroundings.usercode import describe_error
from gradscope.engine.wording import with_article
from gradscope.protocol.findings import Certainty, Check, Evidence, Source, Verdict
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import SubjectKey, SubjectKind

_PHASES = {
    SubjectKind.ACTIVATION: Phase.FORWARD,
    SubjectKind.ACTIVATION_GRAD: Phase.BACKWARD,
    SubjectKind.GRAD: Phase.BACKWARD,
}
"""In whose report it is; all else is in that of the step."""
_MOST_PLACES = 100
"""Of one rule: a place may have the step in its name."""
_ANSWERS = ("where", "evidence", "do", "why")


class Observed(Protocol):
    """What the rules need of a session, of a recipe or of a script."""

    @property
    def reports(self) -> dict[Phase, PhaseReport]: ...

    def values(self, key: SubjectKey) -> Tensor: ...


@dataclass(frozen=True)
class Statistics:
    """What a rule is given of one tensor. The numbers are of its finite part; None where undefined, or not captured."""

    _subject: Subject
    _values: Callable[[SubjectKey], Tensor] = field(repr=False)

    @property
    def l2(self) -> float | None:
        return self._subject.l2

    @property
    def mean(self) -> float | None:
        return self._subject.mean

    @property
    def std(self) -> float | None:
        """Of the population."""
        return self._subject.std

    @property
    def min(self) -> float | None:
        return self._subject.min

    @property
    def max(self) -> float | None:
        return self._subject.max

    @property
    def zeros(self) -> float | None:
        """The share of elements that are exactly 0."""
        zero, count = self._subject.zero, self._subject.count
        return None if zero is None or not count else zero / count

    @property
    def nan(self) -> int:
        """How many elements are NaN."""
        return self._subject.nan

    @property
    def inf(self) -> int:
        return self._subject.inf

    @property
    def count(self) -> int:
        """How many elements there are."""
        return self._subject.count

    @property
    def shape(self) -> tuple[int, ...]:
        return self._subject.shape

    @property
    def dtype(self) -> str:
        return self._subject.dtype

    @property
    def tensor(self) -> Tensor:
        """A copy of the tensor itself. Raises ValuesUnavailable where it was not kept."""
        return self._values(self._subject.key).detach().clone()


class OwnRules:
    """The rules of one training, and what each has come to."""

    def __init__(self, rules: Iterable[OwnRule] = (), *, known: Callable[[], Iterable[OwnRule]] = declared) -> None:
        """`rules`: those of a recipe. `known`: those of every training; a script may declare them at any time."""
        self._own, self._known = tuple(rules), known
        self._failed: dict[str, str] = {}
        """By the id of a rule that has failed: why it is left out."""
        self._asked: set[str] = set()
        self._found: dict[tuple[str, str], Draft] = {}
        self._notes: list[str] = []

    @property
    def rules(self) -> tuple[OwnRule, ...]:
        """Those that there are now; the recipe's own come before the others."""
        return tuple({rule.id: rule for rule in (*self._known(), *self._own)}.values())

    @property
    def needs(self) -> frozenset[SubjectKind]:
        """What has to be captured for them."""
        return frozenset(rule.needs for rule in self.rules if rule.id not in self._failed)

    @property
    def drafts(self) -> list[Draft]:
        """Everything that was found so far, each once for its rule and place."""
        return list(self._found.values())

    @property
    def checks(self) -> list[Check]:
        """What has become of each rule."""
        found = {draft.id for draft in self._found.values()}
        return [self._check(rule, found) for rule in self.rules]

    @property
    def entries(self) -> dict[str, Entry]:
        """What the catalogue says of ours, by id."""
        return {
            rule.id: Entry(
                id=rule.id,
                title=rule.title,
                severity=rule.severity,
                certainty=Certainty.EXACT,
                source=Source.OWN,
                why=rule.why or "A rule of your own says so.",
                do=rule.do or f"See {rule.place}.",
            )
            for rule in self.rules
            if rule.id not in CATALOGUE
        }

    def take_notes(self) -> list[str]:
        """Sentences for the user, each told once."""
        notes, self._notes = self._notes, []
        return notes

    def after_step(self, session: Observed) -> list[Draft]:
        """Ask every rule about the step that has just been made; what they have found in it.

        Random generators are as before when it returns. Raises nothing but what a person has interrupted it with.
        """
        rules = [rule for rule in self.rules if rule.id not in self._failed]
        if not rules or Phase.STEP not in session.reports:
            return []
        step = session.reports[Phase.STEP].step
        states = RandomStates.capture()
        found: list[Draft] = []
        try:
            for rule in rules:
                found += self._ask(rule, session, step)
        finally:
            states.restore()
        return found

    def _ask(self, rule: OwnRule, session: Observed, step: int) -> list[Draft]:
        if rule.id in CATALOGUE:
            self._leave_out(rule, "gradscope has a finding of that id; choose another one")
            return []
        values = _values_of(session, rule.needs)
        self._asked.add(rule.id)
        try:
            with torch.no_grad():
                answer = rule.function({name: statistics for name, (_, statistics) in values.items()})
            drafts = _drafts(rule, answer, step, {name: key for name, (key, _) in values.items()})
        except BaseException as error:
            # BaseException: a rule that calls sys.exit() is only one that fails.
            if is_interruption(error):
                raise
            said = str(error) if isinstance(error, _BadAnswer) else describe_error(error)
            self._leave_out(rule, f"it failed in step {step}: {said}")
            return []
        return [self._remembered(draft) for draft in drafts]

    def _remembered(self, draft: Draft) -> Draft:
        older = self._found.get((draft.id, draft.where))
        if older is not None:
            draft = replace(draft, first_step=older.first_step)
        if older is None and sum(id == draft.id for id, _ in self._found) >= _MOST_PLACES:
            return draft
        self._found[draft.id, draft.where] = draft
        return draft

    def _leave_out(self, rule: OwnRule, reason: str) -> None:
        self._failed[rule.id] = reason
        self._notes.append(f"The rule {rule.id} ({rule.place}) is left out from now on: {reason}")

    def _check(self, rule: OwnRule, found: set[str]) -> Check:
        if rule.id in found:
            return Check(id=rule.id, verdict=Verdict.FOUND)
        if rule.id in self._failed:
            return Check(id=rule.id, verdict=Verdict.NOT_JUDGED, reason=self._failed[rule.id])
        if rule.id not in self._asked:
            return Check(id=rule.id, verdict=Verdict.NOT_JUDGED, reason="no step has been made")
        return Check(id=rule.id, verdict=Verdict.QUIET)


class _BadAnswer(Exception):
    """A rule has returned what is no answer. The text is the reason."""


def _values_of(session: Observed, kind: SubjectKind) -> dict[str, tuple[SubjectKey, Statistics]]:
    """By the name that a person knows it by: "fc1", "fc1 #1" for its second call."""
    report = session.reports.get(_PHASES.get(kind, Phase.STEP))
    subjects = [] if report is None else [subject for subject in report.subjects if subject.kind == kind.value]
    return {
        subject.key.label() if subject.name else "": (subject.key, Statistics(subject, session.values))
        for subject in subjects
    }


def _drafts(rule: OwnRule, answer: object, step: int, keys: Mapping[str, SubjectKey]) -> list[Draft]:
    """Raises _BadAnswer."""
    if answer is None:
        return []
    if isinstance(answer, (list, tuple)):
        return [draft for part in answer for draft in _drafts(rule, part, step, keys)]
    if isinstance(answer, str):
        answer = {"evidence": answer}
    if not isinstance(answer, Mapping):
        raise _BadAnswer(f"it returned {with_article(type(answer).__name__)}; expected None, a text, a dict, or a list")
    unknown = [name for name in answer if name not in _ANSWERS]
    if unknown:
        expected = ", ".join(map(repr, _ANSWERS))
        raise _BadAnswer(f"it returned a dict with {shortened(repr(unknown[0]), 60)}; expected {expected}")
    texts = {name: answer.get(name, "") for name in ("where", "do", "why")}
    for name, text in texts.items():
        if not isinstance(text, str):
            raise _BadAnswer(f"it returned {name!r} as {with_article(type(text).__name__)}; expected a text")
    where = texts["where"]
    return [
        Draft(
            id=rule.id,
            where=where,
            evidence=_evidence(answer.get("evidence", "")),
            do=texts["do"] or rule.do,
            why=texts["why"] or rule.why,
            severity=rule.severity,
            phase=_PHASES.get(rule.needs, Phase.STEP),
            first_step=step,
            step=step,
            subject=keys.get(where),
        )
    ]


def _evidence(given: object) -> tuple[Evidence, ...]:
    if isinstance(given, str):
        return (Evidence(name="own rule", value=None, text=given),) if given else ()
    if not isinstance(given, Mapping):
        raise _BadAnswer(f"its evidence is {with_article(type(given).__name__)}; expected a text, or a dict of numbers")
    return tuple(_number_of(str(name), value) for name, value in given.items())


def _number_of(name: str, value: object) -> Evidence:
    parts: Sequence[object] = value if isinstance(value, tuple) else (value,)
    try:
        numbers = [float(part) for part in parts]  # type: ignore[arg-type]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) not in (1, 2):
        raise _BadAnswer(f"its evidence {name!r:.60} is {shortened(repr(value), 60)}; expected a number, or two")
    return Evidence(name=name, value=numbers[0], threshold=numbers[1] if len(numbers) == 2 else None)
