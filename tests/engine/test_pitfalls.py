"""Known traps of capturing a training step, one by one, that no other file of tests is about.

The others: in-place layers, structured outputs, reused and tied layers, checkpointing in `test_capture`; what is not seen,
TorchScript and distributed tensors in `test_unseen`; torch.compile in `test_compiled`; copies, cycles and what is left behind
in `test_left_behind` and `test_unobserved`; numbers in `test_summaries`; clipping, scaling, windows, turns, LBFGS
in `test_window`; lost updates in `test_why`; schedulers in `test_schedule`; validation and the fused encoder in
`test_validation`; the phase table in `test_phases`; undoing in `test_failures`; going on bit for bit in `test_checkpoint`.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any

import oracle
import plain
import pytest
import torch
import zoo
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from gradscope import Recipe, Session
from gradscope.engine.capture.record import PhaseRecord
from gradscope.protocol import absences
from gradscope.protocol.subjects import SubjectKey, SubjectKind

X = torch.linspace(-1, 1, 5 * zoo.FEATURES).reshape(5, zoo.FEATURES).sin()
Y = torch.arange(5) % zoo.CLASSES


def recipe_of(model: nn.Module, **fields: Any) -> Recipe:
    return zoo.classifier(model, dataset=TensorDataset(X, Y), batch_size=5, shuffle=False, **fields)


def against_autograd(model: nn.Module) -> Session:
    expected = oracle.truth(model, lambda m: F.cross_entropy(m(X), Y))
    session = oracle.observe(recipe_of(model))
    oracle.assert_seen(session, expected)
    return session


def net(middle: Any, **parts: nn.Module) -> nn.Module:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Linear(zoo.FEATURES, zoo.FEATURES)
            for name, part in parts.items():
                self.add_module(name, part)
            self.head = nn.Linear(zoo.FEATURES, zoo.CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(middle(self, self.stem(x)))

    torch.manual_seed(0)
    return Net()


# ---------------------------------------------------------------------------------------------- hooks


class View(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(5, 2, -1)


def test_a_view_that_the_model_goes_on_with() -> None:
    against_autograd(net(lambda self, x: self.view(x).flatten(1).tanh(), view=View()))


def test_a_view_of_what_is_changed_in_place_later() -> None:
    """Its values are those of its own time, and no gradient of another value is passed off as its."""

    def middle(self: Any, x: Tensor) -> Tensor:
        x = x * 1
        self.view(x)
        x += 1
        return x

    model = net(middle, view=View())
    with torch.no_grad():
        then = model.stem(X).view(5, 2, -1)
    session = oracle.observe(recipe_of(model))
    oracle.assert_values(session, SubjectKind.ACTIVATION, ("view", 0, ""), then)
    _, backward = session.reports.values()
    assert backward.get("activation_grad", "view") is None
    assert {a.name: a.reason for a in backward.absent} == {"view": absences.NO_GRADIENT_OF_VIEW}


def test_fifty_calls_of_one_layer() -> None:
    def middle(self: Any, x: Tensor) -> Tensor:
        for _ in range(50):
            x = self.relu(self.cell(x)) + 0.1
        return x

    session = against_autograd(net(middle, cell=nn.Linear(zoo.FEATURES, zoo.FEATURES), relu=nn.ReLU(inplace=True)))
    forward, backward = session.reports.values()
    for report in (forward, backward):
        assert sorted(s.call for s in report.subjects if s.name == "cell") == list(range(50))


def test_leaves_of_every_structure_have_their_names() -> None:
    with Session(plain.seeded(zoo.ZOO["structured_outputs"])) as session:
        report = session.forward()
    assert [(s.call, s.leaf) for s in report.subjects if s.name == "inner"] == [
        (0, ".logits"),
        (0, ".twice"),
        (1, ".logits"),
        (1, ".hidden[0][0]"),
        (1, ".hidden[0][1]"),
        (2, ".logits"),
        (2, ".hidden[0]"),
        (2, ".hidden[1][0]"),
        (3, "[0]"),
        (3, "[1][0]"),
        (3, "[1][1].deep[0]"),
    ]


def test_odd_outputs_have_what_numbers_there_are() -> None:
    with Session(plain.seeded(zoo.ZOO["odd_outputs"])) as session:
        report = session.forward()
        found = {s.leaf: s for s in report.subjects if s.name == "odd"}
        assert list(found) == [".index", ".mask", ".fp8", ".half", ".empty", ".scalar", ".one"]
        assert found[".empty"].count == 0 and found[".empty"].mean is None
        assert found[".scalar"].shape == () and found[".scalar"].std == 0
        assert found[".one"].count == 1 and found[".one"].std == 0
        assert found[".fp8"].dtype == "float8_e4m3fn" and found[".fp8"].mean is not None
        assert session.observer.errors == []


def test_an_error_of_our_own_stays_out_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """It becomes a visible badge, and what else there is to see is seen."""
    expected = plain.train_plainly(plain.seeded(zoo.plain_mlp), steps=2)
    take = PhaseRecord.take

    def failing(self: PhaseRecord, slot: Any, *rest: Any) -> None:
        if slot.key.name == "1":
            raise ZeroDivisionError("ours")
        take(self, slot, *rest)

    monkeypatch.setattr(PhaseRecord, "take", failing)
    with Session(plain.seeded(zoo.plain_mlp)) as session:
        plain.train_observed(session, steps=2)
        plain.assert_same_outcome(expected, plain.outcome_of(session))
        assert session.observer.errors == ["Capture failed: ZeroDivisionError: ours"]
        assert session.forward().get("activation", "2") is not None


def test_the_fused_encoder_is_not_looked_into_and_says_so() -> None:
    with Session(plain.seeded(zoo.ZOO["frozen_encoder"])) as session:
        report = session.forward()
        assert {s.name for s in report.subjects} == {
            "",
            "head",
            "teacher",
            "teacher.layers.0",
            "teacher.layers.1",
        }
        told = {a.name: a.reason for a in report.absent}
        assert told and set(told.values()) == {absences.FUSED}
        assert all(name.startswith("teacher.layers.") for name in told)


@pytest.mark.parametrize("why", ["train mode", "gradients", "a hook of the user's"])
def test_an_encoder_that_is_not_fused_is_looked_into(why: str) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(16 * 4, zoo.CLASSES))
    if why == "a hook of the user's":
        layer.norm1.register_forward_hook(lambda *_: None)
    data = TensorDataset(torch.randn(5, 4, 16), Y)

    def step(model: Any, batch: Any) -> Tensor:
        model[0].train(why == "train mode")
        with torch.set_grad_enabled(why == "gradients"):
            seen = model[0](batch[0])
        return F.cross_entropy(model[2](model[1](seen)), batch[1])

    with Session(zoo.classifier(model, dataset=data, batch_size=5, training_step=step)) as session:
        report = session.forward()
        assert report.get("activation", "0.linear1") is not None
        assert absences.FUSED not in {a.reason for a in report.absent}


def test_an_encoder_that_is_broken_off_has_its_hooks_again() -> None:
    class Stop(BaseException):
        pass

    class Stops(nn.Module):
        is_armed = True

        def forward(self, x: Tensor) -> Tensor:
            if self.is_armed:
                raise Stop
            return x

    recipe = plain.seeded(zoo.ZOO["frozen_encoder"])
    model: Any = recipe.model
    layer = model.teacher.layers[0]
    # Not fused, which torch finds out only inside.
    layer.activation, layer.activation_relu_or_gelu = Stops(), 0
    with Session(recipe) as session:
        before = [len(module._forward_hooks) for module in model.modules()]
        with pytest.raises(Exception, match="Stop"):
            session.forward()
        assert [len(module._forward_hooks) for module in model.modules()] == before
        Stops.is_armed = False
        assert session.forward().get("activation", "head") is not None
    assert not nn.modules.module._global_forward_hooks


@pytest.mark.parametrize("norm", ["weight_norm", "spectral_norm"])
def test_parametrized_weights_move_by_their_originals(norm: str) -> None:
    with Session(plain.seeded(zoo.ZOO[norm])) as session:
        _, backward, step = session.next_batch()
    names = {s.name for s in step.subjects if s.kind == "update"}
    originals = {name for name in names if "parametrizations.weight.original" in name}
    assert originals and "0.weight" not in names
    for name in originals:
        assert backward.get("grad", name) is not None
        update = step.get("update", name)
        assert update is not None and update.l2 and update.l2 > 0


def test_lazy_parameters_before_and_after_their_first_forward() -> None:
    with Session(plain.seeded(zoo.ZOO["lazy"])) as session:
        assert {p.dtype for p in session.info.parameters} == {"uninitialised"}
        initial = [session.observer.tables.subjects.rows[n].key for n in session.initial_parameters().subjects]
        assert {key.name for key in initial} == {"1.num_batches_tracked"}, "a buffer that has a shape from the start"
        forward, backward, _ = session.next_batch()
        assert forward.get("activation", "0").shape == (zoo.BATCH, 8)
        assert backward.get("grad", "3.weight").shape == (zoo.CLASSES, 8)
        assert session.describe().parameters[0].shape == (8, zoo.FEATURES)


def test_no_gradient_and_a_gradient_of_zero_are_told_apart() -> None:
    """AdamW moves a parameter (by its decay) on zeros, and not on None."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.zero, self.none = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
            self.head = nn.Linear(zoo.FEATURES, zoo.CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x) + 0 * self.zero.sum()

    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    with Session(recipe_of(model, optimizer=optimizer)) as session:
        _, backward, step = session.next_batch()
    zero = backward.get("grad", "zero")
    assert zero is not None and zero.zero == 3 and backward.get("grad", "none") is None
    assert {a.name: a.reason for a in backward.absent} == {"none": absences.NO_GRADIENT}
    moved = {name: step.get("update", name).zero for name in ("zero", "none")}
    assert moved == {"zero": 0, "none": 3}


