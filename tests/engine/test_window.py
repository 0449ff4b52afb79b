"""Accumulation, clipping, precision, several optimizers and closures: bit for bit a plain loop, and told as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import plain
import pytest
import torch
import zoo
from torch import Tensor, nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, IterableDataset

from gradscope import Recipe, Session
from gradscope.protocol.failure import BadInput, UserCodeFailed
from gradscope.protocol.phases import Phase, Rest, SubStep
from gradscope.protocol.subjects import SubjectKey, SubjectKind


def check(make: Callable[[], Recipe], *, seed: int = 0, epochs: int = 2, steps: int | None = None) -> plain.Outcome:
    expected = plain.train_plainly(plain.seeded(make, seed), seed=seed, epochs=epochs, steps=steps)
    with Session(plain.seeded(make, seed), seed=seed) as session:
        found = plain.train_observed(session, epochs=epochs, steps=steps)
        assert session.observer.errors == []
    plain.assert_same_outcome(expected, found)
    return found


class Stream(IterableDataset[tuple[Tensor, Tensor]]):
    """No length; draws from torch's global generator as it goes."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for label in range(zoo.SAMPLES):
            yield torch.randn(zoo.FEATURES), torch.tensor(label % zoo.CLASSES)


def with_dropout(**fields: Any) -> Recipe:
    model = nn.Sequential(nn.Linear(zoo.FEATURES, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, zoo.CLASSES))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.9)
    return zoo.classifier(model, optimizer=optimizer, scheduler=scheduler, **{"batch_size": 4, **fields})


# -------------------------------------------------------------------------------------------------- accumulation


@pytest.mark.parametrize("unit", ["step", "epoch"])
@pytest.mark.parametrize("accumulate", [2, 3, 5, 8])
def test_accumulation_is_a_plain_loop(accumulate: int, unit: Any) -> None:
    # 5 batches an epoch: windows of 2, 2, 1; 3, 2; 5; and a window that is longer than the epoch.
    check(lambda: with_dropout(accumulate=accumulate, scheduler_unit=unit), epochs=3)


@pytest.mark.parametrize("accumulate", [2, 3])
def test_accumulation_without_a_length(accumulate: int) -> None:
    check(lambda: with_dropout(dataset=Stream(), accumulate=accumulate, scheduler_unit="epoch"), epochs=3)


def test_a_window_is_counted() -> None:
    with Session(plain.seeded(lambda: with_dropout(accumulate=3))) as session:
        seen = []
        for _ in range(2 * 7):
            report = session.advance()
            position = session.position
            seen.append((report.phase.value[0], report.micro, report.raw.window, position.rest.value, position.batch))
    assert seen[:9] == [
        ("f", 0, 3, "forward", 0),
        ("b", 0, 3, "accumulating", 1),
        ("f", 1, 3, "forward", 1),
        ("b", 1, 3, "accumulating", 2),
        ("f", 2, 3, "forward", 2),
        ("b", 2, 3, "backward", 2),
        ("s", 2, 3, "ready", 3),
        ("f", 0, 2, "forward", 3),
        ("b", 0, 2, "accumulating", 4),
    ]
    assert seen[11] == ("s", 1, 2, "ready", 0)


def test_gradients_add_up_and_the_loss_is_not_divided() -> None:
    def make(**fields: Any) -> Recipe:
        return zoo.classifier(zoo.mlp(), shuffle=False, batch_size=4, **fields)

    recipe = plain.seeded(lambda: make(accumulate=2))
    single = plain.seeded(make)
    losses, sums = [], {}
    for x, y in [batch for _, batch in zip(range(2), plain.plain_loader(single, 0), strict=False)]:
        loss = single.loss(single.model(x), y)  # type: ignore[misc, operator]
        losses.append(loss.item())
        (loss / 2).backward()
        sums = {name: p.grad.clone() for name, p in single.model.named_parameters()}  # type: ignore[union-attr]
    with Session(recipe) as session:
        reports = session.next_batch()
        assert [r.loss for r in reports] == [losses[0], losses[0], losses[1], losses[1], sum(losses) / 2]
        for name, gradient in sums.items():
            assert torch.equal(session.values(SubjectKey(SubjectKind.GRAD, name)), gradient)
        assert session.history[0].micro_batches == 2


