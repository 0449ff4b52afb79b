"""The lessons go wrong as their docstrings say, where they say it, and what they propose puts it right."""

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from gradscope.engine.reports.report import PhaseReport
from gradscope.protocol.nonfinite import Stage
from gradscope.protocol.phases import Phase
from tests.samples.samples import SAMPLES, edited_session, import_sample, mean, parameters, run, session, train

LESSONS = [
    "dead_relu",
    "exploding_gradients",
    "forgotten_zero_grad",
    "frozen_by_mistake",
    "learning_rate_too_high",
    "vanishing_gradients",
]

HEALTHY_UPDATE_RATIO = 0.1
"""The upper end of the band in the app."""


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_ends_with_what_puts_it_right(name: str) -> None:
    *_, hints, remedy = (import_sample(SAMPLES / f"{name}.py").__doc__ or "").strip().split("\n\n")
    assert hints.startswith("What to watch:")
    assert remedy.startswith("Then ")


def norms(report: PhaseReport, kind: str) -> dict[str, float]:
    """name -> L2 norm, of everything of a kind."""
    return {s.name: s.l2 for s in report.subjects if s.kind == kind}


def zero_share(report: PhaseReport, kind: str, name: str) -> float:
    subject = report.get(kind, name)
    assert subject is not None
    return subject.zero / subject.count


# --------------------------------------------------------------------------------------- exploding gradients


def test_exploding_gradients_double_from_layer_to_layer_and_end_in_nan(tmp_path: Path) -> None:
    with session("exploding_gradients", tmp_path) as observed:
        forward, backward, _ = observed.next_batch()
        spread = {s.name: s.std for s in forward.subjects if s.kind == "activation"}
        gradient = norms(backward, "activation_grad")
        forth = [spread[f"layers.{i + 1}"] / spread[f"layers.{i}"] for i in range(7)]
        back = [gradient[f"layers.{i}"] / gradient[f"layers.{i + 1}"] for i in range(7)]
        assert all(1.4 < factor < 2.8 for factor in forth + back)
        assert math.prod(back) > 70
        assert forward.loss > 50
        while math.isfinite(observed.forward().loss):
            notes = observed.backward().notes
            step = observed.step()
            weights = [s for s in step.subjects if s.kind == "update" and s.name.endswith("weight")]
            ratios = [s.l2 / step.get("parameter", s.name).l2 for s in weights]
            assert sum(ratio > HEALTHY_UPDATE_RATIO for ratio in ratios) > len(ratios) / 2
            assert not notes and observed.first_nonfinite is None
        assert observed.position.step in (3, 4)
        assert observed.first_nonfinite is not None and observed.first_nonfinite.stage is Stage.FORWARD
        sizes = [record.grad_l2 for record in observed.history]
    assert 100 < sizes[0] < 2000
    assert all(other > 5 * one for one, other in pairwise(sizes))
    assert sizes[-1] > 1e9


def test_exploding_gradients_with_the_right_gain(tmp_path: Path) -> None:
    with session("exploding_gradients", tmp_path, GAIN="1.0") as observed:
        gradient = norms(observed.next_batch()[1], "activation_grad")
        assert 0.5 < gradient["layers.0"] / gradient["layers.7"] < 2
    # The plain loop is quicker, and goes on where the session has stopped.
    assert mean(train(observed.recipe, epoch_count=3)[2]) < 1


def test_exploding_gradients_clipped(tmp_path: Path) -> None:
    with session("exploding_gradients", tmp_path, CLIP_NORM="1.0") as observed:
        losses = run(observed, epochs=1)
        assert all(record.update_l2 <= 0.02 * 1.0001 for record in observed.history)
        assert all(record.clip.norm > 1 for record in observed.history)
        assert all(math.isfinite(record.loss) for record in observed.history)
        assert mean([record.loss for record in observed.history[-10:]]) < 10
        assert losses[0] < observed.history[0].loss


