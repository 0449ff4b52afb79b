"""What the user brings: one recipe."""

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

TRAIN_LOSS = "train_loss"


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
           for x, y in window:                          # n micro-batches, n = accumulate
               with torch.autocast(device.type, dtype): # where precision is given
                   loss = loss_fn(model(x), y)          # or: training_step(model, batch)
               scaler.scale(loss / n).backward()        # loss / n where n > 1; scale() with "fp16"
           scaler.unscale_(optimizer)                   # with "fp16"
           clip_grad_norm_(parameters, clip_norm)       # where given
           clip_grad_value_(parameters, clip_value)     # where given
           scaler.step(optimizer)                       # without "fp16": optimizer.step()
           scaler.update()                              # with "fp16"
           scheduler.step()                             # after each step, or after each epoch's last step

       A window never crosses an epoch. The last one of an epoch may be shorter; then n is its own number of
       micro-batches where the loader has a length, and `accumulate` where it has none. There, and where a sampler of
       one's own gives the length, the end of the data is found by asking for the next batch: after a backward that may
       be the window's last, and after the step. `parameters` is `model.parameters()`; with several optimizers, those
       of the optimizer whose turn it is. The scaler is `torch.amp.GradScaler(device.type)`; after a step that it skips,
       a scheduler that is stepped per step is not. With `zero_grad="manual"` nothing is cleared.
       An optimizer whose step needs a closure (LBFGS) gets one that does the lines from `zero_grad` to the clipping; what
       the phases have computed already is the closure's first evaluation. One that says `closure=None`, and fails for want
       of it in its first step, is called again with one. `ReduceLROnPlateau` is stepped per epoch with
       `scheduler_metric`.
    5. Several named optimizers take turns on each batch, in the order of the dict: each turn is a step as above with
       the `training_step` and the scheduler of that name. What happens after an epoch's last step happens after the
       last turn's, for all of them.
    6. After the last step of an epoch, and before schedulers that are stepped per epoch, the model is set to `eval()` and
       the validation data goes through it under `torch.no_grad()` (and autocast). Loss and metrics are means over the
       batches, weighted by their number of samples (the first dimension of a batch's first tensor). Random states,
       buffers, train/eval flags and whatever else the code of model, loss and training steps can reach (attributes,
       variables of closures, globals, containers) are then put back: training goes on as if there had been no validation.
       What cannot be put back (a generator that has moved) is told.

    Observing draws no random numbers and changes no tensor.
    What torch.compile has compiled (the model, a part of it, the loss, a step) runs eagerly, as it was before: the contract
    is about that. When the session is closed it is compiled again.

    Raises `BadInput` (a sentence that names the field) when a field is of the wrong type.
    """

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

    def __post_init__(self) -> None:
        from gradscope.engine.recipe.checks import check_recipe

        check_recipe(self)

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