def test_what_cannot_be_done_inside_a_window() -> None:
    with Session(plain.seeded(lambda: with_dropout(accumulate=2))) as session:
        session.forward()
        session.backward()
        assert session.position.rest is Rest.ACCUMULATING
        with pytest.raises(BadInput, match="whole window"):
            session.step()
        with pytest.raises(BadInput, match="next micro-batch"):
            session.backward()


def test_a_failed_backward_inside_a_window_gives_the_gradients_back() -> None:
    def make() -> Recipe:
        return with_dropout(accumulate=3)

    expected = plain.train_plainly(plain.seeded(make), steps=3)
    with Session(plain.seeded(make)) as session:
        session.forward()
        session.backward()
        session.forward()
        fail = session.observer._model[0].weight.register_hook(_raise)  # type: ignore[index, union-attr]
        with pytest.raises(Exception, match="on purpose"):
            session.backward()
        fail.remove()
        assert session.position.rest is Rest.ACCUMULATING and session.position.micro == 1
        found = plain.train_observed(session, steps=3)
    plain.assert_same(expected.state, found.state)


def _raise(gradient: Tensor) -> None:
    raise RuntimeError("on purpose")


# -------------------------------------------------------------------------------------------------- zero grad


def test_manual_zero_grad_adds_up_and_says_so() -> None:
    def make() -> Recipe:
        return zoo.classifier(zoo.mlp(), zero_grad="manual", batch_size=4)

    check(make)
    with Session(plain.seeded(make)) as session:
        assert SubStep.ZERO_GRAD not in session.info.substeps
        first = session.next_batch()
        second = session.next_batch()
        assert first[1].notes == ()
        assert "adds to gradients of an earlier step (0.weight, 0.bias, 2.weight and 1 more)" in second[1].notes[0]
        session.zero_grad()
        assert session.next_batch()[1].notes == ()


def test_a_gradient_that_nobody_clears_is_told() -> None:
    def make() -> Recipe:
        model = zoo.mlp()
        return zoo.classifier(model, optimizer=torch.optim.SGD(model[0].parameters(), lr=0.1))

    with Session(plain.seeded(make)) as session:
        assert session.next_batch()[1].notes == ()
        assert "2.weight, 2.bias add up" in session.next_batch()[1].notes[0]


# -------------------------------------------------------------------------------------------------- clipping


@pytest.mark.parametrize("fields", [{"clip_norm": 0.05}, {"clip_value": 0.01}, {"clip_norm": 0.5, "clip_value": 0.02}])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_clipping_is_a_plain_loop(fields: dict[str, float], accumulate: int) -> None:
    check(lambda: with_dropout(accumulate=accumulate, **fields))


def test_what_clipping_did() -> None:
    with Session(plain.seeded(lambda: zoo.classifier(zoo.mlp(), clip_norm=0.05))) as session:
        assert SubStep.CLIP in session.info.substeps
        _, backward, step = session.next_batch()
        clip = step.clip
        assert clip is not None and clip.coefficient is not None
        assert clip.norm == pytest.approx(backward.total_l2(SubjectKind.GRAD), rel=1e-5)
        assert clip.coefficient == pytest.approx(0.05 / clip.norm, rel=1e-4)
        assert clip.norm_after == pytest.approx(0.05, rel=1e-4)
        norms = {s.name: s.l2 for s in backward.subjects if s.kind == "grad"}
        assert clip.dominant == max(norms, key=lambda name: norms[name] or 0)
        assert clip.dominant_share == pytest.approx((norms[clip.dominant] or 0) ** 2 / clip.norm**2, rel=1e-4)
        before = session.values(SubjectKey(SubjectKind.GRAD, "0.weight"))
        after = session.values(SubjectKey(SubjectKind.CLIPPED_GRAD, "0.weight"))
        assert torch.allclose(before * clip.coefficient, after)
        summary = backward.get("grad", "0.weight")
        assert summary is not None and summary.l2 == pytest.approx(float(before.norm()), rel=1e-5)
        assert torch.equal(after, session.recipe.model[0].weight.grad)  # type: ignore[index]


