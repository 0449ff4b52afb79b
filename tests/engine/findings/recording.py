"""Trains a recipe and fills a record by hand, with what experiments about dynamics judge by."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from gradscope import Recipe, Session
from gradscope.engine.findings import yardstick
from gradscope.engine.findings.bench import Bench
from gradscope.engine.findings.record import LayerFacts, ParameterFacts, Record, StepFacts
from gradscope.engine.findings.restore import State


def trained(recipe: Recipe, steps: int, *, seed: int = 0, planned: int | None = None) -> tuple[Bench, Record, Session]:
    """A bench at the end of a training of so many steps, with its start."""
    session = Session(recipe, seed=seed)
    start = State.take(session)
    record = begun(recipe)
    for _ in range(steps):
        train_one(session, record)
    record.baseline = yardstick.baseline([y for _, y in session.loop.batches._loader], function=_name(recipe.loss))
    return Bench(session, record, start=start, planned=planned), record, session


def begun(recipe: Recipe) -> Record:
    record = Record(accumulate=recipe.accumulate, optimizers=dict(recipe.optimizers), loss_function=recipe.loss)
    record.is_plain = recipe.training_step is None and isinstance(recipe.model, nn.Module)
    assert isinstance(recipe.model, nn.Module)
    groups = {id(p): i for o in recipe.optimizers.values() for i, g in enumerate(o.param_groups) for p in g["params"]}
    for name, p in recipe.model.named_parameters():
        record.parameters[name] = ParameterFacts(
            name=name,
            layer=name.rpartition(".")[0],
            shape=tuple(p.shape),
            dtype=str(p.dtype),
            requires_grad=p.requires_grad,
            is_trained=id(p) in groups,
            group=groups.get(id(p)),
            turn="",
            start_l2=float(p.detach().norm()),
            start_std=0.0,
            start_rows_equal=False,
            tensor=p,
            start=p.detach().clone(),
        )
    for place, (name, module) in enumerate((n, m) for n, m in recipe.model.named_modules() if n):
        record.layers[name] = LayerFacts(
            name=name,
            kind=type(module).__name__,
            is_leaf=not any(True for _ in module.children()),
            parameters=tuple(f"{name}.{own}" for own, _ in module.named_parameters(recurse=False)),
            place=place,
            module=module,
        )
    return record


def train_one(session: Session, record: Record) -> None:
    """One step, noted."""
    outputs: list[Any] = []
    model: Any = session.recipe.model
    handle = model.register_forward_hook(lambda module, args, output: outputs.append(output))
    session.forward()
    handle.remove()
    loss, batch = session.loop.loss, session.batch
    measure = None
    if record.is_plain and isinstance(outputs[0], Tensor):
        measure = yardstick.measure(outputs[0], batch[1], function=_name(session.recipe.loss))
    optimizer = next(iter(session.recipe.optimizers.values()))
    rates = tuple(float(group["lr"]) for group in optimizer.param_groups)
    before = [[p.detach().clone() for p in group["params"]] for group in optimizer.param_groups]
    step = session.position.step
    session.next_batch()
    moves, decay, pull = [], 0.0, 0.0
    for group, own in zip(optimizer.param_groups, before, strict=True):
        moved = math.sqrt(sum(float((p.detach() - q).norm()) ** 2 for p, q in zip(group["params"], own, strict=True)))
        size = math.sqrt(sum(float(q.norm()) ** 2 for q in own))
        moves.append(moved / (size + 1e-12))
        if group.get("weight_decay"):
            is_apart = isinstance(optimizer, torch.optim.AdamW)
            decay += group["weight_decay"] * size * (group["lr"] if is_apart else 1.0)
            kept = [q * (1 - group["lr"] * group["weight_decay"]) for q in own]
            pull += (
                math.sqrt(sum(float((p.detach() - q).norm()) ** 2 for p, q in zip(group["params"], kept, strict=True)))
                if is_apart
                else math.sqrt(sum(float(p.grad.norm()) ** 2 for p in group["params"] if p.grad is not None))
            )
    record.steps.append(
        StepFacts(
            step=step,
            turn="",
            loss=math.nan if loss is None else loss,
            measure=measure,
            rates=rates,
            group_moves=tuple(moves),
            decay_share=decay / (pull + 1e-30) if decay else None,
        )
    )
    for name, p in model.named_parameters():
        record.parameters[name].norms.append((step, float(p.detach().norm())))


def _name(loss: Any) -> str:
    names = {"CrossEntropyLoss": "cross_entropy", "MSELoss": "mse_loss", "BCEWithLogitsLoss": ""}
    return names.get(type(loss).__name__, getattr(loss, "__name__", ""))
