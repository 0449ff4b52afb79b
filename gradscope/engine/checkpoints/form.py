"""Whether the parts of a checkpoint have the forms that they are to have; asked before anything is changed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from gradscope.engine.checkpoints import misfits as forms
from gradscope.engine.checkpoints.misfits import Check, Misfit
from gradscope.engine.checkpoints.plain_values import plain
from gradscope.engine.checkpoints.save import (
    FORMAT_VERSION,
    hidden_buffers,
    state_of,
    tensors_beside_the_model,
    trained_tensors,
)
from gradscope.engine.model.parameters import is_uninitialised
from gradscope.engine.stepping.stepper import Stepper

_LIKE_THE_PARAMETER = (
    *("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_inf", "momentum_buffer", "square_avg", "grad_avg", "acc_delta"),
    *("sum", "prev", "step_size", "ax"),
)
"""What torch's optimizers keep in the shape of its parameter."""
_HISTORY_OF_LBFGS = "al"
_PYTHON_WORDS, _NUMPY_WORDS = 625, 624
_MAY_BE_INFINITE = ("best", "mode_worse")
_OF_EACH_GROUP = ("_last_lr", "base_lrs", "min_lrs", "max_lrs", "base_momentums", "max_momentums")
"""What schedulers keep a number of for each parameter group."""


# ----------------------------------------------------------------------------------------------- gradscope's own part


def _random() -> Check:
    def numpy(value: Any, where: str) -> None:
        if isinstance(value, Mapping) and "keys" not in value:
            # Another bit generator than numpy's own: it says itself whether it can read this.
            return
        rest = forms.list_of(forms.number)
        words = forms.tensor_of(torch.int64, (_NUMPY_WORDS,))
        forms.record({"name": forms.text, "keys": words, "rest": rest})(value, where)
        if len(value["rest"]) != 3 or not 0 <= value["rest"][0] <= _NUMPY_WORDS:
            raise Misfit(f"{where}.rest", value["rest"], f"a place from 0 to {_NUMPY_WORDS}, and two numbers")

    words = forms.tensor_of(torch.int64, (_PYTHON_WORDS,))
    python = {"version": forms.one_of(3), "words": words, "gauss": forms.optional(forms.number)}
    states = forms.tensor_of(torch.uint8)
    return forms.record(
        {
            "python": forms.record(python),
            "numpy": numpy,
            "torch": forms.tensor_of(torch.uint8, tuple(torch.get_rng_state().shape)),
            "cuda": forms.list_of(states),
            "mps": forms.optional(states),
        }
    )


def _loader() -> Check:
    generators = forms.list_of(forms.tensor_of(torch.uint8))
    draw = forms.record({"globals": _random(), "own": generators})
    begun = forms.record(
        {
            "start": draw,
            "draws": forms.whole,
            "states": forms.dict_of(draw, keys=forms.whole),
            "failed": forms.list_of(forms.whole),
            "is_complete": forms.flag,
        }
    )
    place = forms.record(
        {
            "epoch": forms.whole,
            "index": forms.whole,
            "pass": forms.optional(begun),
            "generators": generators,
            **dict.fromkeys(("is_ahead", "is_broken_off", "is_put_back"), forms.flag),
            "loaded_with": forms.optional(_random()),
        }
    )

    def check(value: Any, where: str) -> None:
        place(value, where)
        drawn = 0 if value["pass"] is None else value["pass"]["draws"]
        if value["index"] > drawn:
            raise Misfit(f"{where}.index", value["index"], f"at most the {drawn} draws of its pass")

    return check


def _settings() -> Check:
    return forms.record(
        {
            "accumulate": lambda value, where: forms.whole(value, where, least=1),
            "zero_grad": forms.one_of("auto", "manual"),
            "clip_norm": forms.optional(forms.positive),
            "clip_value": forms.optional(forms.positive),
            "scheduler_unit": forms.one_of("step", "epoch"),
            "scheduler_metric": forms.optional(forms.text),
        }
    )


def _best() -> Check:
    named = {"metric": forms.text, "value": forms.number, "step": forms.whole, "epoch": forms.whole}
    return forms.record({**named, "state_dict": forms.dict_of(forms.anything)})


def _classes() -> Check:
    names = forms.dict_of(forms.text)
    return forms.record(
        {"optimizer": names, "scheduler": names, "loss": forms.text, "precision": forms.optional(forms.text)}
    )


OWN_PART = {
    "recipe_sha256": forms.optional(forms.text),
    "recipe_seed": forms.optional(forms.whole),
    "classes": _classes(),
    "random": _random(),
    "loader": _loader(),
    "epoch_losses": forms.dict_of(forms.list_of(forms.number)),
    "settings": _settings(),
    "best": forms.optional(_best()),
    **dict.fromkeys(("buffers", "others", "gradients"), forms.dict_of(forms.tensor)),
    "loss": forms.dict_of(forms.anything),
    "eval_layers": forms.list_of(forms.text),
    "frozen": forms.list_of(forms.text),
    "dropout": forms.dict_of(forms.share),
}
"""What only gradscope reads, in the format of this version; see `checkpoint._own_part`."""


