"""The messages about checkpoints; `messages` lists them."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.protocol.limits import Count, FilePath, Names, Sentences
from gradscope.protocol.phases import Position


@dataclass(frozen=True, kw_only=True)
class SaveCheckpoint:
    """Write a checkpoint file, or with `best` only the weights of the best validation. A file of that name is replaced.

    Reply: CheckpointSaved or Failed.
    """

    path: FilePath
    best: bool = False


@dataclass(frozen=True, kw_only=True)
class LoadCheckpoint:
    """Take weights and all else that a file has. With `strict`, nothing is changed where something does not fit.

    Reply: CheckpointLoaded, CheckpointMismatch or Failed.
    """

    path: FilePath
    strict: bool = True


@dataclass(frozen=True, kw_only=True)
class CheckpointSaved:
    path: str
    size_bytes: Count
    left_out: Names = ()
    """What has no plain form, as a function: "scheduler.lr_lambdas[0]"."""


@dataclass(frozen=True, kw_only=True)
class CheckpointMismatch:
    """What of a file does not fit the session; nothing was changed."""

    path: str
    missing: Names = ()
    """Names that the model has and the file has not."""
    unexpected: Names = ()
    """Names that the file has and the model has not."""
    wrong_shape: Names = ()
    """ "head.weight: (10, 64) in the file, (3, 64) in the model"."""
    other: Names = ()
    """Sentences about optimizers and schedulers."""
    fitting: Count = 0
    """So many names of the model would be loaded."""
    total: Count = 0
    """So many it has."""

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.wrong_shape or self.other)


@dataclass(frozen=True, kw_only=True)
class CheckpointLoaded:
    path: str
    loaded: Names
    """ "weights", "optimizer", "scheduler", "loss scale", "random states", "place in the data"."""
    position: Position
    is_continued: bool
    """Training goes on bit for bit where it was saved."""
    has_best: bool = False
    """There are best weights now."""
    notes: Sentences = ()
    """Sentences: what of the file was not used, and what is not as it was."""
    left: CheckpointMismatch | None = None
    """What did not fit and was left out (a load that is not strict)."""