@pytest.mark.parametrize("drop", [True, False])
def test_an_optimizer_fused_into_the_backward(drop: bool) -> None:
    """The user's hook steps at once, and drops the gradient or empties it: what it was is seen all the same."""
    torch.manual_seed(0)
    model = zoo.mlp()
    twin = copy.deepcopy(model)
    F.cross_entropy(twin(X), Y).backward()
    optimizers = {parameter: torch.optim.SGD([parameter], lr=0.1) for parameter in model.parameters()}

    def step_at_once(parameter: Tensor) -> None:
        optimizers[parameter].step()
        optimizers[parameter].zero_grad(set_to_none=drop)

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(step_at_once)
    with Session(recipe_of(model)) as session:
        session.forward()
        backward = session.backward()
        assert session.observer.errors == []
    expected = {name: p.grad for name, p in twin.named_parameters()}
    if not drop:
        expected = {name: torch.zeros_like(gradient) for name, gradient in expected.items()}
    for name, gradient in expected.items():
        subject = backward.get("grad", name)
        assert subject is not None and subject.l2 == pytest.approx(gradient.norm().item(), rel=1e-6)
    assert not [a for a in backward.absent if a.kind == "grad"]
    # One moment each, though it is looked at twice.
    places = [session.observer.tables.places.rows[number] for number in backward.raw.places.tolist()]
    assert sorted(place.layer for place in places if place.event == "gradient") == sorted(expected)


