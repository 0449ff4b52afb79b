"""Whether an optimizer of torch could make a step with its options as they are, tried on a copy of one parameter."""

from __future__ import annotations

import copy
import warnings
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from gradscope.engine.edits.arguments import arguments_of
from gradscope.engine.model.closures import needs_closure
from gradscope.engine.model.parameters import is_uninitialised
from gradscope.engine.surroundings.error_parts import message_of
from gradscope.engine.surroundings.randomness import RandomStates
from gradscope.engine.surroundings.unwinding import is_interruption


def problem_with_options(
    optimizer: Optimizer, group: dict[str, Any], *, tried_on: Sequence[Tensor] | None = None
) -> str | None:
    """What torch has against a group as it is now, if anything; `tried_on`: default, all its parameters."""
    if type(optimizer).__module__.partition(".")[0] != "torch":
        return None
    known = {argument.name for argument in arguments_of(type(optimizer))[0]}
    options = {name: value for name, value in group.items() if name in known}
    states = RandomStates.capture()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parameter = torch.nn.Parameter(torch.zeros(1, 1))
            make: Any = type(optimizer)
            make([parameter], **options)
            if not needs_closure(optimizer):
                _step_on_copy(optimizer, group, group["params"] if tried_on is None else tried_on)
    except KeyError as error:
        return f"it needs {error} in the optimizer's state, which is made when the optimizer is"
    except BaseException as error:
        if is_interruption(error):
            raise
        return message_of(error)
    finally:
        states.restore()
    return None


def _step_on_copy(optimizer: Optimizer, group: dict[str, Any], parameters: Sequence[Tensor]) -> None:
    known = [tensor for tensor in parameters if not is_uninitialised(tensor)]
    # One that has a state already tells more.
    original = min(known, key=lambda tensor: (tensor not in optimizer.state, tensor.numel()), default=None)
    if original is None:
        return
    stand_in = torch.nn.Parameter(original.detach().clone(), requires_grad=original.requires_grad)
    stand_in.grad = torch.zeros_like(original) if original.grad is None else original.grad.detach().clone()
    state: defaultdict[Any, Any] = defaultdict(dict)
    if original in optimizer.state:
        state[stand_in] = copy.deepcopy(optimizer.state[original])
    memo: dict[int, Any] = {id(optimizer.state): state, id(group["params"]): [stand_in]}
    memo.update({id(other["params"]): [] for other in optimizer.param_groups if other is not group})
    twin = copy.deepcopy(optimizer, memo)
    twin.param_groups = [known for known in twin.param_groups if known["params"]]
    twin.step()
