"""Rules of the user's own: what they are given, what they may say, and that no training notices them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import gradscope
from gradscope import BadInput, Recipe, Session, load_recipe
from gradscope.engine.findings.own_rules import OwnRules
from gradscope.engine.recipe import own_rules
from gradscope.engine.recipe.loading import load_rules
from gradscope.protocol.findings import Severity, Source, Verdict
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import SubjectKey, SubjectKind

FILE = """
import torch
from torch import nn
import gradscope

@gradscope.finding(needs="parameter", title="The bias moves")
def bias_moves(parameters):
    if parameters["bias"].l2 > 0:
        return {"where": "bias", "evidence": {"norm": (parameters["bias"].l2, 0)}, "do": "Leave it out."}

def recipe():
    model = nn.Linear(2, 1)
    nn.init.zeros_(model.bias)
    data = torch.utils.data.TensorDataset(torch.randn(8, 2), torch.ones(8, 1))
    return gradscope.Recipe(model=model, dataset=data, loss=nn.MSELoss(), batch_size=4,
                            optimizer=torch.optim.SGD(model.parameters(), 0.1))
"""


@pytest.fixture(autouse=True)
def _nothing_stays_declared() -> Iterator[None]:
    before = dict(own_rules._DECLARED)
    yield
    own_rules._DECLARED.clear()
    own_rules._DECLARED.update(before)


def recipe() -> Recipe:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    data = torch.utils.data.TensorDataset(torch.randn(8, 2), torch.randn(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    return Recipe(model=model, dataset=data, loss=nn.MSELoss(), optimizer=optimizer, batch_size=4)


def after_a_step(rules: OwnRules, session: Session) -> list[Any]:
    session.next_batch()
    return rules.after_step(session)


def rules_of(*functions: Any, **options: Any) -> OwnRules:
    with own_rules.collected() as rules:
        for function in functions:
            gradscope.finding(**options)(function)
    return OwnRules(rules.values(), known=lambda: ())


@pytest.mark.parametrize("kind", [kind.value for kind in SubjectKind if kind is not SubjectKind.BUFFER])
def test_a_rule_is_given_the_statistics_that_the_report_has(kind: str) -> None:
    given: list[Any] = []
    rules = rules_of(given.append, id="mine", needs=kind)
    with Session(recipe()) as session:
        session.next_batch()
        session.next_batch()
        assert rules.after_step(session) == []
        reports = [*session.reports.values()]
    subjects = {s.key.label() if s.name else "": s for report in reports for s in report.subjects if s.kind == kind}
    if kind in ("clipped_grad", "optimizer_state"):
        # Nothing is clipped here, and plain SGD remembers nothing.
        assert given == [{}]
        return
    (values,) = given
    assert set(values) == set(subjects) and values
    for name, statistics in values.items():
        subject = subjects[name]
        assert (statistics.l2, statistics.mean, statistics.std) == (subject.l2, subject.mean, subject.std)
        assert statistics.zeros == subject.zero / subject.count
        assert (statistics.shape, statistics.dtype) == (subject.shape, subject.dtype)


def test_the_tensor_is_a_copy_and_can_be_changed() -> None:
    def spoils(parameters: dict[str, Any]) -> None:
        for statistics in parameters.values():
            statistics.tensor.zero_()

    rules = rules_of(spoils, needs="parameter")
    with Session(recipe()) as session:
        after_a_step(rules, session)
        assert all(float(p.detach().abs().sum()) > 0 for p in session.recipe.model.parameters())  # type: ignore[union-attr]
        assert rules.checks[0].verdict is Verdict.QUIET


def test_training_is_bit_for_bit_the_same_with_rules_that_draw_and_fail() -> None:
    def draws(gradients: dict[str, Any]) -> str:
        return f"{torch.rand(3)}"

    def fails(gradients: dict[str, Any]) -> None:
        raise SystemExit(1)

    ends = []
    for functions in ((), (draws, fails)):
        with Session(recipe()) as session:
            rules = rules_of(*functions)
            for _ in range(3):
                after_a_step(rules, session)
            ends.append([*[p.detach().clone() for p in session.recipe.model.parameters()], torch.rand(2)])  # type: ignore[union-attr]
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_a_rule_that_fails_is_left_out_and_told_once() -> None:
    calls: list[int] = []

    def fails(gradients: dict[str, Any]) -> None:
        calls.append(1)
        raise ValueError("no such layer")

    rules = rules_of(fails, lambda gradients: "always", id="")
    with Session(recipe()) as session:
        found = [draft.id for _ in range(3) for draft in after_a_step(rules, session)]
    assert calls == [1] and len(found) == 3
    (note,) = rules.take_notes()
    assert "rule fails" in note and "no such layer" in note and "left out" in note
    assert rules.take_notes() == []
    verdicts = {check.id: check for check in rules.checks}
    assert verdicts["fails"].verdict is Verdict.NOT_JUDGED and "no such layer" in verdicts["fails"].reason


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (3, "an int"),
        (True, "a bool"),
        ({"wher": "fc"}, "'wher'"),
        ({"where": 3}, "'where' as an int"),
        ({"evidence": {"norm": "much"}}, "'norm'"),
        ({"evidence": {"norm": (1, 2, 3)}}, "'norm'"),
        ({"evidence": 3}, "an int"),
    ],
)
def test_an_answer_that_is_none_leaves_the_rule_out(answer: Any, reason: str) -> None:
    rules = rules_of(lambda gradients: answer, id="mine")
    with Session(recipe()) as session:
        assert after_a_step(rules, session) == []
    (note,) = rules.take_notes()
    assert reason in note


def test_what_a_rule_says_keeps_its_first_step() -> None:
    answer = {"where": "0.weight", "evidence": {"norm": (2.0, 1)}, "do": "Stop.", "why": "It grows."}
    rules = rules_of(lambda gradients: [answer, "and more"], id="mine", severity="error", title="Mine")
    with Session(recipe()) as session:
        after_a_step(rules, session)
        at, whole = after_a_step(rules, session)
    assert (at.where, at.first_step, at.step, at.phase) == ("0.weight", 0, 1, Phase.BACKWARD)
    assert (at.do, at.why, at.severity) == ("Stop.", "It grows.", Severity.ERROR)
    assert [(e.name, e.value, e.threshold) for e in at.evidence] == [("norm", 2.0, 1.0)]
    assert at.subject == SubjectKey(SubjectKind.GRAD, "0.weight")
    assert (whole.where, whole.evidence[0].text) == ("", "and more")
    assert [draft.where for draft in rules.drafts] == ["0.weight", ""]
    entry = rules.entries["mine"]
    assert (entry.title, entry.source) == ("Mine", Source.OWN) and "line" in entry.do


def test_an_id_of_the_catalogue_is_taken() -> None:
    rules = rules_of(lambda gradients: "x", id="dead-units")
    with Session(recipe()) as session:
        assert after_a_step(rules, session) == []
    assert "choose another" in rules.take_notes()[0] and rules.entries == {}


def test_rules_of_a_recipe_file_belong_to_its_recipe(tmp_path: Path) -> None:
    file = tmp_path / "with_rules.py"
    file.write_text(FILE, encoding="utf-8")
    before = own_rules.declared()
    loaded = load_recipe(file)
    assert own_rules.declared() == before
    assert [(rule.id, rule.needs) for rule in loaded.rules] == [("bias-moves", SubjectKind.PARAMETER)]
    rules = OwnRules(loaded.rules)
    with Session(loaded) as session:
        (draft,) = after_a_step(rules, session)
    assert (draft.id, draft.where, draft.do) == ("bias-moves", "bias", "Leave it out.")


def test_a_file_of_rules_and_one_without(tmp_path: Path) -> None:
    file = tmp_path / "rules.py"
    file.write_text(FILE, encoding="utf-8")
    state = torch.get_rng_state()
    assert [rule.id for rule in load_rules(file)] == ["bias-moves"]
    assert torch.equal(state, torch.get_rng_state())
    file.write_text("x = 1\n", encoding="utf-8")
    with pytest.raises(BadInput, match=r"declares no rule.*gradscope\.finding"):
        load_rules(file)
    with pytest.raises(BadInput, match="does not exist"):
        load_rules(tmp_path / "other.py")


def test_a_rule_declared_elsewhere_is_of_every_training_and_can_be_declared_again() -> None:
    @gradscope.finding(id="mine")
    def first(gradients: dict[str, Any]) -> str:
        return "first"

    @gradscope.finding(id="mine")
    def second(gradients: dict[str, Any]) -> str:
        return "second"

    rules = OwnRules()
    with Session(recipe()) as session:
        (draft,) = after_a_step(rules, session)
    assert draft.evidence[0].text == "second"
    assert first({}) == "first", "the function itself stays as it is"


@pytest.mark.parametrize("options", [{"needs": "gradient"}, {"severity": "bad"}, {"title": 3}])
def test_an_argument_that_is_wrong_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=f"finding\\({next(iter(options))}="):
        gradscope.finding(**options)


def test_a_session_asks_them_and_their_findings_stand_among_ours(tmp_path: Path) -> None:
    file = tmp_path / "with_rules.py"
    file.write_text(
        FILE + "\n@gradscope.finding(needs='grad')\ndef fails(gradients):\n    return 3\n", encoding="utf-8"
    )
    with Session(load_recipe(file), findings=True) as session:
        for _ in range(3):
            session.next_batch()
        found = session.findings()
        (own,) = [finding for finding in found.findings if finding.source is Source.OWN]
        assert (own.id, own.title, own.where, own.do) == ("bias-moves", "The bias moves", "bias", "Leave it out.")
        assert (own.first_step, own.step, own.severity) == (0, 2, Severity.WARNING)
        assert own in found.counted
        checks = {check.id: check.verdict for check in found.checks}
        assert checks["bias-moves"] is Verdict.FOUND and checks["fails"] is Verdict.NOT_JUDGED
        (told,) = session.observer.errors
        assert "rule fails" in told and "an int" in told


def test_without_findings_no_rule_is_asked() -> None:
    calls: list[Any] = []

    @gradscope.finding(id="mine")
    def mine(gradients: dict[str, Any]) -> None:
        calls.append(gradients)

    with Session(recipe()) as session:
        session.next_batch()
    assert calls == []
