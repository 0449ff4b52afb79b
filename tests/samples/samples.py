"""The sample recipes, as they are or with a line changed, and a plain loop that trains the simple ones."""

import importlib.util
import math
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from gradscope import Recipe, Session, load_recipe

SAMPLES = Path(__file__).parents[2] / "sample_models"
SEED = 0


def import_sample(file: Path) -> ModuleType:
    random.seed(SEED)
    np.random.seed(SEED)
    torch.manual_seed(SEED)
    spec = importlib.util.spec_from_file_location(f"sample_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load(name: str) -> Recipe:
    recipe = import_sample(SAMPLES / f"{name}.py").recipe()
    assert isinstance(recipe, Recipe)
    return recipe


def parameters(recipe: Recipe) -> dict[str, Tensor]:
    return recipe.model if isinstance(recipe.model, dict) else dict(recipe.model.named_parameters())


def epochs(recipe: Recipe) -> Iterator[list[float]]:
    """Train for as long as the caller asks; yield the losses of each epoch."""
    loader = DataLoader(
        recipe.dataset,
        recipe.batch_size,
        shuffle=recipe.shuffle,
        collate_fn=recipe.collate,
        generator=torch.Generator().manual_seed(SEED),
    )
    if isinstance(recipe.model, nn.Module):
        recipe.model.train()
    while True:
        losses = []
        for batch in loader:
            recipe.optimizer.zero_grad(set_to_none=True)
            if recipe.training_step is not None:
                result = recipe.training_step(recipe.model, batch)
                loss = result[0] if isinstance(result, tuple) else result
            else:
                inputs, targets = batch
                loss = recipe.loss(recipe.model(inputs), targets)
            loss.backward()
            recipe.optimizer.step()
            if recipe.scheduler is not None and recipe.scheduler_unit == "step":
                recipe.scheduler.step()
            losses.append(loss.item())
        if recipe.scheduler is not None and recipe.scheduler_unit == "epoch":
            recipe.scheduler.step()
        yield losses


def train(recipe: Recipe, *, epoch_count: int) -> list[list[float]]:
    losses = list(islice(epochs(recipe), epoch_count))
    assert all(math.isfinite(loss) for epoch in losses for loss in epoch)
    return losses


def mean(losses: list[float]) -> float:
    return sum(losses) / len(losses)


def first_batch(recipe: Recipe) -> list[Tensor]:
    generator = torch.Generator().manual_seed(SEED)
    loader = DataLoader(recipe.dataset, recipe.batch_size, shuffle=recipe.shuffle, generator=generator)
    batch: list[Tensor] = next(iter(loader))
    return batch


def session(name: str, folder: Path, **changes: str) -> Session:
    """A session of a sample. A change `NAME="value"` sets a constant, as its docstring proposes; `folder` takes the copy."""
    lines = {}
    text = (SAMPLES / f"{name}.py").read_text("utf-8")
    for line in text.splitlines():
        constant = line.partition("=")[0].partition(":")[0].strip()
        if not line.startswith(" ") and constant in changes:
            lines[line] = f"{constant} = {changes[constant]}"
    assert len(lines) == len(changes), f"not every one of {list(changes)} is a constant of {name}"
    return edited_session(name, folder, lines)


def edited_session(name: str, folder: Path, edits: dict[str, str]) -> Session:
    """A session of a copy of the sample, in which each text has been replaced."""
    text = (SAMPLES / f"{name}.py").read_text("utf-8")
    for old, new in edits.items():
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {name}"
        text = text.replace(old, new)
    folder.mkdir(exist_ok=True)
    file = folder / f"{name}.py"
    file.write_text(text, encoding="utf-8")
    return Session(load_recipe(file, SEED))


def run(session: Session, *, epochs: int) -> list[float]:
    """Train to the end of that many epochs; the mean loss of each so far."""
    while session.position.epoch < epochs:
        session.advance()
    losses = [[r.loss for r in session.history if r.epoch == epoch] for epoch in range(epochs)]
    return [mean([math.nan if loss is None else loss for loss in epoch]) for epoch in losses]