def test_no_clipping_leaves_the_coefficient_at_one() -> None:
    with Session(plain.seeded(lambda: zoo.classifier(zoo.mlp(), clip_norm=1e6))) as session:
        clip = session.next_batch()[2].clip
        assert clip is not None and clip.coefficient == 1.0 and clip.norm_after == pytest.approx(clip.norm, rel=1e-5)


def test_a_gradient_that_is_not_finite_is_named_before_it_spreads() -> None:
    def make() -> Recipe:
        model = zoo.mlp()
        model[2].weight.register_hook(lambda gradient: gradient.index_fill(0, torch.tensor([1]), torch.nan))
        return zoo.classifier(model, clip_norm=1.0)

    with Session(plain.seeded(make)) as session:
        session.forward()
        report = session.backward()
        assert report.first_nonfinite is not None
        assert report.first_nonfinite.title == "First NaN: step 0, backward, gradient of 2.weight"
        assert "8 NaN of 24" in report.first_nonfinite.sentence
        step = session.step()
        after = step.get("clipped_grad", "0.weight")
        assert after is not None and after.nan == after.count


def test_a_failed_step_gives_the_unclipped_gradients_back() -> None:
    def make() -> Recipe:
        return with_dropout(clip_norm=0.01, precision="fp16")

    expected = plain.train_plainly(plain.seeded(make), steps=2)
    recipe = plain.seeded(make)
    with Session(recipe) as session:
        session.forward()
        session.backward()
        gradients = {name: p.grad.clone() for name, p in recipe.model.named_parameters()}  # type: ignore[union-attr]
        scheduler = recipe.scheduler
        step, scheduler.step = scheduler.step, lambda: 1 / 0  # type: ignore[union-attr, method-assign]
        with pytest.raises(Exception, match="division by zero"):
            session.step()
        scheduler.step = step  # type: ignore[union-attr, method-assign]
        for name, parameter in recipe.model.named_parameters():  # type: ignore[union-attr]
            assert torch.equal(parameter.grad, gradients[name])
        found = plain.train_observed(session, steps=2)
    plain.assert_same(expected.state, found.state)
    assert expected.scales[-1] == found.scales[-1]


# -------------------------------------------------------------------------------------------------- precision


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("fields", [{}, {"accumulate": 2, "clip_norm": 0.1}])
def test_precision_is_a_plain_loop(precision: Any, fields: dict[str, Any]) -> None:
    check(lambda: with_dropout(precision=precision, **fields), epochs=3)


def overflowing() -> Recipe:
    """The scale of 65,536 is too much for the first steps."""
    model = nn.Sequential(nn.Linear(zoo.FEATURES, 8), nn.ReLU(), nn.Linear(8, zoo.CLASSES))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return (output.float() - target[:, None]).square().mean() * 3

    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)
    return zoo.classifier(model, optimizer=optimizer, scheduler=scheduler, loss=loss, precision="fp16")


def test_a_skipped_step_is_told_and_schedules_nothing() -> None:
    found = check(overflowing, epochs=3)
    assert found.skipped[:3] == [True, True, False]
    with Session(plain.seeded(overflowing)) as session:
        _, backward, step = session.next_batch()
        assert step.is_skipped and step.scale == 65536.0
        assert "the gradient scaler will leave this step out" in backward.notes[0]
        assert step.total_l2(SubjectKind.UPDATE) == 0.0
        assert session.next_batch()[0].lr == (0.01,)
        while session.history[-1].is_skipped:
            reports = session.next_batch()
        assert reports[2].scale is not None and reports[2].scale < 65536.0 and not reports[2].is_skipped


