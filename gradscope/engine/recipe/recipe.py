"""What the user brings: one recipe."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.engine.recipe.fields import RecipeFields


@dataclass(frozen=True)
class Recipe(RecipeFields):
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

    def __post_init__(self) -> None:
        from gradscope.engine.recipe.checks import check_recipe

        check_recipe(self)
