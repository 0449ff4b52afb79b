"""Where the first NaN or Inf was made: in each part of the step, by each way of training, at each capture level."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plain
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torch.utils.data import TensorDataset

from gradscope import Recipe, Session
from gradscope.engine.book.nonfinite_watch import NonFiniteWatch
from gradscope.engine.book.reruns import Reruns
from gradscope.engine.nonfinite import births
from gradscope.engine.quantities.summary import SummaryBatch
from gradscope.protocol.nonfinite import FirstNonFinite, Stage
from gradscope.protocol.subjects import SubjectKey, SubjectKind

X = torch.linspace(-1, 1, 16).reshape(8, 2)
INF = float("inf")


class Log(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.log()


def recipe_of(model: nn.Module, x: Tensor = X, **more: Any) -> Recipe:
    fields: dict[str, Any] = {
        "dataset": TensorDataset(x, X[: len(x), :1]),
        "loss": nn.MSELoss(),
        "optimizer": torch.optim.SGD(model.parameters(), 0.1),
        "batch_size": 8,
        "shuffle": False,
    }
    return Recipe(model=model, **(fields | more))


def first_of(
    make: Callable[[], Recipe], *, steps: int = 1, capture: str = "full"
) -> tuple[FirstNonFinite | None, list[str]]:
    """What is found in some steps, and what is noted beside it."""
    with Session(plain.seeded(make), capture=capture) as session:
        reports = [report for _ in range(steps) for report in session.next_batch()]
        told = [report.first_nonfinite for report in reports if report.first_nonfinite is not None]
        assert told == ([] if session.first_nonfinite is None else [session.first_nonfinite]), "told once"
        assert not session.observer.errors
        return session.first_nonfinite, [note for report in reports for note in report.notes]


def found(make: Callable[[], Recipe], **more: Any) -> FirstNonFinite:
    first, _ = first_of(make, **more)
    assert first is not None
    assert first.sentence.startswith(f"{first.title}: ")
    return first


def stack(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 4), *layers, nn.Linear(4, 1))


# --------------------------------------------------------------------------------------------------- forward


@pytest.mark.parametrize("capture", ["full", "norms", "layers:1"])
def test_a_layer_that_makes_it_is_named_and_none_that_passes_it_on(capture: str) -> None:
    first = found(lambda: recipe_of(stack(Log(), nn.Linear(4, 4), nn.Tanh())), capture=capture)
    assert first.stage is Stage.FORWARD and first.place == "1 (Log)" and first.step == 0
    assert first.subject == SubjectKey(SubjectKind.ACTIVATION, "1")
    assert 0 < first.nan < first.count == 32 and not first.inf
    assert first.operation is not None and first.operation.name == "log"
    assert first.operation.source.startswith("test_nonfinite.py, line ") and first.operation.code == "return x.log()"
    assert first.title == "First NaN: step 0, forward, 1 (Log)"
    assert f"{first.nan} NaN of 32" in first.sentence and "return x.log()" in first.sentence


def test_a_layer_that_is_not_captured_is_found_by_another_run() -> None:
    first = found(lambda: recipe_of(stack(Log())), capture="layers:2")
    assert first.place == "1 (Log)" and first.operation is not None and first.operation.code == "return x.log()"
    assert f"{first.nan} NaN of 32 in what it computes; made by log in test_nonfinite.py, line " in first.sentence
    off = found(lambda: recipe_of(stack(Log())), capture="off")
    assert (off.stage, off.place, off.operation) == (first.stage, first.place, first.operation)


def test_where_another_run_comes_to_something_else_it_is_not_guessed() -> None:
    class Once(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factors = (factor for factor in (torch.nan, 1.0, 1.0))

        def forward(self, x: Tensor) -> Tensor:
            return x * next(self.factors)

    def step(model: nn.Module, batch: Any) -> Tensor:
        return model(batch[0] * next(factors)).mean()

    first = found(lambda: recipe_of(stack(Once())), capture="layers:2")
    assert first.place == "input of 2 (Linear)" and first.operation is None
    assert first.sentence.endswith("made before it, by code outside the layers or layers that are not captured")
    factors = (factor for factor in (torch.nan, 1.0, 1.0))
    first = found(lambda: recipe_of(stack(nn.Tanh()), loss=None, training_step=step))
    assert first.place == "input of 0 (Linear)" and first.sentence.endswith(
        "made before it, by code outside the layers"
    )


def test_only_one_call_of_a_layer_makes_it() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.log, self.last = nn.Linear(2, 4), Log(), nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.log(self.first(x).abs() + 1) + self.log(self.first(x)))

    assert found(lambda: recipe_of(Twice())).place == "log #1 (Log)"


class Between(nn.Module):
    """Its own code makes NaN between two layers, which are torch's."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(2, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        hidden = hidden * 2 + 1
        hidden = torch.sqrt(hidden - 1)
        return self.last(hidden)


