"""Places: the right moments, each of them, and nothing later has run there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import plain
import pytest
import torch
import zoo
import zoo_more
from halting import Halt, halting, halts
from torch import nn
from torch.utils.data import TensorDataset

from gradscope import Recipe, Session, load_recipe
from gradscope.engine.stops.stops import Stops
from gradscope.protocol.phases import OF_A_RECIPE, Phase, SubStep
from gradscope.protocol.stops.point import StopPoint


def nested() -> Recipe:
    body = nn.Sequential(nn.Linear(6, 6), nn.Tanh())
    return zoo.classifier(nn.Sequential(body, nn.Linear(6, 3)))


def where(found: list[Halt]) -> list[tuple[int, str, str, int]]:
    """(step, event, layer, call)"""
    moments = [(halt.hit.step, halt.hit.moment) for halt in found]
    return [(step, m.event, m.layer, m.call) for step, m in moments if m is not None]


def test_a_layer_is_entered_and_left() -> None:
    assert where(halts(nested, "enter 0.*", "leave 0", steps=2)) == [
        (step, event, layer, 0)
        for step in (0, 1)
        for event, layer in (("enter", "0.0"), ("enter", "0.1"), ("leave", "0"))
    ]


def test_each_call_of_a_layer_or_one_of_them() -> None:
    assert where(halts(zoo_more.reused_5_times, "enter cell", steps=1)) == [(0, "enter", "cell", n) for n in range(5)]
    (halt,) = halts(zoo_more.reused_5_times, "leave cell #3", steps=1)
    assert halt.hit.moment is not None
    assert (halt.hit.moment.call, halt.hit.sentence) == (3, "leave cell #3")


def test_gradients_arrive_from_the_last_layer_on_and_fill_up() -> None:
    found = halts(nested, "gradient *", steps=1)
    names = [layer for _, _, layer, _ in where(found)]
    assert names.index("1") < names.index("1.weight") < names.index("0.0.weight")
    for halt in found:
        there = {name for name, gradient in halt.state["grads"].items() if gradient is not None}
        passed = set(names[: names.index(halt.hit.subject.replace("(model)", "")) + 1])
        assert there >= passed & set(halt.state["grads"])
        assert "0.0.weight" not in there or "1.weight" in there
    assert halts(nested, "gradient 1.weight", steps=1)[0].state["grads"]["0.0.weight"] is None


@pytest.mark.parametrize(
    "substep", [s for s in SubStep if s not in (SubStep.EVALUATE, SubStep.UNSCALE, SubStep.UPDATE)]
)
def test_a_sub_step_that_is_done(substep: SubStep) -> None:
    def make() -> Recipe:
        model = zoo.mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return zoo.classifier(
            model,
            optimizer=optimizer,
            clip_norm=1.0,
            validation=zoo.vectors(4),
            scheduler=torch.optim.lr_scheduler.StepLR(optimizer, 1),
        )

    found = halts(make, substep.value, steps=3)
    assert [halt.hit.moment.substep for halt in found if halt.hit.moment] == [substep] * len(found)
    # A validation comes at the end of an epoch of three steps.
    assert [halt.hit.step for halt in found] == ([2] if substep is SubStep.VALIDATE else [0, 1, 2])


def test_of_a_gradient_scaler() -> None:
    def make() -> Recipe:
        return zoo.classifier(zoo.mlp(), precision="fp16")

    assert len(halts(make, "unscale", "update", steps=2)) == 4


@pytest.mark.parametrize(
    ("text", "after", "steps"),
    [
        ("before forward", Phase.STEP, [1, 2, 3]),
        ("before backward", Phase.FORWARD, [0, 1, 2]),
        ("before step", Phase.BACKWARD, [0, 1, 2]),
        ("at step 2", Phase.STEP, [2]),
        ("every 2 steps", Phase.STEP, [2]),
        ("every step", Phase.STEP, [1, 2, 3]),
        ("at epoch 1", Phase.STEP, [3]),
    ],
)
def test_between_two_phases(text: str, after: Phase, steps: list[int]) -> None:
    found = halts(nested, text)
    assert [(halt.after, halt.hit.step, halt.hit.moment) for halt in found] == [(after, step, None) for step in steps]


def every_substep() -> Recipe:
    model, generator = zoo.mlp(), torch.Generator().manual_seed(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    data = TensorDataset(torch.randn(16, 6, generator=generator), torch.randint(0, 3, (16,), generator=generator))
    return Recipe(
        model=model,
        optimizer=optimizer,
        loss=nn.CrossEntropyLoss(),
        dataset=data,
        validation=data,
        batch_size=8,
        scheduler=torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5),
        scheduler_unit="step",
        clip_norm=0.01,
        precision="fp16",
    )


def test_every_sub_step_is_stopped_at_before_and_after_it() -> None:
    texts = [f"{before}{substep.value}" for substep in OF_A_RECIPE for before in ("before ", "")]
    found = halts(every_substep, *texts, steps=2)
    assert {texts[halt.hit.id] for halt in found} == set(texts)
    second = [halt for halt in found if halt.hit.moment is not None and halt.hit.step == 1]
    state = {texts[halt.hit.id]: halt.state for halt in second}
    assert [texts[halt.hit.id] for halt in second][:3] == ["batch", "before zero grad", "zero grad"]
    assert any(gradient is not None for gradient in state["before zero grad"]["grads"].values())
    assert not any(gradient is not None for gradient in state["zero grad"]["grads"].values())
    before, after = (state[f"{text}unscale"]["grads"]["0.weight"] for text in ("before ", ""))
    assert torch.equal(before, after * 65536)
    assert not torch.equal(state["before clip"]["grads"]["0.weight"], state["clip"]["grads"]["0.weight"])
    for name, tensor in state["before schedule"]["tensors"].items():
        assert torch.equal(tensor, state["step"]["tensors"][name]), "moved, and nothing later"
    order = [texts[halt.hit.id] for halt in second]
    late = ["step", "before update", "update", "before validate", "validate", "before schedule", "schedule"]
    assert order[-len(late) :] == late


def test_a_recipe_has_no_evaluate() -> None:
    stops = Stops()
    with Session(plain.seeded(nested)) as session:
        stops.follow(session.book, None, lambda: session.info.substeps)
        told = stops.set([StopPoint(id=0, text="before evaluate")])
    assert told == [
        "The stop 'before evaluate' cannot hold: there is no 'evaluate' to stop at in this training: in a recipe it is "
        "'validate'"
    ]


def test_with_accumulation_a_step_is_a_window() -> None:
    def make() -> Recipe:
        return zoo.classifier(zoo.mlp(), accumulate=2)

    assert [halt.hit.step for halt in halts(make, "every step", steps=2)] == [1, 2]
    assert len(halts(make, "before forward", steps=1)) == 2
    assert len(halts(make, "before step", steps=1)) == 1


def test_the_parameters_are_those_of_the_plain_loop_there() -> None:
    expected = plain.seeded(nested)
    plain.train_plainly(expected, steps=2)
    for text in ("step 2", "enter 0", "gradient 0.0.weight", "before step"):
        halt = next(halt for halt in halts(nested, text) if halt.hit.step == 2)
        for name, tensor in expected.model.state_dict().items():  # type: ignore[union-attr]
            assert torch.equal(halt.state["tensors"][name], tensor), (text, name)


def test_every_third_time() -> None:
    found = halts(nested, "enter 0.*", steps=3, every=3)
    assert [halt.hit.hits for halt in found] == [3, 6]


FILE = """
import torch
from torch import nn
from gradscope import Recipe

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(Inner(), nn.Tanh())
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = self.body(x)
        x = torch.relu(x)
        return self.head(x)

