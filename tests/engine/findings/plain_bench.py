"""The bench of a small session, and a record without steps: what experiments are tried on, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from gradscope.engine.findings.bench import Bench
from gradscope.engine.findings.record import LayerFacts, Record
from gradscope.engine.recipe.recipe import Recipe
from gradscope.engine.session import Session


class Ready(Dataset[Any]):
    """Batches as they are; `read` gives them anew in each pass."""

    def __init__(self, read: Callable[[], Sequence[Any]]) -> None:
        self.read, self.now = read, read()

    def __len__(self) -> int:
        return len(self.now)

    def __getitem__(self, index: int) -> Any:
        if index == 0:
            self.now = self.read()
        return self.now[index]


def loader_of(read: Callable[[], Sequence[Any]]) -> DataLoader[Any]:
    return DataLoader(Ready(read), batch_size=None)


class PlainBench(Bench):
    """`loss(model(x), y)`, or `step(model, batch)` -> (loss, output). `record` is to be filled as a test wants it."""

    def __init__(
        self,
        model: nn.Module,
        batches: Sequence[Any],
        loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.cross_entropy,
        *,
        step: Callable[[Any, Any], Any] | None = None,
        validation: Callable[[], Sequence[Any]] | None = None,
        rate: float = 1e-2,
    ) -> None:
        torch.set_num_threads(1)
        nothing = torch.zeros((), requires_grad=True)
        self.optimizer = torch.optim.Adam([*model.parameters()] or [nothing], lr=rate)
        recipe = Recipe(
            model=model,
            dataset=loader_of(lambda: batches),
            loss=None if step else loss,
            optimizer=self.optimizer,
            training_step=step,
            validation=None if validation is None else loader_of(validation),
        )
        self.session = Session(recipe, capture="off")
        self.loss_function = loss
        self.record = Record(is_plain=step is None, loss_function=loss)
        self.record.optimizers = {"": self.optimizer}
        for name, module in model.named_modules():
            own = tuple(f"{name}.{p}".strip(".") for p, _ in module.named_parameters(recurse=False))
            self.record.layers[name] = LayerFacts(
                name, type(module).__name__, not [*module.children()], own, module=module
            )
        super().__init__(self.session, self.record)
