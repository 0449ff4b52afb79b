"""Which layers, parameters and buffers are looked at: asked for each of them in every phase, and remembered."""

from __future__ import annotations

from torch import nn

from gradscope.engine.model.buffers import named_buffers
from gradscope.engine.model.modules import named_modules
from gradscope.engine.model.parameters import Model
from gradscope.engine.model.structure import Structure
from gradscope.protocol.capture import Capture, CaptureLevel


class Wanted:
    """What one model's capture asks for, by name."""

    def __init__(self, model: Model, structure: Structure, capture: Capture) -> None:
        self._model, self._structure = model, structure
        self.change(capture)

    def change(self, capture: Capture) -> None:
        self.capture = capture
        self._known: dict[str, bool] = {}
        self._aliases: dict[str, list[str]] | None = None

    def __call__(self, name: str) -> bool:
        """Whether the layer, parameter or buffer of that name is looked at."""
        wanted = self._known.get(name)
        if wanted is None:
            names = {name, *self._other_names().get(name, ())}
            wanted = self._known[name] = any(self.capture.wants(known) for known in names)
        return wanted

    def _other_names(self) -> dict[str, list[str]]:
        """A tied parameter, a shared buffer, and a module that is in several places, are known by the first of their names.
        Asked for only where layers are chosen by their names."""
        if self.capture.level is not CaptureLevel.LAYERS:
            return {}
        if self._aliases is None:
            self._aliases = {first: list(others) for first, (_, others) in self._structure.named().items()}
            self._aliases |= {first: list(others) for first, (*_, others) in named_buffers(self._model).items()}
            places: dict[int, str] = {}
            if isinstance(self._model, nn.Module):
                for name, module in named_modules(self._model, remove_duplicate=False):
                    self._aliases.setdefault(places.setdefault(id(module), name), []).append(name)
        return self._aliases
