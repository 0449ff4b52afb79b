"""The fields of a recipe, not yet checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler
    from torch.utils.data import DataLoader, Dataset

    from gradscope.engine.recipe.own_rules import OwnRule

TRAIN_LOSS = "train_loss"


@dataclass(frozen=True, kw_only=True)
class Source:
    """The file that a recipe came from, and the seed that was set before it was imported."""

    path: Path
    sha256: str
    seed: int


@dataclass(frozen=True)
class RecipeFields:
    """What `Recipe` has, and says of it."""

    _: KW_ONLY
    model: nn.Module | dict[str, Tensor]
    """The model, or for bare autograd a dict of name -> leaf tensors that require a gradient."""
    dataset: Dataset[Any] | Iterable[Any] | DataLoader[Any]
    """Map-style (`__len__` and `__getitem__`), iterable, or a ready DataLoader."""
    loss: Callable[[Any, Any], Tensor] | None = None
    """`loss(output, target)`, a scalar tensor. Not needed where `training_step` is given."""
    optimizer: Optimizer | dict[str, Optimizer]
    """Or a dict of name -> optimizer (the discriminator's and the generator's): they take turns on each batch."""
    scheduler: LRScheduler | dict[str, LRScheduler] | None = None
    """With several optimizers a dict, with the names of those that have a scheduler."""
    scheduler_unit: Literal["step", "epoch"] = "step"
    """ "step": the scheduler is stepped after every optimizer step; "epoch": after the last step of an epoch."""
    scheduler_metric: str = TRAIN_LOSS
    """What a `ReduceLROnPlateau` is stepped with: "train_loss", the mean of the epoch's training losses; "loss", the
    validation's; or one of `metrics`."""
    batch_size: int = 32
    shuffle: bool = True
    collate: Callable[[list[Any]], Any] | None = None
    """`collate_fn` of the DataLoader that is made from `dataset`."""
    training_step: Callable[[Any, Any], Any] | dict[str, Callable[[Any, Any], Any]] | None = None
    """`training_step(model, batch)` returns the loss, or (loss, output), for anything that is not loss(model(x), y).
    With several optimizers a dict, one for each."""
    accumulate: int = 1
    """Micro-batches whose gradients are added up before each step."""
    zero_grad: Literal["auto", "manual"] = "auto"
    """ "auto": gradients are cleared at the start of each window; "manual": only by `Session.zero_grad()` (a button)."""
    clip_norm: float | None = None
    """Largest L2 norm of all gradients together (`torch.nn.utils.clip_grad_norm_`)."""
    clip_value: float | None = None
    """Largest magnitude of a single gradient element (`torch.nn.utils.clip_grad_value_`), after `clip_norm`."""
    precision: Literal["bf16", "fp16"] | None = None
    """Forward and loss under `torch.autocast`; "fp16" also scales the loss."""
    validation: Dataset[Any] | Iterable[Any] | DataLoader[Any] | None = None
    """As `dataset`; the DataLoader that is made from it does not shuffle."""
    validation_step: Callable[[Any, Any], Any] | None = None
    """`validation_step(model, batch)` returns the loss, or (loss, output); default: the way of training."""
    metrics: Mapping[str, Callable[[Any, Any], Any]] = field(default_factory=dict)
    """name -> `metric(output, target)`, a number for one validation batch. With a training_step, the target is that of a
    batch that is a pair, otherwise the batch."""
    best_metric: str | None = None
    """Keep the weights of the best validation by "loss" or one of `metrics`."""
    best_mode: Literal["min", "max"] = "min"
    name: str = ""
    description: str = ""
    source: Source | None = field(default=None, repr=False, compare=False)
    """Set by `load_recipe`."""
    rules: tuple[OwnRule, ...] = field(default=(), repr=False, compare=False)
    """Set by `load_recipe`: those that its file declares with `@gradscope.finding`."""

    @property
    def optimizers(self) -> dict[str, Optimizer]:
        """All optimizers by name, in the order of their turns; a single one has the name ""."""
        return dict(self.optimizer) if isinstance(self.optimizer, dict) else {"": self.optimizer}

    @property
    def schedulers(self) -> dict[str, LRScheduler]:
        """The schedulers that there are, by the name of their optimizer."""
        if isinstance(self.scheduler, dict):
            return dict(self.scheduler)
        return {} if self.scheduler is None else {"": self.scheduler}