def test_a_gradient_that_a_hook_changes_behind_its_version() -> None:
    """`.grad.data.mul_()` leaves no mark in the tensor's version."""
    with Session(plain.seeded(zoo.ZOO["own_hooks"])) as session:
        session.forward()
        backward = session.backward()
        for name, parameter in session.recipe.model.named_parameters():
            subject = backward.get("grad", name)
            assert subject.l2 == pytest.approx(parameter.grad.norm().item(), rel=1e-6), name


# ---------------------------------------------------------------------------------------------- optimizer


def test_parameters_that_are_replaced_are_missed_by_the_optimizer_and_it_is_said() -> None:
    torch.manual_seed(0)
    model = zoo.mlp()
    with Session(recipe_of(model)) as session:
        assert session.next_batch()[2].notes == () and session.info.warnings == ()
        model[2] = nn.Linear(8, zoo.CLASSES)
        for _ in range(2):
            step = session.next_batch()[2]
            assert len(step.notes) == 2
            assert "No optimizer holds 2.bias, 2.weight" in step.notes[0]
            assert "holds 2 tensors that have left the model" in step.notes[1]
            assert step.get("update", "2.weight").l2 == 0


@pytest.mark.parametrize("width", [9, 500])
def test_a_parameter_that_is_replaced_inside_the_step(width: int) -> None:
    """The step tells of what is there after it, and that there is nothing to compare it with."""
    torch.manual_seed(0)
    model = zoo.mlp()
    recipe = recipe_of(model)

    def widen(*_: Any) -> None:
        model[0], model[2] = nn.Linear(zoo.FEATURES, width), nn.Linear(width, zoo.CLASSES)

    handle = recipe.optimizer.register_step_post_hook(widen)
    with Session(recipe) as session:
        step = session.next_batch()[2]
        handle.remove()
        after = session.next_batch()[2]
        assert session.observer.errors == []
        assert session.values(SubjectKey(SubjectKind.PARAMETER, "0.weight")) is not None
    shape = (width, zoo.FEATURES)
    assert step.get("parameter", "0.weight").shape == after.get("parameter", "0.weight").shape == shape
    # No optimizer holds it.
    assert step.get("parameter", "0.weight").l2 == pytest.approx(after.get("parameter", "0.weight").l2, rel=1e-6)
    assert step.get("update", "0.weight") is None and after.get("update", "0.weight").l2 == 0
    reasons = {a.name: a.reason for a in step.absent if a.kind == "update"}
    assert "0.weight" in reasons and reasons["0.weight"] == absences.REPLACED