def test_what_is_made_between_layers_is_made_by_the_layer_around() -> None:
    first = found(lambda: recipe_of(nn.Sequential(nn.Identity(), Between())))
    assert first.place == "1 (Between)"
    assert first.operation is not None and first.operation.name == "sqrt"
    assert first.operation.code == "hidden = torch.sqrt(hidden - 1)"


def test_the_operation_is_found_with_everything_put_back() -> None:
    class Stateful(nn.Module):
        """Counts, remembers, draws random numbers, and makes NaN at its third call."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 1)
            self.register_buffer("seen", torch.zeros(2))
            self.calls: list[int] = []

        def forward(self, x: Tensor) -> Tensor:
            self.calls.append(len(self.calls))
            SEEN.append(len(SEEN))
            self.seen += x.detach().mean(0)
            x = F.dropout(x, 0.5) + torch.randn(2)
            x = x / (0 if len(self.calls) >= 3 else 1)
            return self.layer(x - x.detach() + x)

    def make() -> Recipe:
        return recipe_of(Stateful(), x=X[:4], batch_size=1)

    SEEN.clear()
    recipe = plain.seeded(make)
    with Session(recipe) as session:
        for _ in range(4):
            session.next_batch()
        first = session.first_nonfinite
        assert first is not None and first.step == 2
        assert first.operation is not None and first.operation.name == "div"
        assert recipe.model.calls == SEEN == [0, 1, 2, 3], "its own list, and one that its code can reach"
        assert torch.allclose(recipe.model.seen, X[:4].sum(0))
        after = torch.get_rng_state()
    other = plain.seeded(make)
    with Session(other, capture="off") as session:
        for _ in range(4):
            session.next_batch()
        assert torch.equal(torch.get_rng_state(), after)
        assert torch.equal(other.model.seen, recipe.model.seen)


def count_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, whose work is not waited for."""
    monkeypatch.setattr(SummaryBatch, "is_known_bad", lambda *_: False)
    begin = NonFiniteWatch.__init__
    monkeypatch.setattr(NonFiniteWatch, "__init__", lambda self, loop, seen, **_: begin(self, loop, seen, is_late=True))


def test_counts_that_come_after_the_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    count_late(monkeypatch)
    first = found(lambda: recipe_of(stack(Log(), nn.Linear(4, 4))))
    assert first.place == "1 (Log)" and "no output before it had any" in first.sentence and first.operation is None
    assert found(lambda: recipe_of(nn.Sequential(nn.Identity(), Between()))).place == "1.last (Linear)"
    x = X.clone()
    x[3, 1] = torch.nan
    assert found(lambda: recipe_of(stack(nn.Tanh()), x=x)).stage is Stage.BATCH


