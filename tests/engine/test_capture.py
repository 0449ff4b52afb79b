"""Autograd as oracle: every layer's output and its gradient, every parameter's gradient and update."""

from __future__ import annotations

import copy
from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import oracle
import plain
import pytest
import torch
import zoo
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from torch.utils.data import TensorDataset

from gradscope import Recipe, Session
from gradscope.engine.capture.awaited import AwaitedGradients
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import SubjectKey, SubjectKind

X = torch.linspace(-1, 1, 5 * zoo.FEATURES).reshape(5, zoo.FEATURES).sin()
Y = torch.arange(5) % zoo.CLASSES


def recipe_of(model: nn.Module, step: Any = None) -> Recipe:
    """One batch, always the same."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    return zoo.classifier(
        model, dataset=TensorDataset(X, Y), optimizer=optimizer, batch_size=5, shuffle=False, training_step=step
    )


def loss_of(model: nn.Module) -> Tensor:
    return F.cross_entropy(model(X), Y)


def check(model: nn.Module, leaves: oracle.Leaves = oracle.bare_tensor) -> Session:
    expected = oracle.truth(model, loss_of, leaves)
    session = oracle.observe(recipe_of(model))
    oracle.assert_seen(session, expected)
    return session


class Looped(nn.Module):
    """One layer five times."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.Linear(zoo.FEATURES, zoo.FEATURES)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(zoo.FEATURES, zoo.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(5):
            x = self.relu(self.cell(x)) + 0.1
        return self.head(x)


class KeywordsOnly(nn.Module):
    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(zoo.FEATURES, zoo.CLASSES)

        def forward(self, *, x: Tensor, scale: float = 1.0) -> Tensor:
            return self.linear(x) * scale

    def __init__(self) -> None:
        super().__init__()
        self.inner = self.Inner()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x=x, scale=2.0)


class OwnParameter(nn.Module):
    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(zoo.CLASSES, zoo.FEATURES))

        def forward(self) -> Tensor:
            return self.weight

    def __init__(self) -> None:
        super().__init__()
        self.table = self.Table()

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.table().T


class Recursive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(zoo.FEATURES, zoo.FEATURES)
        self.head = nn.Linear(zoo.FEATURES, zoo.CLASSES)

    def forward(self, x: Tensor, depth: int = 2) -> Tensor:
        return self.head(x) if depth == 0 else self(self.linear(x).tanh(), depth - 1)


