"""What becomes of what rules say: the words of the catalogue, roots before what follows, rules that fail."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from gradscope.engine.findings import verdicts as module
from gradscope.engine.findings.catalogue import CATALOGUE
from gradscope.engine.findings.draft import CannotJudge, Draft, Rule
from gradscope.engine.findings.record import Record
from gradscope.engine.findings.roots import EXACT_CAUSES, FOLLOWS, settled
from gradscope.engine.findings.verdicts import Verdicts
from gradscope.engine.session import Session
from gradscope.protocol.findings import Certainty, Evidence, Finding, Severity, Source, Verdict
from tests.engine.findings.test_watch import classifier


def finding(id: str, *, severity: Severity = Severity.WARNING, share: float | None = None) -> Finding:
    evidence = () if share is None else (Evidence(name="share", value=share, unit="%"),)
    return Finding(
        id=id,
        severity=severity,
        where="",
        title=id,
        why="",
        do="",
        certainty=Certainty.WINDOW,
        source=Source.MONITOR,
        evidence=evidence,
    )


def test_ids_of_the_roots_are_in_the_catalogue() -> None:
    named = {*FOLLOWS, *(id for ids in FOLLOWS.values() for id in ids), *EXACT_CAUSES}
    assert named <= set(CATALOGUE)
    assert not any(id in FOLLOWS[id] for id in FOLLOWS)


def test_what_follows_from_a_cause_becomes_an_info_below_it() -> None:
    first, second = settled([finding("initial-loss-too-high"), finding("double-softmax", severity=Severity.ERROR)])
    assert first.id == "double-softmax" and first.root is None
    assert (second.severity, second.root) == (Severity.INFO, "double-softmax")


def test_alone_it_stays_a_warning() -> None:
    (only,) = settled([finding("initial-loss-too-high")])
    assert only.severity is Severity.WARNING and only.root is None


@pytest.mark.parametrize(("share", "severity"), [(89.0, Severity.INFO), (90.0, Severity.WARNING)])
def test_a_layer_that_is_nearly_all_dead_is_said_beside_its_cause(share: float, severity: Severity) -> None:
    found = {f.id: f for f in settled([finding("lr-too-high"), finding("dead-units", share=share)])}
    assert found["dead-units"].severity is severity


def use(monkeypatch: pytest.MonkeyPatch, *rules: Rule) -> None:
    monkeypatch.setattr(module, "RULES", list(rules))
    monkeypatch.setattr(module, "EXPERIMENTS", [])


def verdicts_after(steps: int) -> Verdicts:
    session = Session(classifier(), findings=True)
    for _ in range(steps):
        session.next_batch()
    session.close()
    assert session.verdicts is not None
    return session.verdicts


def test_rules_have_their_say_and_the_catalogue_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def finds(record: Record) -> Iterable[Draft]:
        yield Draft(id="dead-units", where="2", do="Do this.", step=record.newest_step)

    def is_quiet(_record: Record) -> Iterable[Draft]:
        return ()

    def cannot(_record: Record) -> Iterable[Draft]:
        raise CannotJudge("there are too few steps")

    def fails(_record: Record) -> Iterable[Draft]:
        raise ZeroDivisionError("ours")

    use(
        monkeypatch,
        Rule(ids=("dead-units",), judge=finds),
        Rule(ids=("saturated",), judge=is_quiet),
        Rule(ids=("tie-broken",), judge=cannot),
        Rule(ids=("double-softmax",), judge=fails),
    )
    told = verdicts_after(3).now()
    (found,) = told.findings
    assert (found.title, found.do, found.step) == (CATALOGUE["dead-units"].title, "Do this.", 2)
    checks = {check.id: check for check in told.checks}
    assert checks["dead-units"].verdict is Verdict.FOUND and checks["saturated"].verdict is Verdict.QUIET
    assert checks["tie-broken"].reason == "there are too few steps"
    assert (
        checks["double-softmax"].verdict is Verdict.NOT_JUDGED
        and "ZeroDivisionError" in checks["double-softmax"].reason
    )


def test_the_first_time_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    def finds(_record: Record) -> Iterable[Draft]:
        yield Draft(id="dead-units", where="2")

    use(monkeypatch, Rule(ids=("dead-units",), judge=finds))
    with Session(classifier(), findings=True) as session:
        session.next_batch()
        session.next_batch()
        assert session.findings().findings[0].first_step == 1
        session.next_batch()
        (later,) = session.findings().findings
        assert (later.first_step, later.step) == (1, 2)


def test_it_is_judged_early_and_then_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Rule(ids=("dead-units",), judge=lambda _record: ()))
    judged = []
    with Session(classifier(), findings=True) as session:
        assert session.verdicts is not None
        for _ in range(65):
            session.next_batch()
            # How long it takes is not what is tested here.
            session.verdicts._took_secs = 0.0
            if session.verdicts.is_due():
                judged.append(len(session.history))
                session.findings()
    assert judged == [2, 6, 11, 21, 41, 61]