@pytest.mark.parametrize("in_layers", [True, False])
@pytest.mark.parametrize("is_late", [True, False])
def test_masks_that_a_softmax_takes_away_are_no_finding(
    monkeypatch: pytest.MonkeyPatch, *, in_layers: bool, is_late: bool
) -> None:
    if is_late:
        count_late(monkeypatch)

    class Mask(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.masked_fill(torch.ones_like(x, dtype=torch.bool).triu(1), -INF)

    class Attention(nn.Module):
        def __init__(self, *, in_layers: bool) -> None:
            super().__init__()
            self.q, self.mask, self.softmax = nn.Linear(2, 2), Mask(), nn.Softmax(-1)
            self.last, self.in_layers = nn.Linear(2, 1), in_layers

        def forward(self, x: Tensor) -> Tensor:
            scores = self.mask(self.q(x) @ x.T)
            weights = self.softmax(scores) if self.in_layers else scores.softmax(-1)
            return self.last(weights @ x)

    first, notes = first_of(lambda: recipe_of(Attention(in_layers=in_layers)), steps=2)
    assert first is None and not notes
    # Beside a mask, what is really wrong is found all the same.
    assert found(lambda: recipe_of(nn.Sequential(Attention(in_layers=in_layers), Log()))).place == "1 (Log)"


def test_a_row_that_is_masked_whole() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.last = nn.Linear(2, 2), nn.Linear(2, 1)
            self.register_buffer("mask", torch.full((8, 8), -INF).triu(0))

        def forward(self, x: Tensor) -> Tensor:
            scores = self.q(x) @ x.T
            scores = scores + self.mask
            weights = F.softmax(scores, dim=-1)
            return self.last(weights @ x)

    first = found(lambda: recipe_of(Attention()))
    assert first.place == "(model) (Attention)"
    assert first.operation is not None and first.operation.name == "softmax"


def test_nan_in_what_had_been_a_mask() -> None:
    class Masked(nn.Module):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            x = x.masked_fill(torch.tensor([False, True, False, False]), -INF)
            return (x - 1000).exp().log() - x if self.calls == 3 else x

    first = found(lambda: recipe_of(stack(Masked(), nn.Softmax(-1))), steps=3)
    assert first.step == 2 and first.place == "1 (Masked)" and first.nan


def test_minus_inf_that_nobody_wrote_on_purpose() -> None:
    class LogOfZero(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.log(x.relu())

    first = found(lambda: recipe_of(stack(LogOfZero(), nn.Linear(4, 4))))
    assert first.place == "1 (LogOfZero)" and first.inf and not first.nan and first.kind == "Inf"
    assert "-Inf of 32" in first.sentence
    assert first.operation is not None and first.operation.name == "log"


def test_what_never_reaches_the_loss_is_no_finding_until_it_reaches_a_gradient() -> None:
    class Where(nn.Module):
        """The NaN of the branch that is not taken: gone in the forward, back in the backward (0 * NaN)."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.log, self.last = nn.Linear(2, 4), Log(), nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            return self.last(torch.where(x > 0, self.log(x * (x > 0)), 0.0))

    first = found(lambda: recipe_of(Where()))
    assert first.stage is Stage.BACKWARD, "-Inf only, as a mask has it"
    assert first.place.startswith("gradient of the output of first")

    class Aside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.log, self.last = Log(), nn.Linear(2, 1)

        def forward(self, x: Tensor) -> Tensor:
            self.log(x)
            return self.last(x)

    first, notes = first_of(lambda: recipe_of(Aside()), steps=3)
    assert first is None and not notes


def test_a_layer_that_writes_over_its_input() -> None:
    class LogInPlace(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.log_()

    assert found(lambda: recipe_of(stack(LogInPlace()))).place == "1 (LogInPlace)"
    # torch's own do no such thing.
    assert found(lambda: recipe_of(stack(Log(), nn.ReLU(inplace=True)))).place == "1 (Log)"


def test_keyword_arguments_are_inputs_too() -> None:
    class Inner(nn.Module):
        def forward(self, *, x: Tensor) -> Tensor:
            return x + 1

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.inner, self.last = nn.Linear(2, 4), Inner(), nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.inner(x=self.first(x).log()))

    first = found(lambda: recipe_of(Outer()))
    assert first.place == "(model) (Outer)" and first.operation is not None and first.operation.name == "log"


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_recomputed_layers(*, use_reentrant: bool) -> None:
    class Checkpointed(nn.Module):
        def __init__(self, *, use_reentrant: bool) -> None:
            super().__init__()
            self.block, self.use_reentrant = stack(Log()), use_reentrant

        def forward(self, x: Tensor) -> Tensor:
            x = x.clone().requires_grad_()
            return checkpoint(self.block, x, use_reentrant=self.use_reentrant)

    assert found(lambda: recipe_of(Checkpointed(use_reentrant=use_reentrant))).place == "block.1 (Log)"


def test_frozen_layers() -> None:
    def make() -> Recipe:
        model = stack(Log())
        model[0].requires_grad_(False)
        return recipe_of(model, optimizer=torch.optim.SGD(model[2].parameters(), 0.1))

    assert found(make).place == "1 (Log)"


def test_of_two_operations_the_one_whose_nan_is_still_there_is_named() -> None:
    class TakesAway(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            safe = torch.where(x > 0, x.log(), 0.0)
            x = x - x
            x = x / x.detach()
            return x + safe

    first = found(lambda: recipe_of(stack(TakesAway())))
    assert first.place == "1 (TakesAway)"
    assert first.operation is not None and first.operation.code == "x = x / x.detach()"


def test_a_part_of_a_tensor_and_memory_that_is_not_filled_yet() -> None:
    class Parts(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            found = torch.full_like(x, torch.nan)
            found[:, :2] = x[:, :2]
            found[:, 2:] = x[:, 2:].log()
            return found * 2

    first = found(lambda: recipe_of(stack(Parts())))
    assert first.operation is not None and first.operation.name == "log"


def test_what_was_harmless_for_some_steps_and_then_is_not() -> None:
    """An output is bad in every step; from the third on it is used."""

    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.log, self.last, self.calls = nn.Linear(2, 2), Log(), nn.Linear(2, 1), 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            beside = self.log(x - 9)
            return self.last(self.first(x) + (beside if self.calls >= 3 else 0))

    first = found(lambda: recipe_of(Branch()), steps=3)
    assert first.step == 2 and first.place == "log (Log)" and first.subject == SubjectKey(SubjectKind.ACTIVATION, "log")
    assert first.operation is not None and first.operation.code == "return x.log()"


def test_what_was_harmless_elsewhere_in_the_training_is_looked_at_anew(tmp_path: Path) -> None:
    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.log, self.last = Log(), nn.Linear(2, 1)

        def forward(self, x: Tensor) -> Tensor:
            self.log(x - 9)
            return self.last(x)

    with Session(plain.seeded(lambda: recipe_of(Branch()))) as session:
        session.save_checkpoint(tmp_path / "start.pt")
        session.next_batch()
        assert session.observer.births.tolerated
        session.load_checkpoint(tmp_path / "start.pt")
        assert not session.observer.births.tolerated


def test_copies_for_looking_inside_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(births, "MOST_BYTES", 5 * 8 * 4 * 4)

    class Mask(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.masked_fill(x > 0, -INF)

    class Masks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.last = nn.ModuleList(Mask() for _ in range(20)), nn.Linear(4, 1)
            self.first = nn.Linear(2, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            return self.last(sum(layer(x).softmax(-1) for layer in self.layers))

    with Session(plain.seeded(lambda: recipe_of(Masks()))) as session:
        session.forward()
        assert 0 < session.observer.births.copied_bytes <= 5 * 8 * 4 * 4
        session.backward()
        assert not session.observer.births.copied_bytes, "nobody asks for them any more"


# --------------------------------------------------------------------------------------------------- batch, loss


@pytest.mark.parametrize("capture", ["full", "norms", "layers:1", "off"])
def test_the_batch(capture: str) -> None:
    x = X.clone()
    x[3, 1] = torch.nan
    first = found(lambda: recipe_of(stack(nn.Tanh()), x=x), capture=capture)
    assert first.stage is Stage.BATCH and first.place == "[0]" and (first.nan, first.inf, first.count) == (1, 0, 16)
    assert first.sentence == "First NaN: step 0, batch, [0]: it holds 1 NaN of 16"


@pytest.mark.parametrize("capture", ["full", "off"])
def test_minus_inf_in_the_batch(capture: str) -> None:
    x = X.clone()
    x[3, 1] = -INF
    first = found(lambda: recipe_of(nn.Linear(2, 1), x=x), capture=capture)
    assert first.stage is Stage.BATCH and first.place == "[0]" and (first.nan, first.inf) == (0, 1)


def test_nan_in_data_that_the_model_cleans_is_no_finding() -> None:
    class Clean(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.nan_to_num(x)

    x = X.clone()
    x[3, 1] = torch.nan
    first, _ = first_of(lambda: recipe_of(nn.Sequential(Clean(), nn.Linear(2, 1)), x=x), steps=2)
    assert first is None
    bad = found(lambda: recipe_of(nn.Sequential(Clean(), nn.Linear(2, 1), Log()), x=x))
    assert bad.place == "2 (Log)"


@pytest.mark.parametrize("capture", ["full", "norms", "layers:0", "off"])
def test_the_loss(capture: str) -> None:
    def loss(output: Tensor, target: Tensor) -> Tensor:
        return (output - target).square().mean() / torch.zeros(())

    first = found(lambda: recipe_of(nn.Linear(2, 1), loss=loss), capture=capture if capture != "layers:0" else "full")
    assert first.stage is Stage.LOSS and (first.nan, first.inf, first.count) == (0, 1, 1)
    assert first.title == "First Inf: step 0, loss" and "the loss is Inf" in first.sentence
    assert ("capture off" in first.sentence) == (capture == "off")
    assert first.operation is not None and first.operation.name == "div"
    assert first.operation.code == "return (output - target).square().mean() / torch.zeros(())"
    assert "; made by div in test_nonfinite.py, line " in first.sentence


class LogLoss(nn.Module):
    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        output.sub_(target)
        return output.log().mean()


def test_a_loss_that_is_a_module_and_writes_over_the_output() -> None:
    first = found(lambda: recipe_of(nn.Linear(2, 1), loss=LogLoss()))
    assert first.stage is Stage.LOSS and first.operation is not None
    assert first.operation.code == "return output.log().mean()"


def test_code_of_the_training_step_before_the_model() -> None:
    def step(model: nn.Module, batch: Any) -> Tensor:
        return model(batch[0].log()).mean()

    first = found(lambda: recipe_of(stack(nn.Tanh()), loss=None, training_step=step))
    assert first.stage is Stage.FORWARD and first.place == "input of 0 (Linear)"
    assert first.operation is not None and first.operation.code == "return model(batch[0].log()).mean()"
    assert "made before it, by code outside the layers; made by log in " in first.sentence


def test_a_training_step_that_writes_into_its_batch() -> None:
    def step(model: nn.Module, batch: Any) -> Tensor:
        x = batch[0]
        x.log_()
        return model(x).mean()

    first = found(lambda: recipe_of(stack(nn.Tanh()), loss=None, training_step=step))
    assert first.place == "input of 0 (Linear)", "the batch was good when it came"
    assert first.operation is not None and first.operation.code == "x.log_()"


def test_code_of_the_training_step_is_found_with_everything_put_back() -> None:
    def make() -> Recipe:
        model, calls = stack(nn.BatchNorm1d(4), nn.Dropout(0.3)), [0]

        def step(model: nn.Module, batch: Any) -> Tensor:
            """Counts, writes a global, needs a graph of its own, and makes NaN from its second call on."""
            calls[0] += 1
            SEEN.append(len(SEEN))
            x = batch[0].requires_grad_()
            output = model(x)
            (gradient,) = torch.autograd.grad(output.sum(), x, create_graph=True)
            penalty = gradient.square().mean() + torch.rand(())
            penalty = penalty / (0 if calls[0] >= 2 else 1)
            return output.square().mean() + penalty - penalty

        return recipe_of(model, loss=None, training_step=step)

    def run(capture: str) -> tuple[FirstNonFinite | None, dict[str, Tensor], Tensor, list[int]]:
        SEEN.clear()
        recipe = plain.seeded(make)
        with Session(recipe, capture=capture) as session:
            for _ in range(3):
                session.next_batch()
            assert not session.observer.errors
            state = {name: tensor.clone().nan_to_num(7) for name, tensor in recipe.model.state_dict().items()}
            return session.first_nonfinite, state, torch.get_rng_state(), list(SEEN)

    first, state, random, seen = run("full")
    assert first is not None and first.step == 1 and first.stage is Stage.LOSS
    assert first.operation is not None and first.operation.name == "div"
    assert "penalty / (0 if" in first.operation.code
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Reruns, "forward", lambda self: None)
        other, other_state, other_random, other_seen = run("full")
    assert other is not None and other.operation is None
    assert all(torch.equal(state[name], other_state[name]) for name in state)
    assert torch.equal(random, other_random) and seen == other_seen == [0, 1, 2]


@pytest.mark.parametrize("in_batch", [True, False])
def test_what_was_bad_from_the_start_and_never_reached_the_loss(*, in_batch: bool) -> None:
    """A target that nobody looks at, or a row of an embedding that nobody asks for."""

    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.last = nn.Embedding(3, 1), nn.Linear(2, 1)
            if not in_batch:
                with torch.no_grad():
                    self.table.weight[2] = torch.nan

        def forward(self, x: Tensor) -> Tensor:
            return self.last(x) + self.table(torch.zeros(len(x), dtype=torch.long))

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return (output - output).mean() / 0

    target = torch.full((8, 1), torch.nan if in_batch else 0.0)
    first = found(lambda: recipe_of(Unused(), dataset=TensorDataset(X, target), loss=loss))
    assert first.stage is Stage.LOSS and first.operation is not None and first.operation.name == "div"


def test_a_mask_in_the_batch_is_not_to_blame() -> None:
    def step(model: nn.Module, batch: Any) -> Tensor:
        weights = (model(batch[0]) + batch[1]).softmax(-1)
        return (weights - weights).mean() / 0

    mask = torch.full((8, 8), -INF).triu(1)
    first = found(lambda: recipe_of(nn.Linear(2, 8), dataset=TensorDataset(X, mask), loss=None, training_step=step))
    assert first.stage is Stage.LOSS and first.operation is not None and first.operation.name == "div"


def test_a_parameter_of_the_training_step_s_own_code() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.scale = nn.Linear(2, 1), nn.Parameter(torch.tensor([torch.nan]))

        def forward(self, x: Tensor) -> Tensor:
            return self.last(x)

    def step(model: Scaled, batch: Any) -> Tensor:
        return model(batch[0] * model.scale).mean()

    first = found(lambda: recipe_of(Scaled(), loss=None, training_step=step))
    assert first.stage is Stage.PARAMETERS and first.place == "scale"


@pytest.mark.parametrize("capture", ["full", "off"])
def test_parameters_that_are_bad_before_the_forward(capture: str) -> None:
    def make() -> Recipe:
        model = stack(nn.Tanh())
        with torch.no_grad():
            model[2].weight[0, 1] = torch.nan
        return recipe_of(model)

    first = found(make, capture=capture)
    assert first.stage is Stage.PARAMETERS and first.place == "2.weight" and (first.nan, first.count) == (1, 4)
    assert first.subject == SubjectKey(SubjectKind.PARAMETER, "2.weight")


def test_a_layer_that_writes_nan_into_its_own_buffers() -> None:
    class Statistic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.zeros(4))

        def forward(self, x: Tensor) -> Tensor:
            x = (x - x) / (x - x)
            self.mean = x.detach().mean(0)
            return x

    first = found(lambda: recipe_of(stack(Statistic())))
    assert first.stage is Stage.FORWARD and first.place == "1 (Statistic)"


# --------------------------------------------------------------------------------------------------- backward


class Root(torch.autograd.Function):
    """Its backward makes NaN of the first element."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        bad = gradient * 2
        bad[0, 0] = torch.nan
        return bad


class BadBackward(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Root.apply(x)


def test_the_backward() -> None:
    first = found(lambda: recipe_of(stack(BadBackward())))
    assert first.stage is Stage.BACKWARD and first.place == "gradient of the output of 0 (Linear)"
    assert first.subject == SubjectKey(SubjectKind.ACTIVATION_GRAD, "0") and (first.nan, first.count) == (1, 32)
    assert "the last before it was finite: gradient of the output of 1 (BadBackward)" in first.sentence

    assert first.operation is not None and first.operation.name == "Root.backward"
    assert "; made by Root.backward in test_nonfinite.py, line " in first.sentence


class NormOfZero(nn.Module):
    """The square root of zero, whose gradient is infinite; and all the state that another run could disturb."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)
        self.calls: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        SEEN.append(len(SEEN))
        self.calls.append(len(self.calls))
        hidden = self.norm(self.first(x))
        squares = (hidden * (0 if len(self.calls) >= 2 else 1)).square().sum(1, keepdim=True)
        length = torch.sqrt(squares)
        return self.last(F.dropout(hidden, 0.5)) + length


SEEN: list[int] = []


class SquareRoot(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sqrt()


class Zero(nn.Module):
    """The gradient of its output, where the square root's is infinite, goes nowhere."""

    def forward(self, x: Tensor) -> Tensor:
        return (0 * x).requires_grad_()


@pytest.mark.parametrize("capture", ["full", "norms", "layers:0"])
def test_a_gradient_that_reaches_no_parameter_is_no_finding(capture: str) -> None:
    model = nn.Sequential(Zero(), SquareRoot(), nn.Linear(2, 1))
    first, _ = first_of(lambda: recipe_of(model), steps=2, capture=capture)
    assert first is None


def test_a_gradient_that_reaches_a_parameter_which_is_not_captured() -> None:
    class Flat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 0 * x

    first = found(lambda: recipe_of(stack(Flat(), SquareRoot())), capture="layers:1")
    assert first.stage is Stage.BACKWARD and first.place == "gradient of the output of 1 (Flat)"


def test_the_operation_in_the_backward_is_found_with_everything_put_back() -> None:
    def run(capture: str) -> tuple[FirstNonFinite | None, dict[str, Tensor], Tensor, list[int], list[int]]:
        SEEN.clear()
        recipe = plain.seeded(lambda: recipe_of(NormOfZero()))
        with Session(recipe, capture=capture) as session:
            for _ in range(3):
                session.next_batch()
            assert not session.observer.errors
            state = {name: tensor.clone().nan_to_num(7) for name, tensor in recipe.model.state_dict().items()}
            return session.first_nonfinite, state, torch.get_rng_state(), list(SEEN), recipe.model.calls

    first, state, random, seen, calls = run("full")
    _, other_state, other_random, other_seen, other_calls = run("off")
    assert first is not None and first.stage is Stage.BACKWARD and first.step == 1
    assert first.operation is not None and first.operation.name == "sqrt"
    assert first.operation.code == "length = torch.sqrt(squares)"
    assert "; made in the backward of sqrt in test_nonfinite.py, line " in first.sentence
    assert all(torch.equal(state[name], other_state[name]) for name in state)
    assert torch.equal(random, other_random)
    assert seen == other_seen == calls == other_calls == [0, 1, 2]


def test_a_gradient_that_a_scaler_takes_care_of_is_noted_and_no_finding() -> None:
    class Large(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.float() * 1e36

    def make() -> Recipe:
        return recipe_of(nn.Sequential(nn.Linear(2, 1), Large()), precision="fp16", loss=lambda p, y: p.float().mean())

    first, notes = first_of(make)
    assert first is None and len(notes) == 1
    assert "The gradient of 0.weight (2 NaN of 2) and that of 1 more parameter are not finite; the gradient" in notes[0]

    # Where the scale is 1, it is not the scale.
    with Session(plain.seeded(lambda: recipe_of(stack(BadBackward()), precision="fp16"))) as session:
        session.training.scaler._init_scale = 1.0
        session.next_batch()
        assert session.first_nonfinite is not None and session.first_nonfinite.stage is Stage.BACKWARD


def test_micro_batches_and_turns_are_told() -> None:
    x = X.repeat(2, 1)
    x[12, 0] = torch.nan
    make = lambda: recipe_of(stack(nn.Tanh()), dataset=TensorDataset(x, x[:, :1]), batch_size=4, accumulate=4)  # noqa: E731
    first = found(make)
    assert first.stage is Stage.BATCH and "(micro-batch 4 of 4)" in first.sentence

    with Session(plain.seeded(gan)) as session:
        session.next_batch()
        first = session.first_nonfinite
        assert first is not None and first.place == "G.1 (Log)" and "(turn of D)" in first.sentence and first.step == 0


def gan() -> Recipe:
    model = nn.ModuleDict(
        {"G": nn.Sequential(nn.Linear(2, 2), Log()), "D": nn.Sequential(nn.Linear(2, 1), nn.Sigmoid())}
    )

    def step(model: Any, batch: Any) -> Tensor:
        return model["D"](model["G"](batch[0])).mean()

    return Recipe(
        model=model,
        dataset=TensorDataset(X, X),
        training_step={"D": step, "G": step},
        optimizer={
            "D": torch.optim.SGD(model["D"].parameters(), 0.1),
            "G": torch.optim.SGD(model["G"].parameters(), 0.1),
        },
        batch_size=8,
    )


# --------------------------------------------------------------------------------------------------- step


def test_clipping_by_a_norm_that_overflows() -> None:
    def make() -> Recipe:
        return recipe_of(nn.Linear(2, 1), loss=lambda p, y: (p * 1e30).mean(), clip_norm=1.0)

    first = found(make)
    assert first.stage is Stage.CLIPPING and first.inf == 1
    assert first.title == "First Inf: step 0, clipping, norm of all gradients"
    assert first.subject is not None and first.subject.kind is SubjectKind.CLIPPED_GRAD


class Spoiling(torch.optim.SGD):
    """Spoils its state in the second step, and the parameters in the third."""

    count = 0

    def step(self, closure: Any = None) -> Any:
        self.count += 1
        super().step(closure)
        parameter = self.param_groups[0]["params"][0]
        if self.count == 2 and self.spoils == "state":
            self.state[parameter]["momentum_buffer"][0, 0] = INF
        if self.count == 2 and self.spoils == "parameter":
            with torch.no_grad():
                parameter[0, 1] = torch.nan

    spoils = "state"


@pytest.mark.parametrize(("spoils", "stage"), [("state", Stage.OPTIMIZER_STATE), ("parameter", Stage.UPDATE)])
def test_state_and_update(spoils: str, stage: Stage) -> None:
    def make() -> Recipe:
        model = nn.Linear(2, 1)
        optimizer = Spoiling(model.parameters(), 0.1, momentum=0.9)
        optimizer.spoils = spoils
        return recipe_of(model, optimizer=optimizer)

    first = found(make, steps=3)
    assert first.stage is stage and first.step == 1 and first.nan + first.inf == 1 and first.count == 2
    assert first.place == ("weight .momentum_buffer" if spoils == "state" else "weight")


def test_an_eps_that_half_precision_does_not_have() -> None:
    def make() -> Recipe:
        model = nn.Linear(2, 1).half()
        x = torch.randn(8, 2).half()
        x[:, 1] = 0
        return recipe_of(
            model,
            dataset=TensorDataset(x, x[:, :1]),
            loss=lambda p, y: (p - y).float().square().mean(),
            optimizer=torch.optim.Adam(model.parameters(), 0.01),
        )

    first = found(make)
    assert first.title == "First NaN: step 0, update, weight" and (first.nan, first.count) == (1, 2)
    assert "eps, 1e-08, is 0 in float16" in first.sentence


def test_a_parameter_that_is_a_mask_is_not_made_so_by_the_step() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.mask = nn.Linear(2, 2), nn.Parameter(torch.tensor([0.0, -INF]))

        def forward(self, x: Tensor) -> Tensor:
            return (self.layer(x) + self.mask).softmax(-1)[:, :1]

    first, _ = first_of(lambda: recipe_of(Masked()), steps=2)
    assert first is None


@pytest.mark.parametrize("capture", ["full", "norms"])
def test_a_frozen_mask_is_not_made_so_by_the_step(capture: str) -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.mask = nn.Parameter(torch.tensor([0.0, -INF]), requires_grad=False)

        def forward(self, x: Tensor) -> Tensor:
            return (self.layer(x) + self.mask).softmax(-1)[:, :1]

    first, _ = first_of(lambda: recipe_of(Masked()), steps=2, capture=capture)
    assert first is None


# --------------------------------------------------------------------------------------------------- sessions


def test_a_healthy_training_is_as_without_it() -> None:
    first, notes = first_of(lambda: recipe_of(stack(nn.Tanh())), steps=3)
    assert first is None and not notes


def test_a_training_that_goes_on_after_it_is_bit_for_bit_that_of_a_plain_loop() -> None:
    def run(capture: str) -> tuple[list[float], dict[str, Tensor], Tensor]:
        recipe = plain.seeded(lambda: recipe_of(nn.Sequential(nn.Dropout(0.3), Between(), nn.Sigmoid())))
        with Session(recipe, capture=capture) as session:
            for _ in range(3):
                session.next_batch()
            losses = [record.loss for record in session.history]
        return losses, copy.deepcopy(recipe.model.state_dict()), torch.get_rng_state()

    (losses, state, random), (other_losses, other_state, other_random) = run("full"), run("off")
    assert all(map(math.isnan, losses + other_losses))
    assert all(torch.equal(state[name].nan_to_num(7), other_state[name].nan_to_num(7)) for name in state)
    assert torch.equal(random, other_random)


def test_a_checkpoint_that_is_loaded_begins_anew(tmp_path: Path) -> None:
    bad = X.clone()
    bad[0, 0] = torch.nan
    with Session(plain.seeded(lambda: recipe_of(stack(nn.Tanh()), x=bad))) as session:
        session.save_checkpoint(tmp_path / "start.pt")
        for _ in range(2):
            session.next_batch()
            assert session.first_nonfinite is not None and session.first_nonfinite.step == 0
            session.load_checkpoint(tmp_path / "start.pt")
            assert session.first_nonfinite is None


def test_elements_that_are_not_finite_are_no_moves() -> None:
    def make() -> Recipe:
        model = nn.Linear(2, 1)
        model.weight.register_hook(lambda gradient: torch.cat([gradient[:, :1], gradient[:, 1:] * torch.nan], dim=1))
        return recipe_of(model)

    with Session(plain.seeded(make)) as session:
        session.next_batch()
        lost = session.explain("weight").lost
        assert lost is not None and (lost.lost, lost.with_gradient, lost.not_finite, lost.elements) == (0, 1, 1, 2)