class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 6)

    def forward(self, x):
        return self.linear(x)

def recipe():
    model = Net()
    data = torch.utils.data.TensorDataset(torch.randn(24, 6), torch.randint(0, 3, (24,)))
    return Recipe(model=model, dataset=data, loss=nn.CrossEntropyLoss(), batch_size=8,
                  optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
"""


def test_a_line_that_calls_a_layer(write_recipe: Callable[..., Path]) -> None:
    path = write_recipe(FILE)
    found = halts(
        lambda: load_recipe(path),
        "line recipe.py:13",
        "line recipe.py:15",
        "line recipe.py:14",
        "line recipe.py:23",
        steps=2,
    )
    layers = ("body", "body.0.linear", "head")
    assert where(found) == [(step, "enter", layer, 0) for step in (0, 1) for layer in layers]
    assert found[0].hit.sentence == "line recipe.py:13, enter body"


def test_a_place_with_a_condition_is_about_its_layer() -> None:
    with halting(nested, "leave * if activation.l2 > 0", "leave 0.1 if activation.l2 of 0.0 > 1e9") as halted:
        found = halted.run(1)
    assert [layer for _, _, layer, _ in where(found)] == ["0.0", "0.1", "0", "1", ""]
    assert found[1].hit.sentence.startswith("leave 0.1: activation.l2 of 0.1 is ")


def test_what_cannot_be_here_is_said() -> None:
    with halting(nested, "forward", capture="norms") as halted:
        texts = ["activation.zero_share > 0.9", "enter conv", "grad.l2 > 1 in conv.*", "grad.l2 > 1", "finding"]
        said = halted.gate.stops.set([StopPoint(id=n, text=text) for n, text in enumerate(texts)])
    assert [sentence.partition(": ")[2] for sentence in said] == [
        "only norms are captured, so zero_share is not known",
        "nothing here is called conv",
        "nothing here is called conv.*",
        "nobody looks for findings here",
    ]


def test_without_a_training_points_can_be_set() -> None:
    stops = Stops()
    assert stops.set([StopPoint(id=1, text="enter anything")]) == []
    assert stops.is_armed
    stops.set([StopPoint(id=1, text="enter anything", is_enabled=False), StopPoint(id=2, text="at step 3")])
    assert not stops.is_armed


def test_going_on_from_an_earlier_step_comes_to_the_places_again(tmp_path: Path) -> None:
    with halting(nested, "at epoch 1", "at step 4", "loss > 0 and step == 4", "any nan") as halted:
        halted.run(2)
        halted.session.save_checkpoint(tmp_path / "two.pt")
        first = [(halt.hit.id, halt.hit.step, halt.hit.sentence) for halt in halted.run(6)]
        assert [(number, step) for number, step, _ in first] == [(0, 3), (1, 4), (2, 4)]
        halted.gate.halts.clear()
        halted.session.load_checkpoint(tmp_path / "two.pt")
        assert [(halt.hit.id, halt.hit.step, halt.hit.sentence) for halt in halted.run(6)] == first


WITH_RULE = """
import torch
from torch import nn
import gradscope

@gradscope.finding(needs="parameter", title="The bias moves")
def bias_moves(parameters):
    return {"where": "bias"} if parameters["bias"].l2 > 0.1 else None

def recipe():
    model = nn.Linear(2, 1)
    nn.init.zeros_(model.bias)
    data = torch.utils.data.TensorDataset(torch.randn(24, 2), torch.ones(24, 1))
    return gradscope.Recipe(model=model, dataset=data, loss=nn.MSELoss(), batch_size=4,
                            optimizer=torch.optim.SGD(model.parameters(), 0.04))
"""


def test_a_finding_that_was_not_there_before(write_recipe: Callable[..., Path]) -> None:
    path = write_recipe(WITH_RULE)
    texts = (
        "finding",
        "finding bias-moves in bias",
        "finding dead-units",
        "finding and step > 99",
        "parameter.l2 > 0.1 in bias",
    )
    found = halts(lambda: load_recipe(path), *texts, steps=4, findings=True)
    told = {halt.hit.id: halt for halt in found if halt.hit.id in (0, 1)}
    assert set(told) == {0, 1}
    for halt in told.values():
        assert (halt.hit.hits, halt.after, halt.hit.sentence) == (1, Phase.STEP, "found: The bias moves (bias)")
        assert halt.hit.step == next(other.hit.step for other in found if other.hit.id == 4)
    assert {halt.hit.id for halt in found} == {0, 1, 4}