def test_gradients_are_shown_without_the_loss_scale() -> None:
    def make() -> Recipe:
        return zoo.classifier(zoo.mlp(), precision="fp16")

    recipe = plain.seeded(make)
    x, y = next(iter(plain.plain_loader(recipe, 0)))
    with torch.autocast("cpu", torch.float16):
        loss = recipe.loss(recipe.model(x), y)  # type: ignore[misc, operator]
    (loss * 65536).backward()
    expected = {name: p.grad / 65536 for name, p in recipe.model.named_parameters()}  # type: ignore[union-attr]

    with Session(plain.seeded(make)) as session:
        _, report, _ = session.next_batch()
        for subject in report.subjects:
            assert "divided by the loss scale" in subject.note
            if subject.kind == "grad":
                assert subject.l2 == pytest.approx(float(expected[subject.name].norm()), rel=1e-5)
                assert torch.equal(session.values(subject.key), expected[subject.name])
            else:
                # An activation's gradient is a half; what is kept is not rounded to one again.
                kept = session.values(subject.key)
                assert kept.dtype == torch.float32 and subject.l2 == pytest.approx(float(kept.norm()), rel=1e-5)


# -------------------------------------------------------------------------------------------------- optimizers


def lbfgs(**fields: Any) -> Recipe:
    model = nn.Sequential(nn.Linear(zoo.FEATURES, 8), nn.Dropout(0.2), nn.BatchNorm1d(8), nn.Linear(8, zoo.CLASSES))
    options = {"lr": 0.1, "max_iter": 4, "line_search_fn": fields.pop("line_search_fn", None)}
    return zoo.classifier(model, optimizer=torch.optim.LBFGS(model.parameters(), **options), **fields)


@pytest.mark.parametrize("fields", [{}, {"line_search_fn": "strong_wolfe"}, {"accumulate": 2}, {"clip_norm": 0.1}])
def test_lbfgs_through_its_closure(fields: dict[str, Any]) -> None:
    check(lambda: lbfgs(**fields))


def test_evaluations_are_counted_and_not_observed() -> None:
    with Session(plain.seeded(lbfgs)) as session:
        step = session.next_batch()[2]
        assert step.raw.evaluations > 1
        # Its state is of all parameters together; what an evaluation moves in buffers stays.
        assert {s.kind for s in step.subjects} == {"parameter", "update", "buffer"}


def test_a_failed_step_of_lbfgs_is_undone() -> None:
    expected = plain.train_plainly(plain.seeded(lbfgs), steps=3)
    recipe = plain.seeded(lbfgs)
    with Session(recipe) as session:
        session.next_batch()
        session.forward()
        session.backward()
        calls = []

        def fail_late(module: nn.Module, args: Any, output: Any) -> None:
            calls.append(1)
            if len(calls) == 3:
                raise RuntimeError("on purpose")

        handle = recipe.model[0].register_forward_hook(fail_late)  # type: ignore[index]
        with pytest.raises(Exception, match="on purpose"):
            session.step()
        handle.remove()
        found = plain.train_observed(session, steps=3)
    plain.assert_same(expected.state, found.state)


def test_sparse_adam() -> None:
    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(30, zoo.CLASSES, sparse=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.table((x.abs() * 5).long().clamp(max=29)).sum(1)

    def make() -> Recipe:
        model = Bag()
        return zoo.classifier(model, optimizer=torch.optim.SparseAdam(list(model.parameters()), lr=0.1))

    check(make)
    check(lambda: _with(make(), accumulate=2, batch_size=4))


def _with(recipe: Recipe, **fields: Any) -> Recipe:
    from dataclasses import replace

    return replace(recipe, **fields)


class Gan(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, zoo.FEATURES))
        self.discriminator = nn.Sequential(nn.Linear(zoo.FEATURES, 8), nn.LeakyReLU(), nn.Linear(8, 1))


def gan(**fields: Any) -> Recipe:
    def train_discriminator(model: Any, batch: Any) -> Tensor:
        real = model.discriminator(batch[0])
        fake = model.discriminator(model.generator(torch.randn(len(batch[0]), 4)).detach())
        return nn.functional.softplus(-real).mean() + nn.functional.softplus(fake).mean()

    def train_generator(model: Any, batch: Any) -> Tensor:
        return nn.functional.softplus(-model.discriminator(model.generator(torch.randn(len(batch[0]), 4)))).mean()

    model = Gan()
    d = torch.optim.Adam(model.discriminator.parameters(), lr=0.01)
    g = torch.optim.SGD(model.generator.parameters(), lr=0.02, momentum=0.5)
    return Recipe(
        model=model,
        dataset=zoo.vectors(),
        optimizer={"discriminator": d, "generator": g},
        training_step={"discriminator": train_discriminator, "generator": train_generator},
        scheduler={"generator": lr_scheduler.ExponentialLR(g, 0.9)},
        batch_size=zoo.BATCH,
        **fields,
    )