# ------------------------------------------------------------------------------------------------- dead ReLU


def test_dead_relu_gives_zeros_and_lets_nothing_through(tmp_path: Path) -> None:
    with session("dead_relu", tmp_path) as observed:
        for _ in range(3):
            forward, backward, step = observed.next_batch()
            assert zero_share(forward, "activation", "relu2") == 1
            assert 0.3 < zero_share(forward, "activation", "relu1") < 0.7
            output = forward.get("activation", "output")
            assert output.min == output.max
            for kind, report in (("grad", backward), ("update", step)):
                assert {name for name, l2 in norms(report, kind).items() if l2} == {"output.bias"}
        assert run(observed, epochs=2)[1] == pytest.approx(0.32, abs=0.02)
        assert zero_share(observed.reports[Phase.FORWARD], "activation", "relu2") == 1


def test_what_the_share_of_eights_alone_explains() -> None:
    share = import_sample(SAMPLES / "dead_relu.py").eights().tensors[1].mean().item()
    assert -share * math.log(share) - (1 - share) * math.log(1 - share) == pytest.approx(0.32, abs=0.005)


def test_dead_relu_with_the_bias_where_it_belongs(tmp_path: Path) -> None:
    with edited_session("dead_relu", tmp_path, {"model.hidden2.bias": "model.output.bias"}) as observed:
        observed.next_batch()
        assert zero_share(observed.reports[Phase.FORWARD], "activation", "relu2") < 0.9
        assert all(norms(observed.reports[Phase.BACKWARD], "grad").values())
        assert run(observed, epochs=2)[1] < 0.2


# ------------------------------------------------------------------------------------ learning rate too high


def test_learning_rate_too_high_overshoots_by_the_predicted_factor(tmp_path: Path) -> None:
    with session("learning_rate_too_high", tmp_path) as observed:
        means, updates = [], []
        for _ in range(12):
            observed.next_batch()
            means.append(observed.reports[Phase.BACKWARD].get("grad", "weight").mean)
            updates.append(norms(observed.reports[Phase.STEP], "update")["weight"])
        x, _ = observed.recipe.dataset.tensors
        assert 2 * x.square().mean().item() == pytest.approx(8, rel=1e-5)
        losses = [record.loss for record in observed.history]
        assert [other / one for one, other in pairwise(losses)][4:] == pytest.approx([1.96] * 7, rel=2e-3)
        assert all(one * other < 0 for one, other in pairwise(means))
        assert [other / one for one, other in pairwise(updates)] == pytest.approx([1.4] * 11, rel=1e-3)
        while observed.position.step < 130:
            observed.next_batch()
        first = next(record.step for record in observed.history if math.isinf(record.loss))
        assert 115 < first < 128


@pytest.mark.parametrize(
    ("rate", "keeps_its_sign", "falls"), [("0.1", True, True), ("0.24", False, True), ("0.26", False, False)]
)
def test_learning_rate_on_both_sides_of_the_limit(rate: str, keeps_its_sign: bool, falls: bool, tmp_path: Path) -> None:
    with session("learning_rate_too_high", tmp_path, LEARNING_RATE=rate) as observed:
        means = []
        for _ in range(15):
            observed.next_batch()
            means.append(observed.reports[Phase.BACKWARD].get("grad", "weight").mean)
        losses = [record.loss for record in observed.history]
    assert all((one * other > 0) == keeps_its_sign for one, other in pairwise(means[:7]))
    # At first the bias comes nearer at any rate, and its part of the loss falls.
    assert all((other < one) == falls for one, other in pairwise(losses[4:]))
    if keeps_its_sign:
        assert losses == sorted(losses, reverse=True)
        assert losses[-1] < 0.03


# --------------------------------------------------------------------------------------- forgotten zero_grad


