"""Edits between steps: an edited session is a plain loop that makes the same assignment at the same place; undo is exact."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import plain
import pytest
import torch
import zoo
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import TensorDataset

from gradscope import Recipe, Session
from gradscope.protocol.messages.edits import (
    Edit,
    EditAccumulation,
    EditClipping,
    EditDropout,
    EditLoss,
    EditMembership,
    EditMode,
    EditOptimizer,
    EditOption,
    EditRequiresGrad,
    EditScheduler,
    EditZeroGrad,
)
from gradscope.protocol.phases import Phase, Rest, SubStep
from gradscope.protocol.subjects import SubjectKey, SubjectKind

STEPS = 7
Assignment = Callable[[Recipe], None]


def make(**fields: Any) -> Recipe:
    """Two groups, a scheduler, dropout and batch normalisation."""
    model = nn.Sequential(
        nn.Linear(zoo.FEATURES, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, zoo.CLASSES)
    )
    groups = [{"params": model[:2].parameters(), "lr": 0.05}, {"params": model[4].parameters()}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=0.01)
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.9)
    return zoo.classifier(model, optimizer=optimizer, **{"scheduler": scheduler, "batch_size": 4, **fields})


def regression(**fields: Any) -> Recipe:
    return make(dataset=TensorDataset(torch.randn(20, zoo.FEATURES), torch.randn(20, zoo.CLASSES)), **fields)


def outcome_of(session: Session) -> plain.Outcome:
    """By the optimizer and the scheduler of now."""
    turn, unit = session.training.turns[0], session.training.scheduler_unit
    in_use = replace(session.recipe, optimizer=turn.optimizer, scheduler=turn.scheduler, scheduler_unit=unit)
    return replace(plain.outcome_of(session), state=plain.state_of(in_use))


def edited(make: Callable[[], Recipe], edits: Mapping[int, list[Edit]]) -> tuple[Session, plain.Outcome]:
    """A session that makes the edits before the steps with these numbers."""
    with Session(plain.seeded(make)) as session:
        while session.position.step < STEPS:
            if session.position.rest is Rest.READY:
                for edit in edits.get(session.position.step, []):
                    session.edit(edit)
            session.advance()
        assert session.observer.errors == []
        return session, replace(outcome_of(session), scales=[None] * STEPS)


def assigned(make: Callable[[], Recipe], assignments: Mapping[int, Assignment]) -> plain.Outcome:
    """The plain loop that makes the assignments before the steps with these numbers."""
    recipe, outcome = plain.seeded(make), plain.Outcome()
    recipe.model.train()
    assert 0 not in assignments
    for _ in plain._steps(recipe, plain.plain_loader(recipe, 0), outcome, 10**9):
        if len(outcome.losses) == STEPS:
            break
        if len(outcome.losses) in assignments:
            assignments[len(outcome.losses)](recipe)
    outcome.state = plain.state_of(recipe)
    return outcome


def check(edit: Edit | list[Edit], assignment: Assignment, *, make: Callable[[], Recipe] = make) -> Session:
    """The edit before step 4 is the assignment, changes something, and what follows is the same bit for bit."""
    edits = edit if isinstance(edit, list) else [edit]
    session, found = edited(make, {4: edits})
    plain.assert_same_outcome(assigned(make, {4: assignment}), found)
    assert found.losses != untouched(make).losses
    return session


@functools.cache
def untouched(make: Callable[[], Recipe]) -> plain.Outcome:
    return edited(make, {})[1]


def set_option(group: int, **options: Any) -> Assignment:
    return lambda recipe: recipe.optimizer.param_groups[group].update(options)


def set_field(**fields: Any) -> Assignment:
    def assign(recipe: Recipe) -> None:
        for name, value in fields.items():
            object.__setattr__(recipe, name, value)

    return assign


# -------------------------------------------------------------------------------------------------- a plain loop


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        ("lr", "1e-3", 1e-3),
        ("momentum", "0.5", 0.5),
        ("weight_decay", "0.2", 0.2),
        ("dampening", "0.1", 0.1),
        ("nesterov", "True", True),
        ("maximize", " True ", True),
    ],
)
def test_an_option_of_a_group(option: str, text: str, value: Any) -> None:
    check(EditOption(group=1, option=option, value=text), set_option(1, **{option: value}))


def test_two_momenta() -> None:
    def with_adam() -> Recipe:
        recipe = make(scheduler=None)
        return replace(recipe, optimizer=torch.optim.Adam(recipe.model.parameters(), lr=0.01))

    check(EditOption(group=0, option="betas", value="(0.5, 0.9)"), set_option(0, betas=(0.5, 0.9)), make=with_adam)


def test_a_rate_that_is_a_tensor() -> None:
    def with_tensor() -> Recipe:
        recipe = make(scheduler=None)
        return replace(recipe, optimizer=torch.optim.SGD(recipe.model.parameters(), lr=torch.tensor(0.1)))

    session = check(
        EditOption(group=0, option="lr", value="0.02"), set_option(0, lr=torch.tensor(0.02)), make=with_tensor
    )
    assert session.edits[0].text.startswith("Learning rate: 0.1")


def test_clipping() -> None:
    session = check(EditClipping(norm=0.1, value=None), set_field(clip_norm=0.1))
    assert SubStep.CLIP in session.info.substeps and session.info.clip_norm == 0.1
    check(EditClipping(norm=None, value=0.01), set_field(clip_value=0.01))
    check(
        EditClipping(norm=0.5, value=0.01), set_field(clip_norm=0.5, clip_value=0.01), make=lambda: make(clip_norm=1e-3)
    )


def test_accumulation() -> None:
    check(EditAccumulation(micro_batches=3), set_field(accumulate=3))
    check(EditAccumulation(micro_batches=1), set_field(accumulate=1), make=lambda: make(accumulate=2))


def test_zero_grad() -> None:
    check(EditZeroGrad(mode="manual"), set_field(zero_grad="manual"))
    check(EditZeroGrad(mode="auto"), set_field(zero_grad="auto"), make=lambda: make(zero_grad="manual"))


def test_dropout() -> None:
    def assign(recipe: Recipe) -> None:
        recipe.model[2].p = 0.8

    session = check(EditDropout(layer="2", p=0.8), assign)
    assert {module.name: module.dropout for module in session.info.modules}["2"] == 0.8
    check(EditDropout(layer="", p=0.8), assign)


def test_dropout_of_recurrent_layers() -> None:
    def assign(recipe: Recipe) -> None:
        recipe.model.lstm.dropout = 0.7

    check(EditDropout(layer="lstm", p=0.7), assign, make=zoo.lstm)


@pytest.mark.parametrize("is_parameter", [False, True])
def test_freezing_and_unfreezing(is_parameter: bool) -> None:
    name = "4.weight" if is_parameter else "4"

    def assign(recipe: Recipe, flag: bool = False) -> None:
        (recipe.model[4].weight if is_parameter else recipe.model[4]).requires_grad_(flag)

    frozen = EditRequiresGrad(name=name, is_parameter=is_parameter, requires_grad=False)
    session = check(frozen, assign)
    assert {p.name: p.requires_grad for p in session.info.parameters} == {
        "0.weight": True,
        "0.bias": True,
        "1.weight": True,
        "1.bias": True,
        "4.weight": False,
        "4.bias": is_parameter,
    }
    unfrozen = replace(frozen, requires_grad=True)
    _, found = edited(make, {2: [frozen], 6: [unfrozen]})
    plain.assert_same_outcome(assigned(make, {2: assign, 6: lambda recipe: assign(recipe, True)}), found)


def test_a_frozen_parameter_with_a_gradient_still_moves() -> None:
    """As in torch; and its movement is seen."""
    edit = EditRequiresGrad(name="4", is_parameter=False, requires_grad=False)
    with Session(plain.seeded(lambda: make(zero_grad="manual"))) as session:
        session.next_batch()
        assert "is moved by it until Zero grad" in session.edit(edit).text
        report = session.next_batch()[-1]
    update = next(s for s in report.subjects if s.kind == "update" and s.name == "4.weight")
    assert update.l2 > 0


def test_what_is_remembered_of_a_frozen_parameter_keeps_its_name() -> None:
    def adam() -> Recipe:
        model = zoo.mlp()
        return zoo.classifier(model, optimizer=torch.optim.Adam(model.parameters(), lr=0.1))

    with Session(plain.seeded(adam)) as session:
        session.next_batch()
        before = session.known_subjects(SubjectKind.OPTIMIZER_STATE)
        name = before[0].name
        session.edit(EditRequiresGrad(name=name, is_parameter=True, requires_grad=False))
        session.next_batch()
        assert session.known_subjects(SubjectKind.OPTIMIZER_STATE) == before
        key = SubjectKey(SubjectKind.OPTIMIZER_STATE, name, leaf=".exp_avg")
        assert key in before and session.values(key) is not None
        report = session.reports[Phase.STEP]
        assert {s.name for s in report.subjects if s.kind == "optimizer_state"} == {key.name for key in before}
        assert name not in {s.name for s in report.subjects if s.kind == "update"}


@pytest.mark.parametrize("layer", ["", "1"])
def test_eval_mode_of_a_layer(layer: str) -> None:
    def assign(recipe: Recipe) -> None:
        recipe.model.get_submodule(layer).eval()

    session = check(EditMode(layer=layer, training=False), assign)
    assert [module.name for module in session.info.modules if not module.training] == (
        ["1"] if layer else ["", "0", "1", "2", "3", "4"]
    )


def test_another_loss() -> None:
    def smoothed() -> nn.Module:
        return nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 0.5]), label_smoothing=0.1)

    arguments = {"weight": "[1.0, 2.0, 0.5]", "label_smoothing": "0.1"}
    session = check(EditLoss(loss="CrossEntropyLoss", arguments=arguments), lambda r: set_field(loss=smoothed())(r))
    assert session.choices().loss.arguments["label_smoothing"] == "0.1"
    make_it = lambda: regression(loss=nn.MSELoss())  # noqa: E731
    session = check(
        EditLoss(loss="HuberLoss", arguments={"delta": "0.2"}), set_field(loss=nn.HuberLoss(delta=0.2)), make=make_it
    )
    assert session.info.loss == "HuberLoss"


def _groups(recipe: Recipe) -> list[dict[str, Any]]:
    return [{"params": group["params"]} for group in recipe.optimizer.param_groups]


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "RMSprop", "Adagrad", "NAdam", "Rprop"])
def test_another_optimizer(name: str) -> None:
    cls = getattr(torch.optim, name)

    def assign(recipe: Recipe) -> None:
        optimizer = cls(_groups(recipe), lr=0.02)
        set_field(optimizer=optimizer, scheduler=lr_scheduler.ExponentialLR(optimizer, 0.9))(recipe)

    session = check(EditOptimizer(optimizer=name, arguments={"lr": "0.02"}), assign)
    assert session.info.optimizer == name and session.info.scheduler == "ExponentialLR"
    assert "made anew" in session.edits[0].text


def test_another_optimizer_without_the_scheduler() -> None:
    def assign(recipe: Recipe) -> None:
        set_field(optimizer=torch.optim.Adam(_groups(recipe)), scheduler=None)(recipe)

    session = check(EditOptimizer(optimizer="Adam", keep_scheduler=False), assign)
    assert session.info.scheduler is None and "ExponentialLR is dropped" in session.edits[0].text


def test_lbfgs_in_place_of_another() -> None:
    def assign(recipe: Recipe) -> None:
        tensors = [p for group in recipe.optimizer.param_groups for p in group["params"]]
        set_field(optimizer=torch.optim.LBFGS(tensors, lr=0.1, max_iter=3))(recipe)

    def without_groups() -> Recipe:
        recipe = zoo.classifier(zoo.mlp(), batch_size=4)
        return replace(recipe, accumulate=2)

    edit = EditOptimizer(optimizer="LBFGS", arguments={"lr": "0.1", "max_iter": "3"})
    check(edit, assign, make=without_groups)


def test_another_scheduler() -> None:
    def assign(recipe: Recipe) -> None:
        set_field(scheduler=lr_scheduler.StepLR(recipe.optimizer, 2, gamma=0.5))(recipe)

    session = check(EditScheduler(scheduler="StepLR", arguments={"step_size": "2", "gamma": "0.5"}), assign)
    assert session.info.scheduler == "StepLR"

    def cycle(recipe: Recipe) -> None:
        set_field(scheduler=lr_scheduler.OneCycleLR(recipe.optimizer, [0.2, 0.3], total_steps=20))(recipe)

    arguments = {"max_lr": "[0.2, 0.3]", "total_steps": "20"}
    session = check(EditScheduler(scheduler="OneCycleLR", arguments=arguments), cycle)
    assert session.schedule(100).horizon == 4 + 20


def test_no_scheduler() -> None:
    check(EditScheduler(scheduler=""), set_field(scheduler=None))


def test_plateau_with_a_metric() -> None:
    def assign(recipe: Recipe) -> None:
        scheduler = lr_scheduler.ReduceLROnPlateau(recipe.optimizer, patience=0, factor=0.1, threshold=10.0)
        set_field(scheduler=scheduler, scheduler_unit="epoch")(recipe)

    arguments = {"patience": "0", "factor": "0.1", "threshold": "10.0"}
    edit = EditScheduler(scheduler="ReduceLROnPlateau", arguments=arguments, unit="epoch", metric="train_loss")
    session, found = edited(make, {2: [edit]})
    plain.assert_same_outcome(assigned(make, {2: assign}), found)
    assert session.info.scheduler_unit == "epoch"


def test_adding_an_orphan_to_a_group() -> None:
    def with_orphan() -> Recipe:
        recipe = make(scheduler=None)
        held = [*recipe.model[:2].parameters()]
        return replace(recipe, optimizer=torch.optim.SGD(held, lr=0.05, momentum=0.9))

    def assign(recipe: Recipe) -> None:
        recipe.optimizer.param_groups[0]["params"] += recipe.model[4].parameters()

    session = check(EditMembership(name="4", is_parameter=False, group=0), assign, make=with_orphan)
    assert session.info.warnings == ()


# -------------------------------------------------------------------------------------------------- undo

EDITS: list[Edit] = [
    EditOption(group=0, option="lr", value="0.5"),
    EditOption(group=1, option="weight_decay", value="0"),
    EditClipping(norm=0.1, value=0.2),
    EditAccumulation(micro_batches=3),
    EditZeroGrad(mode="manual"),
    EditLoss(loss="MultiMarginLoss"),
    EditOptimizer(optimizer="Adam"),
    EditOptimizer(optimizer="LBFGS"),
    EditScheduler(scheduler=""),
    EditScheduler(scheduler="OneCycleLR", arguments={"max_lr": "0.3", "total_steps": "50"}),
    EditDropout(layer="", p=0.9),
    EditRequiresGrad(name="0", is_parameter=False, requires_grad=False),
    EditMode(layer="", training=False),
]


def _undoable() -> list[Edit]:
    # LBFGS takes a single group.
    return [edit for edit in EDITS if getattr(edit, "optimizer", "") != "LBFGS"]


@pytest.mark.parametrize("edit", _undoable(), ids=lambda edit: type(edit).__name__)
def test_undone_at_once_it_never_was(edit: Edit) -> None:
    with Session(plain.seeded(make)) as session:
        before = session.describe()
        while session.position.step < 4:
            session.advance()
        state = plain.state_of(session.recipe)
        session.edit(edit)
        assert session.info != before
        record, text = session.undo_edit()
        plain.assert_same(state, outcome_of(session).state)
        assert record.undone_at == 4 and text.startswith("Undone: ")
        while session.position.step < STEPS:
            session.advance()
        found = replace(outcome_of(session), scales=[None] * STEPS)
    plain.assert_same_outcome(assigned(make, {}), found)


def test_all_at_once_and_back() -> None:
    with Session(plain.seeded(make)) as session:
        while session.position.step < 4:
            session.advance()
        before = session.describe()
        for edit in _undoable():
            session.edit(edit)
        for _ in _undoable():
            session.undo_edit()
        assert session.info == before
        assert [record.undone_at for record in session.edits] == [4] * len(_undoable())
        while session.position.step < STEPS:
            session.advance()
        found = replace(outcome_of(session), scales=[None] * STEPS)
    plain.assert_same_outcome(assigned(make, {}), found)


def test_the_old_optimizer_comes_back_with_its_state_and_its_scheduler() -> None:
    with Session(plain.seeded(make)) as session:
        for _ in range(3):
            session.next_batch()
        turn = session.training.turns[0]
        optimizer, scheduler = turn.optimizer, turn.scheduler
        state = {key: value["momentum_buffer"].clone() for key, value in optimizer.state.items()}
        session.edit(EditOptimizer(optimizer="Adam"))
        assert turn.optimizer is not optimizer and len(turn.optimizer.state) == 0
        assert len(turn.optimizer.param_groups) == 2
        session.next_batch()
        session.undo_edit()
        assert turn.optimizer is optimizer and turn.scheduler is scheduler and scheduler.last_epoch == 3
        assert all(torch.equal(optimizer.state[key]["momentum_buffer"], buffer) for key, buffer in state.items())


def test_undoing_a_rate_that_the_scheduler_has_moved_takes_the_factor_out() -> None:
    with Session(plain.seeded(make)) as session:
        while session.position.step < STEPS:
            if session.position.step == 3 and session.position.rest is Rest.READY and not session.edits:
                session.edit(EditOption(group=0, option="lr", value="0.001"))
            session.advance()
        _, text = session.undo_edit()
        rate = session.training.turns[0].optimizer.param_groups[0]["lr"]
    assert rate == pytest.approx(untouched(make).rates[-1][0] * 0.9, rel=1e-12)
    assert "ExponentialLR has moved it since" in text


def test_undoing_a_rate_that_the_scheduler_has_replaced_leaves_it_alone() -> None:
    def with_lambda() -> Recipe:
        recipe = make()
        return replace(recipe, scheduler=lr_scheduler.LambdaLR(recipe.optimizer, lambda step: 1 / (1 + step)))

    with Session(plain.seeded(with_lambda)) as session:
        session.next_batch()
        text = session.edit(EditOption(group=0, option="lr", value="7")).text
        assert "LambdaLR sets its own again after the next step: edit initial_lr" in text
        session.next_batch()
        group = session.training.turns[0].optimizer.param_groups[0]
        now = group["lr"]
        _, text = session.undo_edit()
        assert group["lr"] == now != 7 and "has set its own since" in text


# -------------------------------------------------------------------------------------------------- schedulers


def test_what_a_scheduler_does_with_an_edited_rate_is_said_and_foretold() -> None:
    for cls, arguments, words in (
        (lr_scheduler.ExponentialLR, {"gamma": 0.9}, "ExponentialLR goes on from it"),
        (lr_scheduler.StepLR, {"step_size": 3}, "StepLR goes on from it"),
        (lr_scheduler.CosineAnnealingLR, {"T_max": 30}, "CosineAnnealingLR goes on from it"),
        (
            lr_scheduler.OneCycleLR,
            {"max_lr": 0.3, "total_steps": 30},
            "OneCycleLR sets its own again after the next step: edit max_lr",
        ),
        (lr_scheduler.CyclicLR, {"base_lr": 0.1, "max_lr": 0.3}, "CyclicLR sets its own again after the next step"),
    ):

        def with_scheduler(cls: Any = cls, arguments: Any = arguments) -> Recipe:
            recipe = zoo.classifier(zoo.mlp())
            return replace(recipe, scheduler=cls(recipe.optimizer, **arguments))

        with Session(plain.seeded(with_scheduler)) as session:
            session.next_batch()
            record = session.edit(EditOption(group=0, option="lr", value="0.02"))
            assert words in record.text
            foretold = session.schedule(8).rates[0]
            assert foretold[0] == 0.02
            for _ in range(8):
                session.next_batch()
            assert [step.lr[0] for step in session.history[1:]] == list(foretold)


def test_the_rates_that_a_schedule_begins_with() -> None:
    def with_lambda() -> Recipe:
        recipe = make()
        return replace(recipe, scheduler=lr_scheduler.LambdaLR(recipe.optimizer, lambda step: 1 / (1 + step)))

    def assign(recipe: Recipe) -> None:
        recipe.optimizer.param_groups[0]["initial_lr"] = 0.4
        recipe.scheduler.base_lrs[0] = 0.4

    session = check(EditOption(group=0, option="initial_lr", value="0.4"), assign, make=with_lambda)
    assert "LambdaLR goes by it" in session.edits[0].text
    session, _ = edited(make, {4: [EditOption(group=0, option="initial_lr", value="0.4")]})
    assert "ExponentialLR does not use it" in session.edits[0].text


def test_a_cycled_momentum_is_set_again() -> None:
    def with_cycle() -> Recipe:
        recipe = zoo.classifier(zoo.mlp())
        return replace(recipe, scheduler=lr_scheduler.OneCycleLR(recipe.optimizer, 0.3, total_steps=30))

    with Session(plain.seeded(with_cycle)) as session:
        text = session.edit(EditOption(group=0, option="momentum", value="0.1")).text
    assert "OneCycleLR sets its own again" in text


# -------------------------------------------------------------------------------------------------- inside a step


def test_a_window_under_way_keeps_its_size() -> None:
    with Session(plain.seeded(lambda: make(accumulate=3))) as session:
        session.forward()
        record = session.edit(EditAccumulation(micro_batches=2))
        assert "counts from the next window" in record.text and session.position.window == 3
        foretold = session.schedule(4).rates[0]
        while session.position.rest is not Rest.READY:
            session.advance()
        assert session.history[0].micro_batches == 3 and session.position.window == 2
        for _ in range(3):
            session.next_batch()
        assert [record.lr[0] for record in session.history] == list(foretold)
        assert [record.micro_batches for record in session.history] == [3, 2, 2, 2]


@pytest.mark.parametrize("phases", [0, 1, 2])
def test_the_end_of_the_epoch_is_foretold_after_a_change_of_window(phases: int) -> None:
    """Five batches an epoch: the window under way is of three or is not, those to come are of one."""
    with Session(plain.seeded(lambda: make(accumulate=3, scheduler_unit="epoch"))) as session:
        for _ in range(phases):
            session.advance()
        session.edit(EditAccumulation(micro_batches=1))
        foretold = session.schedule(8).rates[0]
        for _ in range(8):
            session.next_batch()
        assert [record.lr[0] for record in session.history] == list(foretold)


def test_an_edit_of_the_loss_counts_from_the_next_forward() -> None:
    with Session(plain.seeded(make)) as session:
        session.forward()
        assert "counts from the next forward on" in session.edit(EditLoss(loss="MultiMarginLoss")).text
        before = session.loop.loss
        session.backward()
        assert session.loop.loss == before
    session, found = edited(make, {1: [EditLoss(loss="MultiMarginLoss")]})
    plain.assert_same_outcome(assigned(make, {1: set_field(loss=nn.MultiMarginLoss())}), found)


def test_a_step_uses_what_was_edited_while_its_gradients_waited() -> None:
    with Session(plain.seeded(make)) as session:
        session.forward()
        session.backward()
        weight = session.recipe.model[4].weight
        before = weight.detach().clone()
        session.edit(EditOption(group=1, option="lr", value="0"))
        session.step()
        assert torch.equal(weight, before)
        assert session.history[0].lr == (0.05, 0.0)


def test_phases_of_an_edited_session_are_still_undone_when_they_fail() -> None:
    with Session(plain.seeded(make)) as session:
        session.next_batch()
        session.edit(EditOptimizer(optimizer="Adam"))
        session.forward()
        session.backward()
        assert session.reports[Phase.BACKWARD].phase is Phase.BACKWARD
        state = outcome_of(session).state
        session.training.turns[0].scheduler.step = lambda: 1 / 0  # type: ignore[method-assign]
        with pytest.raises(Exception, match="division"):
            session.step()
        plain.assert_same(state["tensors"], outcome_of(session).state["tensors"])
        assert len(session.training.turns[0].optimizer.state) == 0


def test_a_rate_that_differs_in_its_last_digit_is_no_other_rate() -> None:
    def cycle() -> Recipe:
        model = zoo.mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        scheduler = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=10)
        return zoo.classifier(model, optimizer=optimizer, scheduler=scheduler)

    with Session(plain.seeded(cycle)) as session:
        group = session.training.optimizers[0].param_groups[0]
        group["lr"] = group["initial_lr"] * (1 + 2e-16) + 5e-19
        assert group["lr"] != group["initial_lr"]
        text = session.edit(EditScheduler(scheduler="StepLR", arguments={"step_size": "3"})).text
        assert "initial_lr" not in text
        group["lr"] = 0.3
        text = session.edit(EditScheduler(scheduler="StepLR", arguments={"step_size": "4"})).text
        assert "which is not its rate now, 0.3" in text
