"""Buffers as subjects, against the same model in a plain loop: which there are, what they hold, and at which moment."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import plain
import pytest
import torch
import zoo
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gradscope import Recipe, Session
from gradscope.engine.book.values import ValuesUnavailable
from gradscope.engine.quantities.on_device import number_on_device, packed_summary, rows_of_numbers
from gradscope.engine.quantities.summary import SummaryBatch
from gradscope.engine.quantities.values import readable
from gradscope.engine.reports.lines import line_of
from gradscope.engine.reports.report import PhaseReport
from gradscope.protocol.capture import CaptureLevel
from gradscope.protocol.nonfinite import FirstNonFinite, Stage
from gradscope.protocol.parts import Part
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import MAX, MEAN, SubjectKey, SubjectKind
from gradscope.snapshots.reader import open_snapshot
from gradscope.snapshots.snapshot import ValuesMissing
from gradscope.state.comparison import Comparison, Verdict
from gradscope.state.reopened import state_of

X, TARGET = torch.linspace(-2, 2, 24).reshape(8, 3), torch.arange(8) % 3


def recipe_of(model: nn.Module, **more: Any) -> Recipe:
    data = torch.utils.data.TensorDataset(X, TARGET)
    return zoo.classifier(model, dataset=data, shuffle=False, **more)


def told(report: PhaseReport) -> dict[str, Any]:
    """The buffers in a report, by name."""
    return {subject.name: subject for subject in report if subject.kind == SubjectKind.BUFFER}


def assert_holds(report: PhaseReport, expected: dict[str, Tensor]) -> None:
    """Exactly these buffers, with the numbers of these tensors."""
    found = told(report)
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        subject = found[name]
        assert (subject.shape, subject.dtype) == (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        assert (subject.min, subject.max) == (tensor.min().item(), tensor.max().item()), name
        if tensor.is_floating_point():
            wide = tensor.double()
            expected_numbers = [wide.mean().item(), wide.std(correction=0).item(), wide.norm().item()]
            assert [subject.mean, subject.std, subject.l2] == pytest.approx(expected_numbers, rel=1e-5), name
            assert subject.histogram.sum() + subject.zero == tensor.numel()


def copies(model: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def plain_forwards(recipe: Recipe, steps: int) -> list[dict[str, Tensor]]:
    """The buffers after each forward of a plain loop."""
    assert isinstance(recipe.model, nn.Module)
    model, optimizer = recipe.model.train(), recipe.optimizer
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = recipe.loss(model(X), TARGET)
        found.append(copies(model))
        loss.backward()
        optimizer.step()
    return found


def frozen_norm() -> nn.Module:
    model = batch_norm()
    # As fine-tuning does it: whatever train() says, it stays in eval mode.
    model[1].train = lambda mode=True: nn.Module.train(model[1], False)  # type: ignore[method-assign]
    return model


def batch_norm() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3))


class Shared(nn.Module):
    """Two layers with one buffer between them, one that nobody calls, and one outside the state_dict."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.idle = nn.Linear(3, 3), nn.Linear(3, 3), nn.BatchNorm1d(3)
        self.first.register_buffer("scale", torch.full((3,), 0.5))
        self.second.register_buffer("scale", self.first.scale)
        self.register_buffer("order", torch.arange(5), persistent=False)
        self.register_buffer("nothing", None)

    def forward(self, x: Tensor) -> Tensor:
        self.first.scale.mul_(1.5)
        return self.second(self.first(x) * self.first.scale)


