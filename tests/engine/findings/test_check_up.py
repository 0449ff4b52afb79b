"""A whole check-up on models whose backward, inputs or parameters are of an unusual kind: training does not notice it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scripted import Recorder, follow
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import TensorDataset

from gradscope import Recipe, Session, load_recipe
from gradscope.engine.findings import check_up
from gradscope.engine.findings.bench import CheckUpCancelled
from gradscope.engine.findings.draft import EXPERIMENTS
from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.script.session import ScriptSession
from gradscope.engine.script.stations import Passage
from gradscope.protocol.findings import Findings, Progress
from gradscope.protocol.phases import Phase, Rest
from tests.engine.findings.test_watch import classifier, record_of, weights


class Recomputes(nn.Module):
    """Its block runs again in the backward, where it takes statistics and drops at random."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 6)
        self.block = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout(0.2), nn.ReLU())
        self.last = nn.Linear(6, 20)

    def forward(self, x: Tensor) -> Tensor:
        run = checkpoint(self.block, self.words(x).flatten(0, 1), use_reentrant=False, preserve_rng_state=False)
        assert isinstance(run, Tensor)
        return self.last(run.unflatten(0, x.shape)).transpose(1, 2)


def recomputing() -> Recipe:
    torch.manual_seed(0)
    model, tokens = Recomputes(), torch.randint(0, 20, (64, 8))
    return Recipe(
        model=model,
        dataset=TensorDataset(tokens, tokens.roll(-1, 1)),
        loss=nn.CrossEntropyLoss(),
        optimizer=torch.optim.Adam(model.parameters(), 1e-3),
        batch_size=8,
    )


@pytest.mark.parametrize("checks", [(0,), (4,), (2, 6)])
def test_a_backward_that_runs_the_model_again(checks: tuple[int, ...]) -> None:
    def trained(*, is_checked: bool) -> list[Tensor]:
        recipe = recomputing()
        with Session(recipe, findings=True) as session:
            for step in range(8):
                if is_checked and step in checks:
                    session.check_up()
                session.next_batch()
        return [*weights(recipe), torch.rand(3)]

    assert all(torch.equal(a, b) for a, b in zip(trained(is_checked=False), trained(is_checked=True), strict=True))


def test_one_that_is_cancelled_leaves_what_was_found_before() -> None:
    recipe = classifier(dropout=True)
    with Session(recipe, findings=True) as session:
        for _ in range(30):
            session.next_batch()
        before, state = [w.clone() for w in weights(recipe)], torch.get_rng_state()

        def stops(progress: Progress) -> bool:
            return progress.done < 9

        with pytest.raises(CheckUpCancelled):
            session.check_up(progress=stops)
        assert all(torch.equal(a, b) for a, b in zip(before, weights(recipe), strict=True))
        assert torch.equal(state, torch.get_rng_state())
        assert session.findings().forward >= 9


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_a_parameter_of_a_strange_kind_keeps_nothing_from_opening() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sparse = nn.Parameter(torch.eye(4).to_sparse_csr(), requires_grad=False)
            self.line = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.line(x)

    torch.manual_seed(0)
    model = Odd()
    data = TensorDataset(torch.randn(32, 4), torch.randint(0, 2, (32,)))
    optimizer = torch.optim.SGD(model.line.parameters(), 0.1)
    recipe = Recipe(model=model, dataset=data, loss=nn.CrossEntropyLoss(), optimizer=optimizer, batch_size=8)
    with Session(recipe, findings=True) as session:
        session.next_batch()
        assert "sparse" in record_of(session).parameters


def test_a_layer_that_was_replaced_is_not_judged_any_more() -> None:
    recipe = classifier()
    assert isinstance(recipe.model, nn.Sequential)
    with Session(recipe, findings=True) as session:
        session.next_batch()
        recipe.model[2] = nn.LeakyReLU()
        session.next_batch()
        layer = record_of(session).layers["2"]
        assert layer.module is recipe.model[2] and layer.kind == "LeakyReLU"


