"""Which operation made the NaN or Inf that has reached the loss: the whole forward once more, each operation watched.

Everything that the user's code can reach is put back (`Aside`). Where another run comes to something else, nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gradscope.engine.aside.door import Aside
from gradscope.engine.model.modules import modules_in
from gradscope.engine.model.objective import Objective
from gradscope.engine.nonfinite.finder import Finder, Made, tensors_in
from gradscope.engine.surroundings.unwinding import is_interruption


@dataclass(frozen=True, kw_only=True)
class ForwardAgain:
    """A forward that can be made once more."""

    objective: Objective
    batch: Callable[[], Any]
    """Another copy of it each time."""
    parameters: Collection[Tensor]
    layers: Mapping[str, nn.Module]
    """Those that are to be named."""
    begin: Callable[[], None]
    """Puts random states and buffers as the forward began with them."""
    copies_parameters: bool
    """See `Aside`."""

    def run(self, around: Callable[[], AbstractContextManager[Any]]) -> tuple[Made | None, tuple[str, ...]]:
        """(what made it, what could not be put back)."""
        aside, made = Aside(self.objective.roots(), copies_parameters=self.copies_parameters), None
        with aside:
            # Without a graph there is memory enough; a gradient penalty needs one.
            for mode in (torch.no_grad, torch.enable_grad):
                try:
                    made = self._once(mode, around)
                    break
                except BaseException as error:
                    if is_interruption(error):
                        raise
                aside.rewind()
        return made, aside.notes

    def _once(self, mode: Callable[[], Any], around: Callable[[], AbstractContextManager[Any]]) -> Made | None:
        self.begin()
        batch, finder = self.batch(), Finder(self.layers)
        for tensor in tensors_in(batch):
            # Also -Inf: where it is a mask, something takes it away.
            finder.know(tensor)
        finder.expect(self.parameters)
        for part in modules_in(self.objective.model):
            finder.expect(part._buffers.values())
        with mode(), around(), finder:
            loss = self.objective.value(batch)
        return finder.maker_of(loss)