def check_own(own: Any) -> None:
    """Raises Misfit. What is in another format is not looked into."""
    forms.record({"format": forms.whole})(own, "gradscope")
    if own["format"] != FORMAT_VERSION:
        return
    forms.record(OWN_PART)(own, "gradscope")
    for name, sums in own["epoch_losses"].items():
        if len(sums) != 2:
            raise Misfit(f"gradscope.epoch_losses.{name}", sums, "a sum and a count")


def check_tensors(own: Mapping[str, Any], stepper: Stepper) -> None:
    """What gradscope has added fits the session's tensors. Raises Misfit."""
    ours = {
        "buffers": dict(hidden_buffers(stepper.recipe.model)),
        "others": dict(tensors_beside_the_model(stepper)),
        "gradients": dict(trained_tensors(stepper)),
    }
    for part, tensors in ours.items():
        for name, tensor in tensors.items():
            if name in own[part] and not is_uninitialised(tensor):
                forms.tensor_like(tensor)(own[part][name], f"gradscope.{part}.{name}")
    best = own["best"]
    for name, tensor in state_of(stepper.recipe.model).items() if best is not None else ():
        if isinstance(tensor, Tensor) and not is_uninitialised(tensor):
            forms.tensor_like(tensor)(best["state_dict"].get(name), f"gradscope.best.state_dict.{name}")


# ----------------------------------------------------------------------------------------------- state_dicts of torch


def check_groups(optimizer: Optimizer, groups: list[Mapping[str, Any]]) -> None:
    """The options of the parameter groups have the forms of ours. Raises Misfit."""
    seen: set[int] = set()
    for number, (theirs, ours) in enumerate(zip(groups, optimizer.param_groups, strict=True)):
        where = f"group {number}"
        forms.list_of(forms.whole)(theirs["params"], f"{where}.params")
        if len(seen | set(theirs["params"])) != len(seen) + len(theirs["params"]):
            raise Misfit(f"{where}.params", theirs["params"], "each parameter once")
        seen |= set(theirs["params"])
        for name, own in plain({key: value for key, value in ours.items() if key != "params"}, []).items():
            if name not in theirs:
                continue
            forms.like(own)(theirs[name], f"{where}.{name}")
            if name in ("lr", "momentum", "weight_decay", "eps") and forms.is_number(own) and float(theirs[name]) < 0:
                raise Misfit(f"{where}.{name}", theirs[name], "a number from 0")
            if name == "betas" and not all(0 <= float(beta) < 1 for beta in theirs[name]):
                raise Misfit(f"{where}.{name}", tuple(theirs[name]), "numbers from 0 to below 1")


def check_state(optimizer: Optimizer, state: Mapping[Any, Any], tensors: Mapping[Any, Tensor]) -> None:
    """What is kept for each parameter (`tensors`: by its number in the file) can go on with it. Raises Misfit."""
    is_torchs = type(optimizer).__module__.startswith("torch.optim")
    for index, kept in state.items():
        forms.whole(index, "a key of state")
        tensor = tensors.get(index)
        if tensor is None:
            raise Misfit("a key of state", index, "the number of a parameter")
        forms.dict_of(forms.anything)(kept, f"state of parameter {index}")
        if is_uninitialised(tensor):
            continue
        now = optimizer.state.get(tensor, {})
        for name, value in kept.items():
            _check_kept(f"{name} of parameter {index}", name, value, tensor, now.get(name), is_torchs=is_torchs)


def _check_kept(where: str, name: str, value: Any, tensor: Tensor, own: Any, *, is_torchs: bool) -> None:
    is_known = name in _LIKE_THE_PARAMETER and (is_torchs or (isinstance(value, Tensor) and value.dim() > 0))
    if is_known and value is None and name == "momentum_buffer":
        return
    if is_known:
        forms.tensor_like(tensor)(value, where)
        if tensor.is_floating_point() and not value.is_floating_point():
            raise Misfit(where, value, f"a tensor of floats, {tuple(tensor.shape)}")
    elif name == "step" and is_torchs:
        if not forms.is_number(value) or not 0 <= float(value) < math.inf:
            raise Misfit(where, value, "a number from 0")
    elif name == _HISTORY_OF_LBFGS and is_torchs and value is not None:
        # None in the places that are free yet.
        forms.list_of(forms.optional(forms.like(0.0, is_finite=False)))(value, where)
    elif is_torchs and value is not None:
        forms.like(plain(own, []), is_finite=False)(value, where)


def check_schedule(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """A scheduler's state has the form of ours. Raises Misfit."""
    for name, own in ours.items():
        if name == "_schedulers" or name not in theirs:
            continue
        forms.like(own, is_finite=name not in _MAY_BE_INFINITE)(theirs[name], name)
        if name in _OF_EACH_GROUP and isinstance(own, list) and len(own) != len(theirs[name]):
            raise Misfit(name, theirs[name], f"{len(own)} numbers, one for each parameter group")


def check_scaler(ours: Mapping[str, Any], theirs: Any) -> None:
    """The state of a gradient scaler. Raises Misfit."""
    forms.record({name: forms.like(own) for name, own in ours.items()})(theirs, "scaler")
    for name in ("scale", "growth_factor", "backoff_factor"):
        if name in ours:
            forms.positive(theirs[name], f"scaler.{name}")