class ByAssignment(nn.Module):
    """Each forward puts another tensor in the buffer's place."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        return self.layer(x - self.mean)


class Silent(nn.Module):
    """A layer that is not called, with a buffer that changes without a mark in its version."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.store = nn.Linear(3, 3), nn.Identity()
        self.store.register_buffer("count", torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        self.store.count.data.add_(1)
        return self.layer(x)


class OtherTypes(nn.Module):
    """Buffers of other types than float32."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("wide", torch.linspace(0, 1, 7, dtype=torch.float64))
        self.register_buffer("mask", torch.tensor([[True, False], [True, True]]))
        self.register_buffer("low", torch.linspace(-1, 1, 9).to(torch.bfloat16))

    def forward(self, x: Tensor) -> Tensor:
        self.wide.mul_(-0.5)
        return x


MODELS: dict[str, Callable[[], nn.Module]] = {
    "batch norm": batch_norm,
    "frozen batch norm": frozen_norm,
    "spectral norm": lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(3, 4)), nn.Linear(4, 3)),
    "shared": Shared,
    "by assignment": ByAssignment,
    "silent": Silent,
    "other types": lambda: nn.Sequential(nn.Linear(3, 3), OtherTypes()),
}


@pytest.mark.parametrize("name", MODELS)
def test_after_each_forward_a_buffer_is_what_a_plain_loop_has(name: str) -> None:
    def make() -> Recipe:
        return recipe_of(MODELS[name]())

    expected = plain_forwards(plain.seeded(make), steps=3)
    with Session(plain.seeded(make)) as session:
        for truth in expected:
            forward, *others = session.next_batch()
            assert_holds(forward, truth)
            assert [told(report) for report in others] == [{}, {}], "nothing has moved since"
            assert session.known_subjects(SubjectKind.BUFFER) == [
                SubjectKey(SubjectKind.BUFFER, buffer) for buffer in truth
            ]
            for buffer, tensor in truth.items():
                assert torch.equal(session.values(SubjectKey(SubjectKind.BUFFER, buffer)), tensor)
        assert session.observer.errors == []
        with pytest.raises(ValuesUnavailable, match="no buffer 'mean_of_all'"):
            session.values(SubjectKey(SubjectKind.BUFFER, "mean_of_all"))


@pytest.mark.parametrize("name", [name for name in zoo.ZOO if "compiled" not in name])
def test_every_buffer_of_the_zoo_is_told_once(name: str) -> None:
    with Session(plain.seeded(zoo.ZOO[name])) as session:
        forward, *_ = session.next_batch()
        model = session.recipe.model
        expected = dict(model.named_buffers()) if isinstance(model, nn.Module) else {}
        assert set(told(forward)) == set(expected)
        assert {info.name for info in session.info.buffers} >= set(expected)
        assert session.observer.errors == []


def test_what_is_known_of_buffers_from_the_start() -> None:
    with Session(plain.seeded(lambda: recipe_of(Shared()))) as session:
        infos = {info.name: info for info in session.info.buffers}
        assert list(infos) == [name for name, _ in session.recipe.model.named_buffers()]
        assert infos["first.scale"].aliases == ("second.scale",) and infos["first.scale"].is_persistent
        assert not infos["order"].is_persistent and infos["order"].dtype == "int64" and infos["order"].shape == (5,)
        initial = session.initial_parameters()
        keys = [session.observer.tables.subjects.rows[number].key for number in initial.subjects]
        assert [key.name for key in keys if key.kind is SubjectKind.BUFFER] == list(infos)


def test_a_lazy_layer_has_its_buffers_once_it_has_a_shape() -> None:
    def make() -> Recipe:
        # An optimizer wants parameters with a shape.
        model = nn.Sequential(nn.Linear(3, 3), nn.LazyBatchNorm1d(affine=False))
        return recipe_of(model, optimizer=torch.optim.SGD(model[0].parameters(), lr=0.1))

    with Session(plain.seeded(make)) as session:
        assert {(info.name, info.dtype) for info in session.info.buffers} >= {("1.running_mean", "uninitialised")}
        keys = [session.observer.tables.subjects.rows[n].key for n in session.initial_parameters().subjects]
        assert "1.running_mean" not in {key.name for key in keys}
        assert_holds(session.forward(), copies(session.recipe.model))


def test_what_moves_later_is_told_once_more() -> None:
    """A checkpointed layer runs again in the backward; the optimizer's step may move a buffer, too."""

    class Again(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.norm = nn.Linear(3, 3), nn.BatchNorm1d(3)

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(lambda x: self.norm(self.layer(x)), x, use_reentrant=False)

    class Averaging(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            result = super().step(closure)
            model.norm.running_mean.zero_()
            return result

    model = Again()
    with Session(recipe_of(model, optimizer=Averaging(model.parameters(), lr=0.1))) as session:
        forward = session.forward()
        assert told(forward)["norm.num_batches_tracked"].max == 1
        assert_holds(session.backward(), copies(model))
        assert model.norm.num_batches_tracked.item() == 2
        step = session.step()
        assert_holds(step, copies(model))
        assert told(step)["norm.running_mean"].zero == 3


def test_what_leaves_no_mark_in_a_version_is_told_where_a_layer_has_run_again() -> None:
    class Again(Silent):
        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(super().forward, x, use_reentrant=False)

    model = Again()
    with Session(recipe_of(model)) as session:
        assert told(session.forward())["store.count"].max == 1
        assert told(session.backward())["store.count"].max == 2
        assert told(session.step()) == {}


@pytest.mark.parametrize("of", [batch_norm, Silent])
def test_a_closure_runs_the_model_again_in_the_step(of: Callable[[], nn.Module]) -> None:
    def make() -> Recipe:
        model = of()
        return recipe_of(model, optimizer=torch.optim.LBFGS(model.parameters(), max_iter=3))

    with Session(plain.seeded(make)) as session:
        _, _, step = session.next_batch()
        assert step.raw.evaluations > 1
        assert_holds(step, copies(session.recipe.model))


def test_a_training_step_that_sets_a_buffer_by_hand() -> None:
    def step(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, target = batch
        loss = nn.functional.cross_entropy(model(x), target)
        model[1].running_mean.data.fill_(7.0)
        return loss

    with Session(plain.seeded(lambda: recipe_of(batch_norm(), loss=None, training_step=step))) as session:
        mean = told(session.forward())["1.running_mean"]
        assert (mean.min, mean.max, mean.std) == (7.0, 7.0, 0.0)


def test_a_forward_that_fails_leaves_the_buffers_as_they_were() -> None:
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("no")

    def make() -> Recipe:
        return recipe_of(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), Fails()))

    with Session(plain.seeded(make)) as session:
        before = copies(session.recipe.model)
        with pytest.raises(Exception, match="no") as failed:
            session.forward()
        assert_holds(failed.value.report, before)
        for name, tensor in before.items():
            assert torch.equal(session.values(SubjectKey(SubjectKind.BUFFER, name)), tensor)


def test_a_backward_that_fails_puts_back_what_its_forward_has_moved() -> None:
    def refuse(_gradient: Tensor) -> None:
        raise RuntimeError("no")

    model = batch_norm()
    model[3].register_forward_hook(lambda _module, _args, output: output.register_hook(refuse) and None)
    with Session(recipe_of(model)) as session:
        before = copies(model)
        assert told(session.forward())["1.num_batches_tracked"].max == 1
        with pytest.raises(Exception, match="no") as failed:
            session.backward()
        assert_holds(failed.value.report, before)


def test_validation_moves_nothing() -> None:
    validation = torch.utils.data.TensorDataset(X, TARGET)
    with Session(plain.seeded(lambda: recipe_of(batch_norm(), validation=validation))) as session:
        forward, _, step = session.next_batch()
        assert session.validations
        assert {name: subject.l2 for name, subject in told(step).items()} == {
            name: subject.l2 for name, subject in told(forward).items()
        }


# --------------------------------------------------------------------------------------------------- levels


def test_of_chosen_layers_only_their_buffers() -> None:
    def make() -> Recipe:
        return recipe_of(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.BatchNorm1d(3)))

    with Session(plain.seeded(make), capture="layers:2") as session:
        assert set(told(session.forward())) == {"2.running_mean", "2.running_var", "2.num_batches_tracked"}
    with Session(plain.seeded(lambda: recipe_of(Shared())), capture="layers:second") as session:
        assert set(told(session.forward())) == {"first.scale"}, "by any of its names"


def test_at_the_levels_norms_and_off() -> None:
    with Session(plain.seeded(lambda: recipe_of(batch_norm())), capture="norms") as session:
        mean = told(session.forward())["1.running_mean"]
        truth = session.recipe.model[1].running_mean
        assert mean.l2 == pytest.approx(truth.norm().item(), rel=1e-6) and mean.mean is None
        assert not mean.histogram.any()
    with Session(plain.seeded(lambda: recipe_of(batch_norm())), capture=CaptureLevel.OFF.value) as session:
        assert all(told(report) == {} for report in session.next_batch())
        assert len(session.initial_parameters().subjects) == 0


def test_a_whole_number_on_a_device_is_summarised_as_on_the_cpu() -> None:
    for tensor in (torch.tensor(3), torch.tensor([0], dtype=torch.int32), torch.tensor(True), torch.tensor(-2)):
        batch = SummaryBatch()
        for norms_only in (False, True):
            batch.clear(norms_only=norms_only)
            batch.set(0, readable(tensor))
            expected, histograms, sampled = batch.finish(1)
            found = rows_of_numbers(number_on_device(tensor).numpy().astype(float), norms_only=norms_only)
            assert [*map(str, found[0])] == [*map(str, expected[0])]
            assert not histograms.any() and sampled[0] == 0
    # Beside others, as a phase on a device ends.
    batch = SummaryBatch()
    batch.clear(norms_only=False)
    batch.set(0, readable(torch.zeros(3)))
    batch.set(1, readable(torch.zeros(3)))
    batch._on_device = {
        0: (number_on_device(torch.tensor(7)), 1),
        1: (packed_summary(torch.tensor([1.0, 3.0])), 2),
    }
    batch.copy(2, 0)
    rows, _, sampled = batch.finish(3)
    assert rows[:, MAX].tolist() == [7, 3, 7] and sampled.tolist() == [0, 2, 0]
    assert rows[1, MEAN] == 2 and np.isnan(rows[[0, 2], MEAN]).all()


def test_a_line_of_json_has_them() -> None:
    with Session(plain.seeded(lambda: recipe_of(batch_norm()))) as session:
        subjects = json.loads(line_of(session.forward()))["subjects"]
        found = {subject["name"]: subject for subject in subjects if subject["kind"] == "buffer"}
        assert list(found) == ["1.running_mean", "1.running_var", "1.num_batches_tracked"]
        assert found["1.num_batches_tracked"]["min"] == 1 and found["1.num_batches_tracked"]["mean"] is None
        assert found["1.running_var"]["l2"] == pytest.approx(session.recipe.model[1].running_var.norm().item())


# --------------------------------------------------------------------------------------------------- snapshots


@pytest.mark.parametrize("steps", [0, 2])
def test_a_snapshot_of_a_script_has_them(steps: int, tmp_path: Path) -> None:
    with Session(plain.seeded(lambda: recipe_of(Shared()))) as session:
        for _ in range(steps):
            session.next_batch()
        session.export(tmp_path / "shot")
        expected = copies(session.recipe.model)
        initial = session.initial_parameters()
        rows = [session.observer.tables.subjects.rows[number].key for number in initial.subjects]
    written = dict(sorted(load_file(tmp_path / "shot/buffers.safetensors").items()))
    plain.assert_same(written, dict(sorted(expected.items())))
    snapshot = open_snapshot(tmp_path / "shot")
    assert [buffer.name for buffer in snapshot.session.buffers] == list(expected)
    state = state_of(snapshot)
    for name, tensor in expected.items():
        key = SubjectKey(SubjectKind.BUFFER, name)
        assert np.array_equal(snapshot.values(key), tensor.numpy())
        latest = state.history.latest(key)
        assert latest is not None
        np.testing.assert_allclose(latest.summary, initial.summaries[rows.index(key)], rtol=1e-6)


def test_a_snapshot_without_buffers_opens_and_compares(tmp_path: Path) -> None:
    """As an earlier version has written it."""
    with Session(plain.seeded(lambda: recipe_of(batch_norm()))) as session:
        session.next_batch()
        session.export(tmp_path / "new")
    shutil.copytree(tmp_path / "new", tmp_path / "old")
    (tmp_path / "old/buffers.safetensors").unlink()
    for name, change in {"manifest.json": _as_version_2, "session.json": _without_buffers}.items():
        path = tmp_path / "old" / name
        content = json.loads(path.read_text("utf-8"))
        change(content)
        path.write_text(json.dumps(content), encoding="utf-8")
    (tmp_path / "old/reports.json").unlink()
    old, new = open_snapshot(tmp_path / "old"), open_snapshot(tmp_path / "new")
    assert old.format_version == 2 and old.session.buffers == () and Part.BUFFERS not in old.parts
    mean = SubjectKey(SubjectKind.BUFFER, "1.running_mean")
    with pytest.raises(ValuesMissing, match="written without the buffers"):
        old.values(mean)
    verdicts = {row.key: row.verdict for row in Comparison(state_of(new), state_of(old)).rows}
    assert verdicts[mean] is Verdict.ONLY_OURS
    assert not [remark for remark in old.remarks if "buffers" in remark]


def _as_version_2(manifest: dict[str, Any]) -> None:
    manifest["format_version"] = 2
    del manifest["files"]["buffers.safetensors"], manifest["files"]["reports.json"]
    del manifest["files"]["session.json"]


def _without_buffers(told: dict[str, Any]) -> None:
    del told["session"]["buffers"]
    told["subjects"] = [row for row in told["subjects"] if row["key"]["kind"] != "buffer"]


# --------------------------------------------------------------------------------------------------- NaN and Inf


def first_of(make: Callable[[], Recipe], *, steps: int = 1, capture: str = "full") -> FirstNonFinite | None:
    with Session(plain.seeded(make), capture=capture) as session:
        for _ in range(steps):
            session.next_batch()
        assert not session.observer.errors
        return session.first_nonfinite


class Grows(nn.Module):
    """From the third call on, numbers whose squares float32 does not hold, and which reach the loss as zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * 1e25 if self.calls > 2 else x


@pytest.mark.parametrize("capture", ["full", "norms", "layers:2"])
def test_a_running_variance_that_becomes_infinite_is_a_finding_of_that_forward(capture: str) -> None:
    def make() -> Recipe:
        return recipe_of(nn.Sequential(nn.Linear(3, 3), Grows(), nn.BatchNorm1d(3)))

    first = first_of(make, steps=3, capture=capture)
    assert first is not None
    assert (first.step, first.stage, first.place) == (2, Stage.FORWARD, "2.running_var")
    assert first.subject == SubjectKey(SubjectKind.BUFFER, "2.running_var")
    assert (first.nan, first.inf, first.count) == (0, 3, 3)
    assert "in this buffer of 2 (BatchNorm1d) after the forward" in first.sentence
    assert first.sentence.endswith("it began with finite numbers")


def test_what_made_the_input_of_the_layer_bad_is_named_first() -> None:
    class Splits(nn.Module):
        """The normalised logarithm, which is NaN, does not reach the loss."""

        def __init__(self) -> None:
            super().__init__()
            self.layer, self.log, self.norm = nn.Linear(3, 3), Logarithm(), nn.BatchNorm1d(3)

        def forward(self, x: Tensor) -> Tensor:
            self.norm(self.log(x))
            return self.layer(x)

    class Logarithm(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.log()

    first = first_of(lambda: recipe_of(Splits()))
    assert first is not None and first.place == "log (Logarithm)" and first.stage is Stage.FORWARD


def test_a_layer_whose_buffer_was_bad_before_the_forward() -> None:
    def make() -> Recipe:
        model = frozen_norm()
        model[1].running_var[2] = math.nan
        return recipe_of(model)

    first = first_of(make)
    assert first is not None
    assert (first.stage, first.place) == (Stage.BUFFERS, "1.running_var") and first.stage.phase is Phase.FORWARD
    assert first.sentence.endswith("it holds 1 NaN of 4 before the forward of 1 (BatchNorm1d)")


def test_masks_and_what_was_there_before_are_no_finding() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)
            self.register_buffer("mask", torch.full((3, 3), -math.inf).triu(1))
            self.register_buffer("unknown", torch.tensor([math.nan, 1.0]))
            self.register_buffer("late", torch.zeros(3))

        def forward(self, x: Tensor) -> Tensor:
            self.late.fill_(-math.inf)
            return self.layer(x)

    assert first_of(lambda: recipe_of(Masked()), steps=3) is None


def test_observing_buffers_changes_no_bit() -> None:
    for name, model in MODELS.items():
        make = lambda model=model: recipe_of(model())  # noqa: E731
        expected = plain.train_plainly(plain.seeded(make), epochs=3)
        with Session(plain.seeded(make)) as session:
            plain.assert_same_outcome(expected, plain.train_observed(session, epochs=3))
            assert session.observer.errors == [], name
