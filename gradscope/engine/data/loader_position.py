"""Where in the data a session stands, in a form that a checkpoint can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gradscope.engine.data.passes import PassRecord
from gradscope.engine.surroundings.randomness import RandomStates


@dataclass(frozen=True, kw_only=True)
class LoaderPosition:
    """The place of a `BatchSource` between two steps."""

    epoch: int
    index: int
    begun: PassRecord | None
    """The pass under way; None between two epochs."""
    generators: tuple[Tensor, ...]
    """The states of the loader's own generators now."""
    is_ahead: bool = False
    """The newest draw is the next batch already."""
    is_broken_off: bool = False
    """The look ahead was broken off: the pass ends with the current batch."""
    is_put_back: bool = False
    """The newest draw (of samples) is still to be used: for the next batch, or for the current one if that is not loaded."""
    loaded_with: RandomStates | None = None
    """The current batch is there already (a phase after it has failed); these were the states before it was loaded."""

    def packed(self) -> dict[str, Any]:
        """As tensors and numbers."""
        return {
            "epoch": self.epoch,
            "index": self.index,
            "pass": None if self.begun is None else self.begun.packed(),
            "generators": list(self.generators),
            "is_ahead": self.is_ahead,
            "is_broken_off": self.is_broken_off,
            "is_put_back": self.is_put_back,
            "loaded_with": None if self.loaded_with is None else self.loaded_with.packed(),
        }

    @staticmethod
    def unpacked(packed: Mapping[str, Any]) -> LoaderPosition:
        """The inverse of `packed`. Raises KeyError, TypeError, ValueError or AttributeError for anything else."""
        return LoaderPosition(
            epoch=packed["epoch"],
            index=packed["index"],
            begun=None if packed["pass"] is None else PassRecord.unpacked(packed["pass"]),
            generators=tuple(packed["generators"]),
            is_ahead=packed["is_ahead"],
            is_broken_off=packed["is_broken_off"],
            is_put_back=packed["is_put_back"],
            loaded_with=None if packed["loaded_with"] is None else RandomStates.unpacked(packed["loaded_with"]),
        )