@pytest.mark.parametrize(
    "fields", [{}, {"scheduler_unit": "epoch"}, {"clip_norm": 0.1}, {"precision": "fp16"}, {"precision": "bf16"}]
)
def test_two_optimizers_take_turns(fields: dict[str, Any]) -> None:
    check(lambda: gan(**fields))


def test_a_turn_is_told() -> None:
    with Session(plain.seeded(gan)) as session:
        assert session.info.optimizers == ("discriminator", "generator")
        assert [group.optimizer for group in session.info.groups] == ["discriminator", "generator"]
        reports = session.next_batch()
        assert [(r.optimizer, r.phase, r.step, r.batch) for r in reports] == [
            (name, phase, step, 0) for step, name in enumerate(session.info.optimizers) for phase in Phase
        ]
        assert session.position.batch == 1 and session.position.optimizer == "discriminator"
        assert all(r.notes == () for r in session.next_batch())
        # The generator's rate moves at every second step.
        ahead = session.schedule(5).rates
        assert ahead[1].tolist() == pytest.approx([0.0162, 0.0162, 0.01458, 0.01458, 0.013122])


@pytest.mark.parametrize("options", [{"foreach": True}, {"fused": True}, {"foreach": False}])
def test_variants_of_the_implementation(options: dict[str, bool]) -> None:
    def make() -> Recipe:
        model = zoo.mlp()
        groups = [{"params": model[0].parameters(), "weight_decay": 0.1}, {"params": model[2].parameters(), "lr": 0.1}]
        return zoo.classifier(model, optimizer=torch.optim.AdamW(groups, lr=0.01, **options), clip_norm=0.3)

    check(make)


ALL_OPTIMIZERS = sorted(
    name
    for name in torch.optim.__all__
    if isinstance(getattr(torch.optim, name, None), type)
    and issubclass(getattr(torch.optim, name), torch.optim.Optimizer)
    and name not in ("Optimizer", "LBFGS", "SparseAdam")
)


@pytest.mark.parametrize("name", ALL_OPTIMIZERS)
def test_every_optimizer_of_torch(name: str) -> None:
    def make() -> Recipe:
        # Muon takes matrices only.
        model = nn.Sequential(nn.Linear(zoo.FEATURES, 8, bias=False), nn.ReLU(), nn.Linear(8, zoo.CLASSES, bias=False))
        return zoo.classifier(model, optimizer=getattr(torch.optim, name)(model.parameters(), lr=0.01), accumulate=2)

    check(make)


def test_a_loader_of_ones_own_with_workers() -> None:
    def make() -> Recipe:
        generator = torch.Generator().manual_seed(5)
        loader = DataLoader(zoo.vectors(), 4, shuffle=True, num_workers=2, generator=generator)
        return zoo.classifier(zoo.mlp(), dataset=loader, accumulate=2)

    check(make)


# -------------------------------------------------------------------------------------------------- bad recipes


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"accumulate": 0}, "accumulate=...) is 0; expected a whole number from 1"),
        ({"zero_grad": "never"}, """is 'never'; expected "auto" or "manual" """.strip()),
        ({"clip_norm": -1.0}, "clip_norm=...) is -1.0; expected a number above 0"),
        ({"clip_value": True}, "clip_value=...) is True; expected a number"),
        ({"precision": "fp8"}, """is 'fp8'; expected "bf16", "fp16" or None"""),
        ({"metrics": {"accuracy": len}}, "metrics=...) is given, and no validation"),
        ({"validation": "data"}, "validation=...) is 'data'; expected a map-style"),
        ({"best_metric": "loss"}, "expected None, because there is no validation"),
        ({"scheduler_metric": "accuracy"}, """expected one of 'train_loss' ("loss" and metrics need a validation)"""),
        ({"training_step": {"a": len}}, "training_step=...) is a dict; expected a function"),
    ],
)
def test_bad_fields(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput) as caught:
        zoo.classifier(zoo.mlp(), **fields)
    assert sentence in str(caught.value)


