"""What the user brings: one recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gradscope.protocol.failure import BadInput

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler
    from torch.utils.data import DataLoader, Dataset


@dataclass(frozen=True, kw_only=True)
class Source:
    """The file that a recipe came from, and the seed that was set before it was imported."""

    path: Path
    sha256: str
    seed: int


@dataclass(frozen=True)
class Recipe:
    """A model, its data, and how it is to be trained. A recipe file has a function `recipe()` that returns one.

    The determinism contract: a plain script reproduces a session bit for bit. Given a seed,

    1. `random.seed(seed)`, `numpy.random.seed(seed)` and `torch.manual_seed(seed)` are called, then the file is
       imported and `recipe()` is called.
    2. A dataset becomes `DataLoader(dataset, batch_size, shuffle=shuffle, collate_fn=collate,
       generator=torch.Generator().manual_seed(seed))`; `shuffle` is left out for an iterable dataset. A ready
       `DataLoader` is used as it is. One pass over the loader is an epoch: `for batch in loader`.
    3. The model (or every tensor of the dict) is moved to the device and set to `train()`; each batch's tensors
       are moved to the device.
    4. Each step is::

           optimizer.zero_grad(set_to_none=True)
           loss = loss_fn(model(x), y)          # x, y = batch; or: training_step(model, batch)
           loss.backward()
           optimizer.step()
           scheduler.step()                     # after each step, or after each epoch's last step

       A `ReduceLROnPlateau` is stepped per epoch, with the mean of the epoch's training losses.

    Observing draws no random numbers and changes no tensor.

    Raises `BadInput` (a sentence that names the field) when a field is of the wrong type.
    """

    _: KW_ONLY
    model: nn.Module | dict[str, Tensor]
    """The model, or for bare autograd a dict of name -> leaf tensors that require a gradient."""
    dataset: Dataset[Any] | Iterable[Any] | DataLoader[Any]
    """Map-style (`__len__` and `__getitem__`), iterable, or a ready DataLoader."""
    loss: Callable[[Any, Any], Tensor] | None = None
    """`loss(output, target)`, a scalar tensor. Not needed where `training_step` is given."""
    optimizer: Optimizer
    scheduler: LRScheduler | None = None
    scheduler_unit: Literal["step", "epoch"] = "step"
    """ "step": the scheduler is stepped after every optimizer step; "epoch": after the last step of an epoch."""
    batch_size: int = 32
    shuffle: bool = True
    collate: Callable[[list[Any]], Any] | None = None
    """`collate_fn` of the DataLoader that is made from `dataset`."""
    training_step: Callable[[Any, Any], Any] | None = None
    """`training_step(model, batch)` returns the loss, or (loss, output), for anything that is not loss(model(x), y)."""
    name: str = ""
    description: str = ""
    source: Source | None = field(default=None, repr=False, compare=False)
    """Set by `load_recipe`."""

    def __post_init__(self) -> None:
        for check in (_check_model, _check_data, _check_loss, _check_optimizer, _check_schedule, _check_texts):
            check(self)


def _wrong(name: str, value: object, expected: str) -> BadInput:
    return BadInput(f"Recipe({name}=...) is {_describe(value)}; expected {expected}")


def _describe(value: object) -> str:
    if value is None or isinstance(value, (bool, int, float, str)):
        return f"{value!r:.60}"
    if isinstance(value, type):
        return f"the class {value.__name__} (an instance is needed)"
    article = "an" if type(value).__name__[:1].upper() in "AEIOU" else "a"
    return f"{article} {type(value).__name__}"


def _check_model(recipe: Recipe) -> None:
    import torch

    model = recipe.model
    expected = "a torch.nn.Module, or a dict of name -> leaf tensors"
    if isinstance(model, torch.nn.Module):
        return
    if not isinstance(model, Mapping) or not model:
        raise _wrong("model", model, expected)
    for name, tensor in model.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise BadInput(f"Recipe(model=...) has {name!r}: {_describe(tensor)}; expected {expected}")
        if not tensor.is_leaf:
            raise BadInput(
                f"Recipe(model=...)[{name!r}] is the result of an operation; expected a leaf tensor "
                "(create it with requires_grad=True, or call .detach().requires_grad_())"
            )
    if recipe.training_step is None:
        raise BadInput(
            "Recipe(training_step=...) is missing; a dict of tensors has no forward, so a step has to be given"
        )


def _check_data(recipe: Recipe) -> None:
    dataset = recipe.dataset
    if isinstance(dataset, (str, bytes)) or not (hasattr(dataset, "__getitem__") or hasattr(dataset, "__iter__")):
        raise _wrong("dataset", dataset, "a map-style or iterable dataset, or a DataLoader")
    if isinstance(recipe.batch_size, bool) or not isinstance(recipe.batch_size, int) or recipe.batch_size < 1:
        raise _wrong("batch_size", recipe.batch_size, "a whole number from 1")
    if not isinstance(recipe.shuffle, bool):
        raise _wrong("shuffle", recipe.shuffle, "True or False")
    if recipe.collate is not None and not callable(recipe.collate):
        raise _wrong("collate", recipe.collate, "a function that makes a batch of a list of samples")


def _check_loss(recipe: Recipe) -> None:
    if recipe.training_step is not None and not callable(recipe.training_step):
        raise _wrong("training_step", recipe.training_step, "a function training_step(model, batch)")
    if recipe.loss is None and recipe.training_step is None:
        raise BadInput("Recipe(loss=...) is missing; expected loss(output, target), or a training_step")
    if recipe.loss is not None and (isinstance(recipe.loss, type) or not callable(recipe.loss)):
        raise _wrong("loss", recipe.loss, "a callable loss(output, target), for example torch.nn.CrossEntropyLoss()")


def _check_optimizer(recipe: Recipe) -> None:
    import torch

    if not isinstance(recipe.optimizer, torch.optim.Optimizer):
        raise _wrong(
            "optimizer",
            recipe.optimizer,
            "a torch.optim.Optimizer, for example torch.optim.SGD(model.parameters(), lr=0.1)",
        )


def _check_schedule(recipe: Recipe) -> None:
    from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

    if recipe.scheduler is not None and not isinstance(recipe.scheduler, LRScheduler):
        raise _wrong("scheduler", recipe.scheduler, "a torch.optim.lr_scheduler.LRScheduler or None")
    if isinstance(recipe.scheduler, ReduceLROnPlateau) and recipe.scheduler_unit == "step":
        raise BadInput(
            'Recipe(scheduler=...) is a ReduceLROnPlateau, which is stepped with a metric; expected scheduler_unit="epoch"'
        )
    if recipe.scheduler_unit not in ("step", "epoch"):
        raise _wrong("scheduler_unit", recipe.scheduler_unit, '"step" or "epoch"')


def _check_texts(recipe: Recipe) -> None:
    for name in ("name", "description"):
        if not isinstance(getattr(recipe, name), str):
            raise _wrong(name, getattr(recipe, name), "a text")


FIELD_NAMES = tuple(f.name for f in fields(Recipe) if f.name != "source")
