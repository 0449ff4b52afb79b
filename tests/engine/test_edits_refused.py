"""Edits that are wrong, or not possible now: one sentence, and nothing has changed."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import plain
import pytest
import torch
import zoo
from torch import nn
from torch.optim import lr_scheduler

from gradscope import Recipe, Session
from gradscope.engine.surroundings.unwinding import Unwind
from gradscope.protocol.failure import BadInput
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
    EditSchedulerMetric,
    EditZeroGrad,
)
from gradscope.protocol.phases import Rest


def refused(session: Session, edit: Edit) -> str:
    """The sentence; nothing has changed."""
    before, state = session.describe(), plain.state_of(session.recipe)
    objects = [(turn.optimizer, turn.scheduler) for turn in session.training.turns]
    with pytest.raises(BadInput) as refusal:
        session.edit(edit)
    assert session.describe() == before
    plain.assert_same(plain.state_of(session.recipe), state)
    assert [(turn.optimizer, turn.scheduler) for turn in session.training.turns] == objects
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def trained(**fields: Any) -> Session:
    """After two steps."""
    session = Session(
        plain.seeded(lambda: zoo.classifier(fields.pop("model", None) or zoo.mlp(), batch_size=4, **fields))
    )
    session.next_batch()
    session.next_batch()
    return session


@pytest.fixture(scope="module")
def one_session() -> Iterator[Session]:
    """For what changes nothing."""
    with trained() as session:
        yield session


def option(name: str, value: str, group: int = 0) -> EditOption:
    return EditOption(group=group, option=name, value=value)


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (option("lr", "fast"), "Learning rate is fast; expected a number"),
        (option("lr", "-1"), "Learning rate is -1; expected a number from 0"),
        (option("lr", "1e999"), "Learning rate is 1e999; expected a number"),
        (option("lr", "__import__('os').abort()"), "Learning rate is __import__('os').abort(); expected a number"),
        (option("lr", "True"), "Learning rate is True; expected a number"),
        (option("lr", "None"), "Learning rate is None; expected a number"),
        (option("lr", ""), "Learning rate is empty; expected a number"),
        (option("lr", "(" * 9000), "expected a number"),
        (option("lr", "0.1"), "Learning rate is 0.1 already"),
        (option("lr", "0.1", group=3), "There is no parameter group 3; expected one from 0 to 0"),
        (option("params", "[]"), "Group 0 has no option 'params'; expected one of lr, momentum"),
        (option("beta", "1"), "Group 0 has no option 'beta'"),
        (option("nesterov", "1"), "nesterov is 1; expected True or False"),
        (option("momentum", "-0.5"), "Invalid momentum value: -0.5"),
        (option("foreach", "0.5"), "foreach is 0.5; expected True or False, or None"),
        (EditClipping(norm=0.0, value=None), "clip_norm is 0.0; expected a number above 0, or None"),
        (EditClipping(norm=None, value=float("nan")), "clip_value is nan; expected a number above 0"),
        (EditClipping(norm=None, value=None), "already"),
        (EditAccumulation(micro_batches=0), "accumulate is 0; expected a whole number from 1"),
        (EditAccumulation(micro_batches=1), "accumulate is 1 already"),
        (EditZeroGrad(mode="never"), 'expected "auto" or "manual"'),
        (EditSchedulerMetric(metric="loss"), "expected 'train_loss' (the others need a validation in the recipe)"),
        (EditDropout(layer="0", p=0.5), "There is no dropout in 0"),
        (EditDropout(layer="nowhere", p=0.5), "The model has no layer 'nowhere'"),
        (EditDropout(layer="", p=1.5), "The dropout of The model is 1.5; expected a probability from 0 to 1"),
        (EditMode(layer="0", training=True), "0 is in train mode already"),
        (EditRequiresGrad(name="0.weight", is_parameter=True, requires_grad=True), "0.weight is trainable already"),
        (EditRequiresGrad(name="1", is_parameter=False, requires_grad=False), "1 has no parameters"),
        (EditRequiresGrad(name="1.w", is_parameter=True, requires_grad=False), "The model has no parameter '1.w'"),
        (EditMembership(name="0", is_parameter=False, group=0), "Every parameter of 0 is in an optimizer already"),
        (EditLoss(loss="MeanLoss"), "has no class 'MeanLoss' among its losses"),
        (EditLoss(loss="TripletMarginLoss"), "it is called with anchor, positive, negative"),
        (
            EditLoss(loss="MSELoss", arguments={"reduction": "'none'"}),
            "MSELoss(reduction=...) is 'none'; expected 'mean' or",
        ),
        (EditLoss(loss="MSELoss", arguments={"speed": "1"}), "MSELoss has no argument 'speed' here"),
        (EditLoss(loss="CrossEntropyLoss", arguments={"weight": "'x'"}), "expected a list of numbers, or None"),
        (EditOptimizer(optimizer="Optimizer"), "has no class 'Optimizer' among its optimizers"),
        (EditOptimizer(optimizer="Adam", turn="generator"), "There is no optimizer 'generator'; expected one of ''"),
        (EditOptimizer(optimizer="Adam", arguments={"betas": "(0.9, 1.5)"}), "Invalid beta parameter at index 1: 1.5"),
        (EditOptimizer(optimizer="Adam", arguments={"betas": "(0.9,)"}), "expected 2 numbers, as (0.9, 0.999)"),
        (EditOptimizer(optimizer="Muon"), "Muon only supports 2D parameters"),
        (EditScheduler(scheduler=""), "There is no scheduler already"),
        (EditScheduler(scheduler="StepLR"), "StepLR(step_size=...) is missing; expected a whole number"),
        (EditScheduler(scheduler="StepLR", arguments={"step_size": "2.5"}), "is 2.5; expected a whole number"),
        (EditScheduler(scheduler="LambdaLR"), "it needs a function (lr_lambda), which only code can give"),
        (EditScheduler(scheduler="SequentialLR"), "it needs schedulers (schedulers), which only code can give"),
        (
            EditScheduler(scheduler="OneCycleLR", arguments={"max_lr": "1"}),
            "OneCycleLR(max_lr=1) cannot be made: ValueError",
        ),
        (
            EditScheduler(scheduler="OneCycleLR", arguments={"max_lr": "[1, 2, 3]", "total_steps": "9"}),
            "cannot be made",
        ),
        (EditScheduler(scheduler="ConstantLR", unit="week"), 'expected "step" or "epoch"'),
        (EditScheduler(scheduler="ReduceLROnPlateau"), 'expected the unit "epoch"'),
        (EditScheduler(scheduler="ReduceLROnPlateau", unit="epoch", metric="loss"), "expected 'train_loss'"),
    ],
    ids=str,
)
def test_what_is_wrong(edit: Edit, sentence: str, one_session: Session) -> None:
    assert sentence in refused(one_session, edit)
    assert one_session.edits == []
    with pytest.raises(BadInput, match="There is no edit to undo"):
        one_session.undo_edit()


def test_what_exits_instead_of_being_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def leaving(init: Any) -> Any:
        @functools.wraps(init)
        def leave(self: Any, optimizer: Any = None, *_: Any, **__: Any) -> None:
            if isinstance(self, lr_scheduler.LRScheduler):
                optimizer.param_groups[0]["lr"] = 7.0
            raise raised

        return leave

    with trained() as session:
        for cls in (nn.HuberLoss, torch.optim.Adam, lr_scheduler.StepLR, type(session.recipe.optimizer)):
            monkeypatch.setattr(cls, "__init__", leaving(cls.__init__))
        raised: BaseException = SystemExit("not today")
        scheduler = EditScheduler(scheduler="StepLR", arguments={"step_size": "1"})
        for edit in (EditLoss(loss="HuberLoss"), EditOptimizer(optimizer="Adam"), scheduler):
            assert "cannot be made: sys.exit('not today') was called" in refused(session, edit)
        assert "not today" in refused(session, EditOption(group=0, option="lr", value="0.5"))
        raised, before = Unwind(), plain.state_of(session.recipe)
        with pytest.raises(Unwind):
            session.edit(scheduler)
        plain.assert_same(plain.state_of(session.recipe), before)


def test_options_that_need_a_state_the_optimizer_does_not_have() -> None:
    with _with(torch.optim.Adam) as session:
        sentence = refused(session, option("amsgrad", "True"))
        assert "amsgrad cannot be True in Adam: it needs 'max_exp_avg_sq" in sentence
        assert "0.9" in refused(session, option("betas", "(0.9, 0.999)"))
    with _with(torch.optim.RMSprop) as session:
        assert "it needs 'momentum_buffer'" in refused(session, option("momentum", "0.9"))
        assert "it needs 'grad_avg'" in refused(session, option("centered", "True"))
    with _with(torch.optim.SGD) as session:
        session.edit(option("momentum", "0.9"))
        session.next_batch()
        assert "Nesterov" in refused(_zero_momentum(session), option("nesterov", "True"))
    with _with(torch.optim.Adagrad) as session:
        assert "it counts only when the optimizer is made" in refused(session, option("initial_accumulator_value", "1"))


def _zero_momentum(session: Session) -> Session:
    session.edit(option("momentum", "0"))
    return session


def _with(cls: Any) -> Session:
    model = zoo.mlp()
    session = Session(zoo.classifier(model, optimizer=cls(model.parameters(), lr=0.01)))
    session.next_batch()
    return session


def test_adding_a_parameter_where_the_state_is_made_with_the_optimizer() -> None:
    model = zoo.mlp()
    optimizer = torch.optim.LBFGS(model[0].parameters(), lr=0.01)
    with Session(zoo.classifier(model, optimizer=optimizer)) as session:
        session.next_batch()
        assert "the same chosen anew" in refused(session, EditMembership(name="2", is_parameter=False, group=0))


def test_a_graph_that_waits() -> None:
    model = nn.Sequential(zoo.mlp(), nn.Dropout(0.5))
    with trained(model=model) as session:
        session.forward()
        assert session.position.rest is Rest.FORWARD
        for edit in (EditDropout(layer="1", p=0.1), EditMode(layer="", training=False)):
            assert "A graph waits for its backward" in refused(session, edit)
        freeze = EditRequiresGrad(name="0.0", is_parameter=False, requires_grad=False)
        assert "finish the step first" in refused(session, freeze)
        session.backward()
        assert "finish the step first" in refused(session, freeze)
        session.edit(EditDropout(layer="1", p=0.1))
        session.step()
        session.edit(freeze)
        session.forward()
        with pytest.raises(BadInput, match="finish the step first"):
            session.undo_edit()
        assert session.edits[-1].undone_at is None


def test_a_closure_that_sees_the_batch_again() -> None:
    model = zoo.mlp()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=2)
    with Session(zoo.classifier(model, optimizer=optimizer, accumulate=2)) as session:
        session.forward()
        session.backward()
        assert session.position.rest is Rest.ACCUMULATING
        for edit in (EditLoss(loss="MultiMarginLoss"), EditZeroGrad(mode="manual"), EditMode(layer="", training=False)):
            assert "LBFGS evaluates this batch again in its step" in refused(session, edit)
        assert "finish the step first" in refused(session, EditOptimizer(optimizer="Adam"))
        session.next_batch()
        session.edit(EditOptimizer(optimizer="Adam"))
        session.next_batch()


def test_lbfgs_and_a_gradient_scaler() -> None:
    with trained(precision="fp16") as session:
        assert "GradScaler takes no closure" in refused(session, EditOptimizer(optimizer="LBFGS"))


def test_a_loss_inside_training_step() -> None:
    with trained(loss=None, training_step=lambda model, batch: model(batch[0]).sum()) as session:
        assert "computes its loss in training_step" in refused(session, EditLoss(loss="MSELoss"))
        assert session.choices().loss is None


def test_several_optimizers() -> None:
    def gan() -> Recipe:
        model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
        optimizers = {name: torch.optim.SGD(model[name].parameters(), lr=0.1) for name in ("a", "b")}
        steps = {name: lambda model, batch, name=name: model[name](batch).sum() for name in ("a", "b")}
        return Recipe(
            model=model,
            dataset=[torch.ones(2)] * 8,
            optimizer=optimizers,
            training_step=steps,
            scheduler={"a": lr_scheduler.ExponentialLR(optimizers["a"], 0.9)},
            batch_size=2,
        )

    with Session(plain.seeded(gan)) as session:
        session.next_batch()
        assert "with several optimizers" in refused(session, EditAccumulation(micro_batches=2))
        edit = EditScheduler(scheduler="ConstantLR", turn="b", unit="epoch")
        assert "The scheduler of a is stepped every step, and all are stepped together" in refused(session, edit)
        session.edit(EditOption(group=1, option="lr", value="0.5"))
        session.edit(EditOptimizer(turn="b", optimizer="Adam"))
        session.edit(EditScheduler(turn="b", scheduler="ExponentialLR", arguments={"gamma": "0.5"}))
        session.next_batch()
        assert session.history[-1].lr == (pytest.approx(0.081), 0.001)
        assert session.info.optimizer == "SGD + Adam"


def test_edits_end_with_their_session() -> None:
    session = trained()
    session.edit(option("lr", "0.5"))
    session.close()
    with pytest.raises(BadInput, match="There is no edit to undo"):
        session.undo_edit()


def test_a_loaded_checkpoint_cannot_be_undone_past(tmp_path: Path) -> None:
    with trained() as session:
        session.save_checkpoint(tmp_path / "saved.pt")
        session.edit(option("lr", "0.5"))
        session.load_checkpoint(tmp_path / "saved.pt")
        assert session.training.turns[0].optimizer.param_groups[0]["lr"] == 0.1
        with pytest.raises(BadInput, match="There is no edit to undo"):
            session.undo_edit()