CARRIES = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 4)
    def forward(self, x, state):
        h = torch.tanh(self.a(x)) + state["h"]
        state["h"].copy_(h.detach())
        state["seen"].append(len(state["seen"]))
        return h
net, state = Net(), {"h": torch.zeros(8, 4), "seen": []}
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for i in range(5):
    optimizer.zero_grad()
    net(torch.randn(8, 4), state).pow(2).mean().backward()
    optimizer.step()
print("FINAL", state["seen"], [round(v, 6) for v in state["h"].sum(0).tolist()], torch.rand(1).item())
"""


class Checked(Recorder):
    """Makes a check-up after each step."""

    told: Findings | None = None

    def session_found(self, session: ScriptSession) -> None:
        super().session_found(session)
        session.keeper.keeps_all = True
        session.look_for_findings()

    def phase_ended(self, session: ScriptSession, report: PhaseReport, passage: Passage) -> None:
        super().phase_ended(session, report, passage)
        if report.phase is Phase.STEP:
            self.told = session.check_up()


def test_a_state_that_a_script_carries_on_is_put_back(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    follow(tmp_path, CARRIES)
    plain = capfd.readouterr().out
    recorder = Checked()
    follow(tmp_path, CARRIES, recorder=recorder)
    assert "FINAL" in plain and capfd.readouterr().out == plain
    assert recorder.told is not None and recorder.told.forward > 0


@pytest.mark.parametrize(
    ("sample", "is_run_again"), [("digits_mlp", False), ("learning_rate_too_high", True), ("vanishing_gradients", True)]
)
def test_runs_are_planned_only_where_something_is_suspicious(sample: str, is_run_again: bool) -> None:
    with Session(load_recipe(f"sample_models/{sample}.py"), findings=True) as session:
        for _ in range(40):
            session.next_batch()
        planned = sum(plan.forward for plan in session.planned_check_up())
        done: list[int] = []

        def count(progress: Progress) -> bool:
            done.append(progress.done)
            return True

        session.check_up(progress=count)
    assert (planned > 80) is is_run_again
    # Of a few forwards, some are not needed.
    assert done[-1] <= planned <= 3 * done[-1] + 10


def test_what_was_seen_in_another_time_is_not_found_before_it() -> None:
    with Session(load_recipe("sample_models/exploding_gradients.py"), findings=True, timeline_bytes=2**26) as session:
        for _ in range(5):
            session.next_batch()
        found = {finding.id for finding in session.findings().findings}
        assert "exploding-gradient" in found
        session.go_to(0)
        assert not session.findings().findings
        for _ in range(5):
            session.next_batch()
        assert {finding.id for finding in session.findings().findings} == found
        session.step_back()
        session.step_back()
        assert session.position.rest is Rest.FORWARD
        session.backward()
        session.step()


def test_classes_that_are_left_out_end_no_check_up() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(800, 8), torch.randint(0, 4, (800,))
    y[::7] = -100
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    recipe = Recipe(
        model=model,
        dataset=TensorDataset(x, y),
        loss=nn.CrossEntropyLoss(),
        optimizer=torch.optim.Adam(model.parameters(), 1e-3),
        batch_size=16,
    )
    with Session(recipe, findings=True) as session:
        for _ in range(30):
            session.next_batch()
        found = session.check_up()
    assert not [check.reason for check in found.checks if "failed" in check.reason]
    assert not found.counted


def test_a_plan_that_fails_ends_no_check_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(bench: object, record: object) -> tuple[int, int]:
        raise RuntimeError("no such class")

    broken = replace(EXPERIMENTS[0], passes=fails, is_of_dynamics=False)
    monkeypatch.setattr(check_up, "EXPERIMENTS", [broken, *EXPERIMENTS[1:]])
    with Session(classifier(dropout=True), findings=True) as session:
        session.next_batch()
        [planned] = [plan for plan in session.planned_check_up() if plan.title == broken.title]
        assert planned.refusal == "It failed: RuntimeError: no such class"
        assert session.check_up().checks
