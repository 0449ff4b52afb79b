"""torch.compile: what was compiled runs eagerly under its own names, is said, and is as before when the session ends."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from pathlib import Path
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
from gradscope.engine.model.compiled import is_compiled
from gradscope.protocol import absences
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import SubjectKey

# torch's compiler asks every tensor that it traces for its .grad.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf Tensor")


class Block(nn.Sequential):
    """With a forward of its own: torch compiles none of its own modules in place."""

    def forward(self, x: Tensor) -> Tensor:
        for layer in self:
            x = layer(x)
        return x


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = Block(nn.Linear(zoo.FEATURES, zoo.FEATURES), nn.Tanh())
        self.head = nn.Linear(zoo.FEATURES, zoo.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(x))


def whole(model: Net, backend: Any = "eager") -> nn.Module:
    return torch.compile(model, backend=backend)


def part(model: Net, backend: Any = "eager") -> nn.Module:
    model.block = torch.compile(model.block, backend=backend)
    return model


def in_place(model: Net, backend: Any = "eager") -> nn.Module:
    model.compile(backend=backend)
    return model


def part_in_place(model: Net, backend: Any = "eager") -> nn.Module:
    model.block.compile(backend=backend)
    return model


def its_forward(model: Net, backend: Any = "eager") -> nn.Module:
    model.forward = torch.compile(model.forward, backend=backend)
    return model


def wrapped_and_in_place(model: Net, backend: Any = "eager") -> nn.Module:
    model.compile(backend=backend)
    return torch.compile(model, backend=backend)


WAYS: dict[Callable[..., nn.Module], str] = {
    whole: "",
    part: "block",
    in_place: "",
    part_in_place: "block",
    its_forward: "",
    wrapped_and_in_place: "",
}
"""Each way to compile, with the name of what is compiled."""


def made(way: Callable[..., nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return way(Net())


def recipe_of(model: nn.Module, **fields: Any) -> Recipe:
    return zoo.classifier(model, **fields)


@pytest.mark.parametrize("way", WAYS)
def test_layers_are_seen_under_their_own_names(way: Any) -> None:
    with Session(plain.seeded(lambda: recipe_of(Net()))) as session:
        expected = session.next_batch()
    with Session(plain.seeded(lambda: recipe_of(way(Net())))) as session:
        found = session.next_batch()
        assert session.observer.errors == []
        assert [m.name for m in session.info.modules] == ["", "block", "block.0", "block.1", "head"]
        assert [p.name for p in session.info.parameters] == [n for n, _ in Net().named_parameters()]
    for one, other in zip(expected, found, strict=True):
        assert one.subjects == other.subjects


@pytest.mark.parametrize("way", WAYS)
def test_it_is_said(way: Any) -> None:
    with Session(recipe_of(made(way))) as session:
        report = session.forward()
        (told,) = session.info.warnings
        assert "eagerly" in told and (WAYS[way] or "the model") in told
    told = {a.name: a.reason for a in report.absent if a.kind == absences.COMPILED}
    assert told == {WAYS[way]: absences.RUN_EAGERLY}


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_compiled_while_it_is_open_and_everything_after(way: Any) -> None:
    compilations: list[str] = []

    def backend(graph: Any, inputs: Any) -> Any:
        compilations.append("graph")
        return graph.forward

    torch._dynamo.reset()
    model = made(lambda model: way(model, backend))
    before = [dict(vars(module)) for module in model.modules()]
    parameters = list(model.parameters())
    session = Session(recipe_of(model))
    session.next_batch()
    session.forward()
    assert compilations == []
    assert all(one is other for one, other in zip(parameters, session.observer.tensors().values(), strict=True))
    session.close()
    for module, attributes in zip(model.modules(), before, strict=True):
        assert list(vars(module)) == list(attributes)
        for name in ("forward", "_compiled_call_impl"):
            assert vars(module).get(name) is attributes.get(name)
    model(torch.randn(2, zoo.FEATURES))
    assert compilations


@pytest.mark.parametrize("way", WAYS)
def test_it_stays_compiled_while_nothing_is_captured(way: Any) -> None:
    model = made(way)
    before = [(vars(m).get("forward"), vars(m).get("_compiled_call_impl")) for m in model.modules()]

    def is_as_before() -> bool:
        now = [(vars(m).get("forward"), vars(m).get("_compiled_call_impl")) for m in model.modules()]
        return all(a is c and b is d for (a, b), (c, d) in zip(before, now, strict=True))

    with Session(recipe_of(model), capture="off") as session:
        assert is_as_before()
        assert session.info.warnings == ()
        session.set_capture("norms")
        assert not is_as_before()
        assert session.forward().get("activation", "block.0") is not None
        session.backward()
        session.step()
        session.set_capture("off")
        assert is_as_before()
        session.set_capture("full")
    assert is_as_before()


@pytest.mark.parametrize("way", [whole, in_place])
def test_an_abandoned_session_gives_it_back(way: Any) -> None:
    model = made(way)
    before = vars(model).get("forward"), vars(model).get("_compiled_call_impl")
    session = Session(recipe_of(model))
    session.next_batch()
    del session
    gc.collect()
    assert (vars(model).get("forward"), vars(model).get("_compiled_call_impl")) == before


@pytest.mark.parametrize("way", [whole, part])
def test_checkpoints_keep_torchs_names(way: Any, tmp_path: Path) -> None:
    file = tmp_path / "half.pt"
    with Session(recipe_of(made(way))) as session:
        session.next_batch()
        session.next_batch()
        session.save_checkpoint(file)
        session.next_batch()
        expected = plain.state_of(session.recipe)
    saved = torch.load(file, weights_only=False)["state_dict"]
    assert list(saved) == list(made(way).state_dict())
    assert any("_orig_mod." in name for name in saved)
    with Session(recipe_of(made(way))) as session:
        session.load_checkpoint(file)
        session.next_batch()
        plain.assert_same(expected["tensors"], plain.state_of(session.recipe)["tensors"])


def test_a_plain_models_checkpoint_fits(tmp_path: Path) -> None:
    torch.manual_seed(1)
    other = Net()
    torch.save(other.state_dict(), tmp_path / "plain.pt")
    model = made(whole)
    with Session(recipe_of(model)) as session:
        session.load_checkpoint(tmp_path / "plain.pt")
    plain.assert_same(list(other.state_dict().values()), list(model.state_dict().values()))


def test_edits_and_the_gradient_check_go_by_the_same_names() -> None:
    from gradscope.protocol.messages.edits import EditRequiresGrad

    with Session(recipe_of(made(part))) as session:
        session.next_batch()
        session.edit(EditRequiresGrad(name="block.0", is_parameter=False, requires_grad=False))
        assert not session.recipe.model.block._orig_mod[0].weight.requires_grad
        session.undo_edit()
        session.forward()
        session.backward()
        check = session.check_gradient("block.0.weight")
        assert check.actual_error is not None and check.actual_error < 1e-3


def test_compiled_functions_of_the_recipe() -> None:
    def step(model: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1])

    compiled = torch.compile(step, backend="eager", fullgraph=True)
    with Session(recipe_of(made(lambda model: model), training_step=compiled)) as session:
        report = session.forward()
        assert {s.name for s in report.subjects} == {"", "block", "block.0", "block.1", "head"}
        assert any("training_step" in text and "eagerly" in text for text in session.info.warnings)


@pytest.mark.parametrize("field", ["loss", "training_step", "validation_step"])
def test_compiled_functions_do_run_eagerly(field: str) -> None:
    compilations: list[str] = []

    def backend(graph: Any, inputs: Any) -> Any:
        compilations.append("graph")
        return graph.forward

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output, target)

    def step(model: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1])

    torch._dynamo.reset()
    compiled = torch.compile(loss if field == "loss" else step, backend=backend)
    recipe = recipe_of(made(lambda model: model), validation=zoo.vectors(), **{field: compiled})
    with Session(recipe) as session:
        session.next_batch()
        session.validate()
        assert compilations == []
        assert any(field in text for text in session.info.warnings)


@pytest.mark.skipif(
    torch.__version__ < "2.9", reason="this torch cannot compile an import through PySide6's hook around it"
)
def test_what_a_compiled_function_calls_is_not_seen_and_said() -> None:
    """Also with fullgraph: hooks that torch traces must not break its graph."""
    torch._dynamo.reset()
    with Session(plain.seeded(zoo.ZOO["compiled_function"])) as session:
        forward, backward, _ = session.next_batch()
        assert session.observer.errors == []
        assert {s.name for s in forward.subjects} == {"", "stem", "head"}
        assert {a.name: a.reason for a in forward.absent} == {"hidden": absences.NEVER_CALLED}
        told = {a.name: a.reason for a in backward.absent if a.kind == "activation"}
        assert told == {"hidden": absences.USED_WITHOUT_CALL}
        assert backward.get("grad", "hidden.weight") is not None


def test_compiled_in_mid_training_is_found() -> None:
    torch._dynamo.reset()
    model = Net()
    with Session(recipe_of(model)) as session:
        session.next_batch()
        model.extra = torch.compile(nn.Linear(2, 2), backend="eager")
        session.next_batch()
        assert session.observer.eager.names == {"extra": None}
        assert is_compiled(model.extra)


@pytest.mark.skipif(
    torch.__version__ < "2.9", reason="this torch cannot compile an import through PySide6's hook around it"
)
def test_torch_cond_is_left_alone() -> None:
    """It is compiled in a plain loop too, and has no gradient otherwise."""

    class Either(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(zoo.FEATURES, zoo.CLASSES), nn.Linear(zoo.FEATURES, zoo.CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cond(x.sum() > 0, lambda x: self.left(x).sin(), lambda x: self.right(x).cos(), (x,))

    torch._dynamo.reset()
    torch.manual_seed(0)
    model = Either()
    twin = copy.deepcopy(model)
    x, y = torch.randn(5, zoo.FEATURES), torch.arange(5) % zoo.CLASSES
    data = TensorDataset(x, y)
    with Session(recipe_of(model, dataset=data, batch_size=5, shuffle=False)) as session:
        forward, backward, _ = session.next_batch()
        side = "left" if x.sum() > 0 else "right"
        loss = F.cross_entropy(getattr(twin, side)(x).sin() if side == "left" else twin.right(x).cos(), y)
        gradient = torch.autograd.grad(loss, getattr(twin, side).weight)[0]
        assert forward.loss == pytest.approx(loss.item(), rel=1e-6)
        subject = backward.get("grad", f"{side}.weight")
        assert subject is not None and subject.l2 == pytest.approx(gradient.norm().item(), rel=1e-5)
        told = {a.name: a.reason for a in backward.absent if a.kind == "activation"}
        assert told[side] == absences.USED_WITHOUT_CALL


def test_values_of_a_compiled_layer_against_autograd() -> None:
    x = torch.linspace(-1, 1, 5 * zoo.FEATURES).reshape(5, zoo.FEATURES).sin()
    y = torch.arange(5) % zoo.CLASSES
    expected = oracle.truth(made(lambda model: model), lambda m: F.cross_entropy(m(x), y))
    recipe = recipe_of(made(part), dataset=TensorDataset(x, y), batch_size=5, shuffle=False)
    session = oracle.observe(recipe)
    oracle.assert_seen(session, expected)
    assert SubjectKey.label(session.reports[Phase.FORWARD].subjects[0].key) == "block.0"


def test_a_layer_that_is_compiled_in_mid_session_is_told_and_seen_from_the_next_forward_on() -> None:
    model = Net()
    with Session(zoo.classifier(model)) as session:
        session.next_batch()
        model.block.compile(backend="eager")
        forward = session.next_batch()[0]
        told = {a.name: a.reason for a in forward.absent if a.kind == "activation"}
        assert set(told.values()) == {absences.COMPILED_SINCE} and set(told) == {"block", "block.0", "block.1"}
        forward = session.next_batch()[0]
        assert {"block", "block.0", "block.1"} <= {s.name for s in forward.subjects}
        assert [a.kind for a in forward.absent] == [absences.COMPILED]
    assert is_compiled(model.block)