class Branches(nn.Module):
    """A layer whose result is not used, one that is used without a call, one not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.dropped = nn.Linear(zoo.FEATURES, 2)
        self.bypassed = nn.Linear(zoo.FEATURES, zoo.FEATURES)
        self.idle = nn.Linear(3, 3)
        self.head = nn.Linear(zoo.FEATURES, zoo.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        self.dropped(x)
        return self.head(F.linear(x, self.bypassed.weight, self.bypassed.bias))


PLAIN_MODELS = {
    "in-place ReLU after Linear": lambda: nn.Sequential(
        nn.Linear(zoo.FEATURES, 8), nn.ReLU(inplace=True), nn.Linear(8, zoo.CLASSES)
    ),
    "residual +=": zoo.Residual,
    "five calls": Looped,
    "tied weights": zoo.Tied,
    "keyword arguments only": KeywordsOnly,
    "frozen and unused": zoo.FrozenAndUnused,
    "own parameter returned": OwnParameter,
    "custom function": lambda: nn.Sequential(nn.Linear(zoo.FEATURES, zoo.CLASSES), zoo.Cubed()),
    "dropout": lambda: nn.Sequential(nn.Dropout(0.5), nn.Linear(zoo.FEATURES, zoo.CLASSES), nn.Dropout(0.2)),
    "one layer is the model": lambda: nn.Linear(zoo.FEATURES, zoo.CLASSES),
    "nested containers": lambda: nn.Sequential(nn.Sequential(nn.Sequential(nn.Linear(zoo.FEATURES, zoo.CLASSES)))),
    "branches": Branches,
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(zoo.FEATURES, zoo.CLASSES)),
    "shared under two names": lambda: shared_layer(),
}


def shared_layer() -> nn.Module:
    layer = nn.Linear(zoo.FEATURES, zoo.FEATURES)
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Linear(zoo.FEATURES, zoo.CLASSES))


@pytest.mark.parametrize("name", PLAIN_MODELS)
def test_outputs_and_gradients(name: str) -> None:
    torch.manual_seed(0)
    check(PLAIN_MODELS[name]())


def test_a_recursive_model_is_numbered_in_the_order_of_entry() -> None:
    # Inner calls end first: the oracle counts entries too.
    check(Recursive())


def test_lstm_tuples() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(2, 4, batch_first=True)
            self.head = nn.Linear(4, zoo.CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            sequence, (hidden, _) = self.lstm(x.reshape(5, 3, 2))
            return self.head(sequence.mean(1) + hidden[0])

    session = check(Model(), oracle.lstm_leaves)
    assert absent(session, "activation_grad") == {"lstm [1][1]"}


Pair = namedtuple("Pair", "left right")


@dataclass
class Result:
    logits: Tensor
    hidden: list[tuple[Tensor, ...]]
    note: str = "text"


class Plain:
    def __init__(self, x: Tensor) -> None:
        self.inside, self.number = x, 3


STRUCTURES = {
    "tuple": (lambda x: (x, x * 2), ["[0]", "[1]"], lambda o: o[0]),
    "nested": (lambda x: [x, (x * 2, [x * 3])], ["[0]", "[1][0]", "[1][1][0]"], lambda o: o[1][1][0]),
    "dict": (lambda x: {"logits": x, "rest": None}, [".logits"], lambda o: o["logits"]),
    "dict of lists": (lambda x: {"a": [x, x + 1], 7: x}, [".a[0]", ".a[1]", ".7"], lambda o: o["a"][1]),
    "dataclass": (lambda x: Result(x, [(x * 2,)]), [".logits", ".hidden[0][0]"], lambda o: o.hidden[0][0]),
    "namedtuple": (lambda x: Pair(x, x + 1), ["[0]", "[1]"], lambda o: o.right),
    "object": (Plain, [".inside"], lambda o: o.inside),
    "with integers": (lambda x: (x, x.argmax(1), x > 0), ["[0]", "[1]", "[2]"], lambda o: o[0]),
    "nothing": (lambda x: None, [], None),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_structured_outputs(name: str) -> None:
    make, leaves, use = STRUCTURES[name]

    class Inner(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return make(x)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(zoo.FEATURES, zoo.CLASSES)
            self.inner = Inner()

        def forward(self, x: Tensor) -> Tensor:
            x = self.linear(x)
            output = self.inner(x)
            return use(output) if use else x

    session = oracle.observe(recipe_of(Model()))
    forward, backward = session.reports.values()
    assert [s.leaf for s in forward.subjects if s.name == "inner"] == leaves
    assert session.observer.errors == []
    if use:
        (gradient,) = torch.autograd.grad(F.cross_entropy(z := torch.randn(5, 3, requires_grad=True), Y), z)
        used = [s for s in backward.subjects if s.name == "inner"]
        assert used and all(s.shape == tuple(gradient.shape) for s in used)


def test_integer_and_bool_leaves_have_counts_and_range() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(zoo.FEATURES, zoo.CLASSES)
            self.chosen = type("Chosen", (nn.Module,), {"forward": lambda self, x: (x.argmax(1), x > 0)})()

        def forward(self, x: Tensor) -> Tensor:
            x = self.linear(x)
            self.chosen(x)
            return x

    torch.manual_seed(0)
    model = Model()
    logits = model.linear(X)
    with Session(recipe_of(model)) as session:
        report = session.forward()
    index = report.get("activation", "chosen", leaf="[0]")
    assert index is not None and index.dtype == "int64" and index.mean is None
    assert (index.min, index.max) == (logits.argmax(1).min(), logits.argmax(1).max())
    flag = report.get("activation", "chosen", leaf="[1]")
    assert flag is not None and flag.dtype == "bool" and flag.zero == int((logits <= 0).sum())


def test_packed_sequence() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(2, 4, batch_first=True)
            self.head = nn.Linear(4, zoo.CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            lengths = torch.tensor([3, 1, 2, 3, 2])
            packed = pack_padded_sequence(x.reshape(5, 3, 2), lengths, batch_first=True, enforce_sorted=False)
            output, _ = self.gru(packed)
            self.kept = output
            padded, _ = pad_packed_sequence(output, batch_first=True)
            return self.head(padded.sum(1))

    torch.manual_seed(0)
    model = Model()
    twin = copy.deepcopy(model)
    session = oracle.observe(recipe_of(model))
    loss = loss_of(twin)
    assert isinstance(twin.kept, PackedSequence)
    (gradient,) = torch.autograd.grad(loss, twin.kept.data)
    oracle.assert_values(session, SubjectKind.ACTIVATION, ("gru", 0, "[0].data"), twin.kept.data)
    oracle.assert_values(session, SubjectKind.ACTIVATION_GRAD, ("gru", 0, "[0].data"), gradient)


def test_what_is_not_there_is_said() -> None:
    torch.manual_seed(0)
    session = oracle.observe(recipe_of(Branches()))
    assert absent(session, "activation") == {"bypassed", "idle"}
    assert absent(session, "activation_grad") == {"dropped"}
    assert absent(session, "grad") == {"dropped.weight", "dropped.bias", "idle.weight", "idle.bias"}


def test_frozen_and_unused_parameters_are_told_apart() -> None:
    session = oracle.observe(recipe_of(zoo.FrozenAndUnused()))
    reasons = {a.name: a.reason for a in session.reports[Phase.BACKWARD].absent if a.kind == "grad"}
    assert "frozen" in reasons["frozen.weight"]
    assert "no gradient reached it" in reasons["unused.weight"]


def absent(session: Session, kind: str) -> set[str]:
    return {a.name for report in session.reports.values() for a in report.absent if a.kind == kind}


def test_tied_weights_are_one_parameter_with_two_names() -> None:
    session = oracle.observe(recipe_of(zoo.Tied()))
    (tied,) = (p for p in session.info.parameters if p.name == "encode.weight")
    assert tied.aliases == ("decode.weight",)
    names = [s.name for s in session.reports[Phase.BACKWARD].subjects if s.kind == "grad"]
    assert sorted(names) == ["encode.bias", "encode.weight", "head.bias", "head.weight"]


def checkpointed(kind: type[zoo.Checkpointed], use_reentrant: bool) -> tuple[Session, oracle.Truth]:
    torch.manual_seed(0)
    model = kind(use_reentrant=use_reentrant)
    twin = copy.deepcopy(model)
    twin.use_reentrant = None
    # `truth` leaves the random state as it was: both runs drop the same.
    expected = oracle.truth(twin, loss_of)
    return oracle.observe(recipe_of(model)), expected


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_activation_checkpointing(use_reentrant: bool) -> None:
    # Each layer once, though the block has run twice.
    oracle.assert_seen(*checkpointed(zoo.Checkpointed, use_reentrant))


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_a_layer_called_twice_in_a_checkpoint(use_reentrant: bool) -> None:
    """What is shown is right; what is not shown is said."""
    session, expected = checkpointed(zoo.TwiceInCheckpoint, use_reentrant)
    subjects = session.reports[Phase.BACKWARD].subjects
    shown = {(s.name, s.call, s.leaf) for s in subjects if s.kind == "activation_grad"}
    for key in shown:
        oracle.assert_values(session, SubjectKind.ACTIVATION_GRAD, key, expected.gradients[key])
    missing = {SubjectKey(SubjectKind.ACTIVATION_GRAD, *key).label() for key in set(expected.gradients) - shown}
    assert missing <= absent(session, "activation_grad")


def test_gradient_penalty_with_create_graph() -> None:
    def step(model: nn.Module, batch: Any) -> Tensor:
        x = X.clone().requires_grad_()
        output = model(x)
        (slope,) = torch.autograd.grad(output.square().sum(), x, create_graph=True)
        return F.cross_entropy(output, Y) + slope.square().mean()

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(zoo.FEATURES, 8), nn.Tanh(), nn.Linear(8, zoo.CLASSES))
    expected = oracle.truth(model, lambda m: step(m, None))
    oracle.assert_seen(oracle.observe(recipe_of(model, step)), expected)


def test_a_deepcopy_of_the_model_inside_the_step_is_a_stranger() -> None:
    def step(model: nn.Module, batch: Any) -> Tensor:
        average = copy.deepcopy(model)
        with torch.no_grad():
            average(X * 2)
        average(X * 3).sum().backward()
        return F.cross_entropy(model(X), Y)

    torch.manual_seed(0)
    model = zoo.Residual()
    expected = oracle.truth(model, loss_of)
    oracle.assert_seen(oracle.observe(recipe_of(model, step)), expected)


def test_an_exception_swallowed_inside_the_model() -> None:
    class Fragile(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("no")

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fragile = Fragile()
            self.head = nn.Linear(zoo.FEATURES, zoo.CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(2):
                try:
                    x = self.fragile(x)
                except ValueError:
                    x = x + 1
            return self.head(x)

    check(Model())


def test_the_users_hooks_change_output_and_gradient() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(zoo.FEATURES, 4), nn.Tanh(), nn.Linear(4, zoo.CLASSES))
    twin = copy.deepcopy(model)
    model[0].register_forward_hook(lambda module, args, output: output * 3)
    model[2].weight.register_hook(lambda gradient: gradient * 10)

    def quintuple(parameter: Tensor) -> None:
        parameter.grad.mul_(5)

    model[0].weight.register_post_accumulate_grad_hook(quintuple)
    first = twin[0](X) * 3
    second = twin[1](first)
    loss = F.cross_entropy(twin[2](second), Y)
    gradient, weight0, weight2 = torch.autograd.grad(loss, [first, twin[0].weight, twin[2].weight])
    session = oracle.observe(recipe_of(model))
    oracle.assert_values(session, SubjectKind.ACTIVATION, ("0", 0, ""), first)
    oracle.assert_values(session, SubjectKind.ACTIVATION_GRAD, ("0", 0, ""), gradient)
    oracle.assert_values(session, SubjectKind.GRAD, ("0.weight", 0, ""), weight0 * 5)
    oracle.assert_values(session, SubjectKind.GRAD, ("2.weight", 0, ""), weight2 * 10)
    assert model[0].weight.grad is not None
    torch.testing.assert_close(model[0].weight.grad, weight0 * 5)


def test_the_users_full_backward_hook_lives_beside_ours() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(zoo.FEATURES, 4), nn.Tanh(), nn.Linear(4, zoo.CLASSES))
    twin = copy.deepcopy(model)
    model[1].register_full_backward_hook(lambda module, grad_input, grad_output: (grad_input[0] * 2,))
    first = twin[0](X)
    (gradient,) = torch.autograd.grad(F.cross_entropy(twin[2](twin[1](first)), Y), first)
    session = oracle.observe(recipe_of(model))
    oracle.assert_values(session, SubjectKind.ACTIVATION_GRAD, ("0", 0, ""), gradient * 2)


def test_torch_func_inside_the_model() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(zoo.FEATURES, zoo.CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            slopes = torch.func.vmap(torch.func.grad(lambda row: self.inner(row).square().sum()))(x)
            return self.inner(x + slopes)

    torch.manual_seed(0)
    model = Model()
    twin = copy.deepcopy(model)
    session = oracle.observe(recipe_of(model))
    loss = loss_of(twin)
    loss.backward()
    torch.testing.assert_close(model.inner.weight.grad, twin.inner.weight.grad)
    assert session.observer.errors == []
    real = [s for s in session.reports[Phase.FORWARD].subjects if s.name == "inner"]
    assert [s.shape for s in real] == [(5, zoo.CLASSES)]
    assert "inner" in absent(session, "activation")


def test_a_call_under_no_grad_has_an_output_and_no_gradient() -> None:
    def step(model: nn.Module, batch: Any) -> Tensor:
        with torch.no_grad():
            target = model(X)
        return F.mse_loss(model(X), target + 1)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(zoo.FEATURES, zoo.CLASSES))
    expected = oracle.truth(model, lambda m: step(m, None))
    session = oracle.observe(recipe_of(model, step))
    oracle.assert_seen(session, expected)
    assert {s.call for s in session.reports[Phase.BACKWARD].subjects if s.kind == "activation_grad"} == {1}


def test_inference_mode_inside_the_model() -> None:
    def step(model: nn.Module, batch: Any) -> Tensor:
        with torch.inference_mode():
            model(X)
        return F.cross_entropy(model(X), Y)

    session = oracle.observe(recipe_of(nn.Linear(zoo.FEATURES, zoo.CLASSES), step))
    assert session.observer.errors == []
    assert len([s for s in session.reports[Phase.FORWARD].subjects if s.kind == "activation"]) == 2


# torch's compiler asks every tensor that it traces for its .grad.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf Tensor")
@pytest.mark.parametrize("name", zoo.ZOO)
def test_gradients_and_updates_are_the_real_ones(name: str) -> None:
    recipe = plain.seeded(zoo.ZOO[name])
    with Session(recipe) as session:
        for _ in range(2):
            session.forward()
            session.backward()
            tensors = session.observer.tensors()
            for key in tensors:
                gradient = tensors[key].grad
                if gradient is not None:
                    plain.assert_same(session.values(SubjectKey(SubjectKind.GRAD, key)), gradient, key)
            before = {key: tensor.detach().clone() for key, tensor in tensors.items()}
            report = session.step()
            updates = {s.name: s for s in report.subjects if s.kind == "update"}
            assert set(updates) == {key for key, tensor in tensors.items() if tensor.requires_grad}
            for key, subject in updates.items():
                delta = tensors[key].detach() - before[key]
                plain.assert_same(session.values(subject.key), delta, key)
                assert subject.l2 == pytest.approx(delta.abs().double().norm().item(), rel=1e-5, abs=1e-12)
                assert subject.zero == int((delta == 0).sum())
            assert {s.name for s in report.subjects if s.kind == "parameter"} == set(tensors)


def test_linear_regression_by_hand() -> None:
    # w = 1, b = 0, x = 2, y = 4: the widely copied tutorial prints 4 and 2, which is wrong.
    from gradscope import load_recipe
    from gradscope.assets import sample_path

    path = sample_path("linear_regression")
    assert path is not None
    with Session(load_recipe(path)) as session:
        assert session.forward().loss == 4
        report = session.backward()
        gradients = {s.name: s.mean for s in report.subjects if s.kind == "grad"}
        assert gradients == {"w": -8, "b": -4}
        report = session.step()
        assert {s.name: s.mean for s in report.subjects if s.kind == "update"} == pytest.approx({"w": 0.4, "b": 0.2})


class Noted:
    def __init__(self) -> None:
        self.gradients: list[torch.Tensor] = []

    def gradient_arrived(self, slot: object, of_pass: int, gradient: torch.Tensor) -> None:
        self.gradients.append(gradient)


def test_a_view_whose_base_was_changed_in_place_gets_its_hook() -> None:
    """torch ends the process where a hook is put on such a view before anybody has asked for its graph."""
    x = torch.ones(4, 3, requires_grad=True)
    base = 2 * x
    output = base.view(-1)
    base += x
    listener = Noted()
    awaited = AwaitedGradients(listener)
    awaited.expect(0, output)
    output.sum().backward()
    assert [gradient.tolist() for gradient in listener.gradients] == [[1.0] * 12]
    assert x.grad is not None and x.grad.unique().tolist() == [3.0]