def test_forgotten_zero_grad_adds_up_and_overshoots(tmp_path: Path) -> None:
    with session("forgotten_zero_grad", tmp_path) as observed:
        assert not observed.next_batch()[1].notes
        assert "adds to gradients of an earlier step" in observed.next_batch()[1].notes[0]
        run(observed, epochs=2)
        history = observed.history
    sizes = [record.grad_l2 for record in history]
    assert all(other > one for one, other in pairwise(sizes[:6]))
    assert sizes[6] > 3 * sizes[0]
    assert sizes[40] > 9 * sizes[0]
    assert all(record.update_l2 == pytest.approx(0.05 * record.grad_l2, rel=1e-4) for record in history)
    losses = [record.loss for record in history]
    assert min(losses) < 0.3
    assert mean(losses[-20:]) > 1


def test_zero_grad_as_it_should_be(tmp_path: Path) -> None:
    with session("forgotten_zero_grad", tmp_path / "auto", ZERO_GRAD='"auto"') as observed:
        run(observed, epochs=2)
        history = observed.history
        auto = {name: p.detach().clone() for name, p in parameters(observed.recipe).items()}
    assert max(record.grad_l2 for record in history) < 4 * history[0].grad_l2
    assert mean([record.loss for record in history[-20:]]) < 1
    with session("forgotten_zero_grad", tmp_path / "by hand") as observed:
        while observed.position.epoch < 2:
            observed.zero_grad()
            assert not any(report.notes for report in observed.next_batch())
        assert all(torch.equal(p, auto[name]) for name, p in parameters(observed.recipe).items())


def test_forgetting_it_is_faster_at_first(tmp_path: Path) -> None:
    early = {}
    for mode in ("manual", "auto"):
        with session("forgotten_zero_grad", tmp_path / mode, ZERO_GRAD=f'"{mode}"') as observed:
            for _ in range(25):
                observed.next_batch()
            early[mode] = mean([record.loss for record in observed.history[-8:]])
    assert early["manual"] < 0.7 * early["auto"]


# ----------------------------------------------------------------------------------------- frozen by mistake

HEAD = {"head.weight", "head.bias"}
MADE_TOO_EARLY = """    optimizer = torch.optim.SGD(model.head.parameters(), lr=0.1, momentum=0.9)
    model.head = nn.Linear(256, 10)
"""
MADE_IN_TIME = "\n".join(reversed(MADE_TOO_EARLY.splitlines())) + "\n"


def test_frozen_by_mistake_gets_gradients_and_never_moves(tmp_path: Path) -> None:
    with session("frozen_by_mistake", tmp_path) as observed:
        first, second = observed.info.warnings
        assert "does not hold head.weight, head.bias" in first
        assert "holds 2 tensors that are not in the model" in second
        known = {parameter.name: parameter for parameter in observed.info.parameters}
        assert {name for name, p in known.items() if not p.requires_grad} == {"body.1.weight", "body.1.bias"}
        assert {name for name, p in known.items() if p.requires_grad and p.group is None} == HEAD
        _, backward, step = observed.next_batch()
        assert set(norms(backward, "grad")) == HEAD
        assert all(norms(backward, "grad").values())
        assert not any(norms(step, "update").values())
        notes = observed.next_batch()[1].notes
        assert any(all(name in note for name in HEAD) and "no optimizer holds them" in note for note in notes)
        assert any("No gradient has reached any parameter that SGD holds" in note for note in notes)
        losses = run(observed, epochs=2)
        assert losses[0] == pytest.approx(math.log(10), abs=0.05)
        # The same 1,797 images; the mean of the batches' means, of which the last one is smaller.
        assert losses[1] == pytest.approx(losses[0], abs=0.005)


def test_frozen_by_mistake_with_the_optimizer_made_in_time(tmp_path: Path) -> None:
    with edited_session("frozen_by_mistake", tmp_path, {MADE_TOO_EARLY: MADE_IN_TIME}) as observed:
        updates = norms(observed.next_batch()[2], "update")
        assert {name for name, l2 in updates.items() if l2} == HEAD
        assert run(observed, epochs=2)[1] < 0.5