def test_what_does_not_go_together() -> None:
    with pytest.raises(BadInput, match=r"accumulate=2.* with several optimizers"):
        gan(accumulate=2)
    with pytest.raises(BadInput, match="takes no closure"):
        lbfgs(precision="fp16")
    with pytest.raises(BadInput, match=r"validation_step=.* is missing"):
        gan(validation=zoo.vectors())
    with pytest.raises(BadInput, match="has none for the optimizer 'generator'"):
        _with(gan(), training_step={"discriminator": len})
    with pytest.raises(BadInput, match="has the name 'judge'"):
        _with(gan(), scheduler={"judge": None})


@pytest.mark.parametrize(
    ("layers", "told"), [(1, "and that of 1 more parameter are"), (2, "and those of 3 more parameters are")]
)
def test_other_gradients_that_are_not_finite_are_counted(layers: int, told: str) -> None:
    def make() -> Recipe:
        model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(layers)))
        data = torch.utils.data.TensorDataset(torch.ones(4, 4), torch.zeros(4, 4))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return Recipe(
            model=model,
            dataset=data,
            loss=lambda output, target: (output.float() * 1e36).mean(),
            optimizer=optimizer,
            batch_size=4,
            precision="fp16",
        )

    with Session(plain.seeded(make)) as session:
        session.forward()
        assert told in session.backward().notes[0]


class Sharp(torch.optim.Optimizer):
    """Sharpness-aware minimisation: goes up to where the loss is steepest before it asks for the gradient again."""

    def __init__(self, parameters: Any, *, moves_first: bool) -> None:
        super().__init__(parameters, {"lr": 0.1})
        self._moves_first = moves_first

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        own = self.param_groups[0]["params"]
        if not self._moves_first:
            assert closure is not None, "this needs a closure"
            with torch.enable_grad():
                closure()
        shifts = [0.05 * p.grad / (p.grad.norm() + 1e-12) for p in own]
        for p, shift in zip(own, shifts, strict=True):
            p.add_(shift)
            self.state[p]["seen"] = self.state[p].get("seen", 0) + 1
        if self._moves_first:
            with torch.enable_grad():
                closure()
        with torch.enable_grad():
            loss = closure()
        for p, shift in zip(own, shifts, strict=True):
            p.sub_(shift).sub_(0.1 * p.grad)
        return loss


class Sharper(Sharp):
    """The same, and says so."""

    def step(self, closure: Any) -> Any:
        return super().step(closure)


def sharp(kind: type[Sharp], moves_first: bool, **fields: Any) -> Recipe:
    model = nn.Sequential(nn.Linear(zoo.FEATURES, 8), nn.Dropout(0.2), nn.BatchNorm1d(8), nn.Linear(8, zoo.CLASSES))
    return zoo.classifier(model, optimizer=kind(model.parameters(), moves_first=moves_first), batch_size=4, **fields)


@pytest.mark.parametrize("moves_first", [False, True])
@pytest.mark.parametrize("fields", [{}, {"accumulate": 2}, {"clip_norm": 0.1}])
def test_a_closure_that_could_be_left_out_and_is_needed(moves_first: bool, fields: dict[str, Any]) -> None:
    with Session(plain.seeded(lambda: sharp(Sharper, moves_first, **fields))) as session:
        expected = plain.train_observed(session, steps=5)
    with Session(plain.seeded(lambda: sharp(Sharp, moves_first, **fields))) as session:
        found = plain.train_observed(session, steps=5)
        assert session.reports[Phase.STEP].raw.evaluations == 2
        assert session.reports[Phase.STEP].raw.notes == ()
    plain.assert_same_outcome(expected, found)


def test_without_copies_a_closure_is_given_where_nothing_has_moved() -> None:
    with Session(plain.seeded(lambda: sharp(Sharp, False)), capture="off") as session:
        session.next_batch()
        assert session.position.step == 1
    with (
        Session(plain.seeded(lambda: sharp(Sharp, True)), capture="off") as session,
        pytest.raises(UserCodeFailed, match=r"Sharp.step\(\) was called without a closure"),
    ):
        session.next_batch()
