"""What cannot be seen of a model is said, per layer, with the reason; and the reasons are true."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any

import plain
import pytest
import torch
import torch.distributed as dist
import zoo
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import set_checkpoint_early_stop
from torch.utils.data import TensorDataset

from gradscope import Recipe, Session
from gradscope.engine.reports.lines import line_of
from gradscope.engine.reports.report import PhaseReport
from gradscope.protocol import absences
from gradscope.protocol.phases import Phase

X = torch.linspace(-1, 1, 5 * zoo.FEATURES).reshape(5, zoo.FEATURES).sin()
Y = torch.arange(5) % zoo.CLASSES


class Framed(nn.Module):
    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        self.head = nn.Linear(zoo.FEATURES, zoo.CLASSES)
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.middle(x))

    def middle(self, x: Tensor) -> Tensor:
        return x


def square() -> nn.Linear:
    return nn.Linear(zoo.FEATURES, zoo.FEATURES)


def recipe_of(model: nn.Module, **fields: Any) -> Recipe:
    return zoo.classifier(model, dataset=TensorDataset(X, Y), batch_size=5, shuffle=False, **fields)


def told(report: PhaseReport, kind: str = "activation") -> dict[str, str]:
    return {absence.name: absence.reason for absence in report.absent if absence.kind == kind}


def both(model: nn.Module, **fields: Any) -> tuple[PhaseReport, PhaseReport]:
    """A forward and a backward. Everything that is not seen is in the JSON lines too."""
    torch.manual_seed(0)
    with Session(recipe_of(model, **fields)) as session:
        forward, backward = session.forward(), session.backward()
        assert session.observer.errors == []
    for report in (forward, backward):
        lines = json.loads(line_of(report)).get("not_seen", [])
        assert lines == [{"kind": a.kind, "name": a.name, "reason": a.reason} for a in report.absent]
    return forward, backward


# ---------------------------------------------------------------------------------------------- calls


def test_layers_that_are_not_called_are_told_apart() -> None:
    forward, backward = both(zoo.ZOO["bypassed"]().model)
    assert told(forward) == {
        "by_forward": absences.NEVER_CALLED,
        "by_parent": absences.NEVER_CALLED,
        # Its layers were seen.
        "block": absences.LAYERS_CALLED,
        "weights": absences.HAS_NO_FORWARD,
        "idle": absences.NEVER_CALLED,
    }
    assert told(backward) == {
        "by_forward": absences.USED_WITHOUT_CALL,
        "by_parent": absences.USED_WITHOUT_CALL,
        "idle": absences.NOT_USED,
    }


def test_multihead_attention_uses_a_layer_without_a_call() -> None:
    with Session(plain.seeded(zoo.multihead_attention)) as session:
        forward, backward, _ = session.next_batch()
    assert told(forward) == {"attention.out_proj": absences.NEVER_CALLED}
    assert told(backward) == {"attention.out_proj": absences.USED_WITHOUT_CALL}


def test_a_tied_weight_proves_nothing() -> None:
    """The gradient came by the layer that was called."""

    class Tied(Framed):
        def middle(self, x: Tensor) -> Tensor:
            return self.called(x)

    model = Tied(called=square(), other=nn.Linear(zoo.FEATURES, zoo.FEATURES, bias=False))
    model.other.weight = model.called.weight
    forward, backward = both(model)
    assert told(forward) == {"other": absences.NEVER_CALLED}
    assert told(backward) == {}


def test_a_frozen_layer_that_is_not_called_stays_unknown() -> None:
    model = Framed(other=square().requires_grad_(False), dropout=nn.Dropout())
    forward, backward = both(model)
    assert told(forward) == {"other": absences.NEVER_CALLED, "dropout": absences.NEVER_CALLED}
    assert told(backward) == {}


def test_a_training_step_that_goes_past_the_model() -> None:
    def step(model: Any, batch: Any) -> Tensor:
        return F.cross_entropy(model.head(batch[0]), batch[1])

    forward, _ = both(Framed(), training_step=step)
    assert told(forward) == {"": absences.LAYERS_CALLED}


def test_a_list_of_layers_cannot_be_called_and_is_not_missed() -> None:
    class Listed(Framed):
        def middle(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = layer(x)
            return x

    forward, _ = both(Listed(layers=nn.ModuleList([square(), square()])))
    assert told(forward) == {}


def test_a_layer_that_raised_has_no_output() -> None:
    class Fragile(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            if self.calls % 2:
                raise ValueError("no")
            return x * 2

    class Tries(Framed):
        def middle(self, x: Tensor) -> Tensor:
            for _ in range(3):
                try:
                    x = self.inner(x)
                except ValueError:
                    x = x + 1
            return x

    forward, _ = both(Tries(inner=Fragile()))
    assert told(forward) == {"inner": absences.RAISED, "inner #2": absences.RAISED}
    assert [s.call for s in forward.subjects if s.name == "inner"] == [1]


def test_a_layer_that_the_training_step_tried_in_vain() -> None:
    def step(model: Any, batch: Any) -> Tensor:
        with contextlib.suppress(ValueError):
            model.inner(batch[0])
        return F.cross_entropy(model(batch[0]), batch[1])

    def fail(x: Tensor) -> Tensor:
        raise ValueError("no")

    forward, _ = both(Framed(inner=Returns(fail)), training_step=step)
    assert told(forward) == {"inner": absences.RAISED}


def test_a_layer_that_came_in_mid_training() -> None:
    with Session(plain.seeded(zoo.ZOO["parameters_come_and_go"])) as session:
        reports = [session.next_batch() for _ in range(5)]
    assert told(reports[2][0]) == {"extra": absences.NEW_LAYER}
    assert told(reports[3][0]) == {"head": absences.NEW_LAYER}
    assert reports[3][0].get("activation", "extra") is not None
    assert told(reports[4][0]) == {}
    # Its parameters were seen at once.
    assert reports[2][1].get("grad", "extra.weight") is not None
    assert reports[3][2].get("update", "head.weight") is not None
    assert reports[4][1].get("grad", "stem.bias") is not None


def test_a_layer_that_was_renamed_is_seen_under_its_new_name() -> None:
    torch.manual_seed(0)
    model = Framed(old=square())

    def step(model: Any, batch: Any) -> Tensor:
        layer = model.old if hasattr(model, "old") else model.new
        return F.cross_entropy(model.head(layer(batch[0])), batch[1])

    with Session(recipe_of(model, training_step=step)) as session:
        session.next_batch()
        model.new = model.old
        del model.old
        # The hooks still have the old name: the layer is new, and not the other one.
        assert told(session.next_batch()[0])["new"] == absences.NEW_LAYER
        forward, backward, _ = session.next_batch()
    assert forward.get("activation", "new") is not None
    assert backward.get("grad", "new.weight") is not None and backward.get("grad", "old.weight") is None


# ---------------------------------------------------------------------------------------------- outputs, gradients


class Returns(nn.Module):
    def __init__(self, make: Any) -> None:
        super().__init__()
        self.make = make

    def forward(self, x: Tensor) -> Any:
        return self.make(x)


class Drops(Framed):
    """The output of `inner` is not used."""

    def middle(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        self.inner(x)
        return x


def dropping(make: Any) -> Framed:
    return Drops(stem=square(), inner=Returns(make))


def test_an_output_without_a_tensor() -> None:
    forward, _ = both(dropping(lambda x: {"text": "only"}))
    assert told(forward) == {"inner": absences.NO_TENSOR}


def no_graph(x: Tensor) -> Tensor:
    with torch.no_grad():
        return x * 2


def inner_gradient(x: Tensor) -> Tensor:
    y = x * 2
    torch.autograd.grad(y.sum(), x, retain_graph=True)
    return y


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda x: x * 2, absences.NO_GRADIENT),
        (lambda x: x.view(-1), absences.NO_GRADIENT_OF_VIEW),
        (lambda x: x.argmax(1), absences.NOT_DIFFERENTIABLE),
        (lambda x: x > 0, absences.NOT_DIFFERENTIABLE),
        (lambda x: x.detach() * 2, absences.NEEDS_NO_GRADIENT),
        (no_graph, absences.NEEDS_NO_GRADIENT),
    ],
    ids=["unused", "view", "index", "mask", "detached", "no_grad"],
)
def test_why_an_output_has_no_gradient(make: Any, reason: str) -> None:
    _, backward = both(dropping(make))
    assert told(backward, "activation_grad") == {"inner": reason}


def test_a_call_under_no_grad() -> None:
    class Quiet(Framed):
        def middle(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                self.stem(x)
            return x

    _, backward = both(Quiet(stem=square()))
    assert told(backward, "activation_grad") == {"stem": absences.WITHOUT_GRAPH}


def test_a_gradient_taken_inside_the_forward_is_not_the_losss() -> None:
    class Probed(Framed):
        def middle(self, x: Tensor) -> Tensor:
            y = self.stem(x)
            torch.autograd.grad(self.inner(y).sum(), y, retain_graph=True)
            return y

    _, backward = both(Probed(stem=square(), inner=Returns(lambda x: x * 2)))
    assert told(backward, "activation_grad") == {"inner": absences.INNER_GRADIENT}
    assert backward.get("activation_grad", "stem") is not None


@pytest.mark.parametrize("early_stop", [True, False])
@pytest.mark.parametrize("use_reentrant", [True, False])
def test_a_checkpointed_layer_has_its_gradient_and_nothing_is_missed(use_reentrant: bool, early_stop: bool) -> None:
    """Without the early stop the whole block runs again, after the gradient of its output has arrived."""
    with set_checkpoint_early_stop(early_stop):
        forward, backward = both(zoo.Checkpointed(use_reentrant=use_reentrant))
    assert told(forward) == {} and told(backward, "activation_grad") == {}
    assert {s.name for s in backward.subjects if s.kind == "activation_grad"} == {s.name for s in forward.subjects}


# ---------------------------------------------------------------------------------------------- levels


def test_of_chosen_layers_only_those_are_missed() -> None:
    """Nor is anything concluded from a gradient, where not every call was seen."""
    with Session(plain.seeded(zoo.ZOO["bypassed"]), capture="layers:by_forward,block") as session:
        forward, backward, _ = session.next_batch()
    assert told(forward) == {"by_forward": absences.NEVER_CALLED, "block": absences.LAYERS_CALLED}
    assert told(backward) == {}


def test_a_chosen_layer_inside_a_scripted_one() -> None:
    with Session(plain.seeded(zoo.ZOO["scripted_parts"]), capture="layers:scripted.0") as session:
        assert told(session.forward()) == {"scripted.0": absences.scripted("scripted")}


@pytest.mark.parametrize("capture", ["norms", "layers:*"])
def test_the_other_levels_tell_the_same(capture: str) -> None:
    for name in ("bypassed", "odd_outputs", "views", "frozen_encoder"):
        reports = []
        for level in ("full", capture):
            with Session(plain.seeded(zoo.ZOO[name]), capture=level) as session:
                reports.append(told(session.forward()))
        assert reports[0] == reports[1]


# ---------------------------------------------------------------------------------------------- TorchScript, functorch


@pytest.mark.parametrize("name", ["scripted_parts", "scripted_model"])
def test_scripted_parts_are_seen_from_outside(name: str) -> None:
    with Session(plain.seeded(zoo.ZOO[name])) as session:
        forward, backward, step = session.next_batch()
        assert session.observer.errors == []
    inside = {
        f"{outer}.{i}" for outer in (("scripted", "traced") if name == "scripted_parts" else ("0",)) for i in range(3)
    }
    assert told(forward) == {layer: absences.scripted(layer.partition(".")[0]) for layer in inside}
    for layer in {name.partition(".")[0] for name in inside}:
        assert forward.get("activation", layer) is not None
        assert backward.get("activation_grad", layer) is not None
        assert backward.get("grad", f"{layer}.0.weight") is not None
        assert step.get("update", f"{layer}.0.weight") is not None


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_the_whole_model_scripted() -> None:
    torch.manual_seed(0)
    model = torch.jit.script(zoo.mlp())
    forward, backward = both(model)
    assert told(forward) == {str(i): absences.scripted("") for i in range(3)}
    torch.testing.assert_close(torch.tensor(forward.get("activation", "").mean), zoo_mean(model))
    assert backward.get("activation_grad", "") is not None


def zoo_mean(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model(X).double().mean().float()


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_a_failed_forward_of_a_scripted_layer_is_undone() -> None:
    torch.manual_seed(0)
    block = torch.jit.script(nn.Sequential(nn.Linear(zoo.FEATURES, zoo.CLASSES), nn.BatchNorm1d(zoo.CLASSES)))

    class Fails(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = block

        def forward(self, x: Tensor) -> Tensor:
            self.block(x)
            raise ValueError("after it")

    from gradscope.protocol.failure import UserCodeFailed

    model = Fails()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with Session(recipe_of(model)) as session, pytest.raises(UserCodeFailed):
        session.forward()
    plain.assert_same(before, {name: tensor.clone() for name, tensor in model.state_dict().items()})


def test_inside_functorch() -> None:
    with Session(plain.seeded(zoo.ZOO["functorch_inside"])) as session:
        forward, _, _ = session.next_batch()
    (reason,) = {reason for name, reason in told(forward).items() if name.startswith("stem")}
    assert "functorch" in reason


# ---------------------------------------------------------------------------------------------- distributed


@pytest.fixture(scope="module")
def mesh() -> Iterator[Any]:
    """One process that is a whole cluster."""
    from torch.distributed.device_mesh import init_device_mesh

    before = dict(os.environ)
    store = dist.HashStore()
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()
    os.environ.clear()
    os.environ.update(before)


def distributed(mesh: Any) -> nn.Module:
    from torch.distributed.tensor import Shard, distribute_tensor

    torch.manual_seed(0)
    model = zoo.mlp()
    for layer in (model[0], model[2]):
        for name, parameter in list(layer.named_parameters()):
            setattr(layer, name, nn.Parameter(distribute_tensor(parameter.detach(), mesh, [Shard(0)])))
    return model


def distributed_step(mesh: Any) -> Any:
    from torch.distributed.tensor import DTensor, Replicate

    def step(model: nn.Module, batch: Any) -> Tensor:
        x = DTensor.from_local(batch[0], mesh, [Replicate()])
        return F.cross_entropy(model(x).full_tensor(), batch[1])

    return step


def test_distributed_tensors_are_said_and_left_alone(mesh: Any) -> None:
    model = distributed(mesh)
    names = [name for name, _ in model.named_parameters()]
    with Session(recipe_of(model, training_step=distributed_step(mesh))) as session:
        reports = session.next_batch()
        assert session.observer.errors == []
    for report, kind, expected in zip(
        (reports[0], reports[1], reports[1], reports[2], reports[2]),
        ("activation", "activation_grad", "grad", "parameter", "update"),
        ({"(model)", "0", "1", "2"}, {"(model)", "0", "1", "2"}, {*names}, {*names}, {*names}),
        strict=True,
    ):
        assert {s.name for s in report.subjects if s.kind == kind} == set()
        assert set(told(report, kind)) == expected
        assert all("DTensor" in reason for reason in told(report, kind).values())


def test_distributed_training_is_unchanged(mesh: Any) -> None:
    outcomes = []
    for train in (plain.train_plainly, lambda recipe, steps: plain.train_observed(Session(recipe), steps=steps)):
        model = distributed(mesh)
        recipe = recipe_of(model, training_step=distributed_step(mesh))
        outcome = train(recipe, steps=3)
        outcomes.append((outcome.losses, [p.detach().full_tensor() for p in model.parameters()]))
    plain.assert_same(*outcomes)


def test_other_tensors_beside_distributed_ones_are_seen(mesh: Any) -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.plain = square()
            self.shared = distributed(mesh)

        def forward(self, x: Any) -> Any:
            return x

    def step(model: Any, batch: Any) -> Tensor:
        return distributed_step(mesh)(model.shared, [model.plain(batch[0]), batch[1]])

    model = Mixed()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, foreach=False)
    with Session(recipe_of(model, training_step=step, optimizer=optimizer)) as session:
        _, backward, stepped = session.next_batch()
        assert session.observer.errors == []
        session.next_batch()
    assert {s.name for s in stepped.subjects if s.kind == "update"} == {"plain.weight", "plain.bias"}
    assert backward.get("grad", "plain.weight") is not None


def test_a_subclass_that_torch_cannot_read_is_said() -> None:
    class Opaque(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function in (torch.Tensor.reshape, torch.Tensor.view, torch.Tensor.is_contiguous):
                raise TypeError("I cannot be read")
            return super().__torch_function__(function, types, args, kwargs or {})

    forward, _ = both(dropping(lambda x: {"a": (x * 2).detach().as_subclass(Opaque), "b": x * 3}))
    assert "I cannot be read" in told(forward)["inner .a"]
    assert forward.get("activation", "inner", leaf=".b") is not None


def test_reports_of_every_zoo_model_name_only_what_is_there() -> None:
    """No absence without a reason, none of something that was seen, none twice."""
    for name in zoo.ZOO:
        if name.startswith("compiled"):
            continue
        with Session(plain.seeded(zoo.ZOO[name])) as session:
            for report in session.next_batch():
                seen = {(s.kind, s.key.label()) for s in report.subjects}
                missing = [(a.kind, a.name) for a in report.absent]
                assert all(a.reason for a in report.absent)
                assert len(set(missing)) == len(missing), name
                assert seen.isdisjoint(missing), name
                assert report.phase in Phase