def test_what_was_told_at_the_start_is_not_told_again() -> None:
    torch.manual_seed(0)
    model = zoo.mlp()
    with Session(recipe_of(model, optimizer=torch.optim.SGD(model[0].parameters(), lr=0.1))) as session:
        assert "does not hold 2.weight" in session.info.warnings[0]
        assert session.next_batch()[2].notes == ()


@pytest.mark.parametrize("scale", [1e-3, 100.0])
def test_adams_first_step_does_not_grow_with_the_gradient(scale: float) -> None:
    """So the size of a gradient must not be shown as that of an update."""
    torch.manual_seed(0)
    model = nn.Linear(zoo.FEATURES, zoo.CLASSES)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    recipe = recipe_of(model, optimizer=optimizer, loss=lambda output, target: F.cross_entropy(output, target) * scale)
    with Session(recipe) as session:
        _, backward, step = session.next_batch()
    update = step.get("update", "weight")
    assert update.max == pytest.approx(0.01, rel=0.02) and update.min == pytest.approx(-0.01, rel=0.02)
    assert backward.get("grad", "weight").l2 == pytest.approx(scale * backward_norm(), rel=1e-4)


def backward_norm() -> float:
    torch.manual_seed(0)
    model = nn.Linear(zoo.FEATURES, zoo.CLASSES)
    F.cross_entropy(model(X), Y).backward()
    return model.weight.grad.norm().item()


# ---------------------------------------------------------------------------------------------- rough code


def test_user_code_that_clears_all_hooks_is_no_error() -> None:
    def step(model: Any, batch: Any) -> Tensor:
        for module in model.modules():
            module._forward_hooks.clear()
        return F.cross_entropy(model(batch[0]), batch[1])

    torch.manual_seed(0)
    with Session(recipe_of(zoo.mlp(), training_step=step)) as session:
        forward, backward, _ = session.next_batch()
        assert session.observer.errors == []
        assert forward.subjects == []
        assert {a.reason for a in forward.absent} == {absences.RAISED}
        assert backward.get("grad", "0.weight") is not None


def test_no_warning_of_torchs_is_caused_by_observing() -> None:
    """A warning that a plain loop would not give; pytest makes an error of each, and we would swallow it."""
    for name in ("plain_mlp", "odd_outputs", "views", "structured_outputs", "functorch_inside", "packed_sequence"):
        with warnings.catch_warnings(record=True) as caught, Session(plain.seeded(zoo.ZOO[name])) as session:
            warnings.simplefilter("always")
            session.next_batch()
        assert [str(w.message) for w in caught] == [], name


@pytest.mark.parametrize("capture", ["full", "norms"])
def test_a_tensor_without_memory_is_told_and_not_read(capture: str) -> None:
    class Freed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            aside = x.detach().clone()
            aside.untyped_storage().resize_(0)
            return aside

    class Nothing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch._efficientzerotensor((4, 5))

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.freed, self.nothing, self.head = Freed(), Nothing(), nn.Linear(zoo.FEATURES, zoo.CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            self.freed(x)
            self.nothing(x)
            return self.head(x)

    with Session(recipe_of(Model()), capture=capture) as session:
        report = session.forward()
        assert session.observer.errors == []
    assert {a.name: a.reason for a in report.absent if a.name == "freed"} == {"freed": "its memory was given back"}
    nothing = report.get("activation", "nothing")
    assert nothing is not None and nothing.count == 20 and nothing.l2 == 0


def test_a_parameter_whose_numbers_change_their_type_in_a_step_has_no_update() -> None:
    class Widening(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            super().step(closure)
            for parameter in self.param_groups[0]["params"]:
                parameter.data = parameter.data.double()

    model = nn.Linear(zoo.FEATURES, zoo.CLASSES)
    with Session(recipe_of(model, optimizer=Widening(model.parameters(), lr=0.1))) as session:
        step = session.next_batch()[2]
        assert session.observer.errors == []
    assert step.get("parameter", "weight").dtype == "float64"
    assert step.get("update", "weight") is None
    assert {a.reason for a in step.absent if a.kind == "update"} == {absences.REPLACED}
