"""A training script of the user's: how it is named and started, and what cannot be asked of a session that it drives."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from gradscope.protocol.limits import AtMost, FilePath, Name, Path

MAX_ARGUMENTS = 10_000
SCRIPT_VARIABLE = "GRADSCOPE_SCRIPT"
"""The environment variable by which the app tells an engine which script it is for: a `Script` as JSON."""


class ScriptKind(StrEnum):
    """How Python is told of it."""

    FILE = "file"
    """`python train.py`"""
    MODULE = "module"
    """`python -m package.train`"""
    NOTEBOOK = "notebook"
    """The code cells of an .ipynb file, one after the other."""
    ATTACHED = "attached"
    """Not started: a process that ran already, in which `gradscope.watch()` was called. It has no arguments."""


@dataclass(frozen=True, kw_only=True)
class Script:
    """What is started, and how."""

    kind: ScriptKind
    name: FilePath
    """Its path, or the name of the module."""
    arguments: Annotated[tuple[Path, ...], AtMost(MAX_ARGUMENTS)] = ()
    """What follows it: `sys.argv[1:]`."""
    folder: FilePath = ""
    """The working directory; "" is that of whoever starts it."""

    @property
    def title(self) -> Name:
        """As it is told: "train.py --lr 0.1"."""
        return " ".join([self.name.replace("\\", "/").rpartition("/")[2], *self.arguments])


class Ability(StrEnum):
    """What can be asked of a session that runs a recipe; a session that a script drives refuses some of it."""

    RESET_IN_PLACE = "reset in place"
    """Begin again in the same process, without side effects."""
    UNDO_PHASE = "undo phase"
    """A phase that fails, or is broken off, is undone."""
    SEED = "seed"
    VALIDATE = "validate"
    ZERO_GRAD = "zero grad"
    EDIT_STEP = "edit step"
    """Another loss, optimizer or scheduler, other clipping, accumulation, batch size or precision."""
    EDIT_LAYERS = "edit layers"
    """Freeze layers, set their dropout, initialise them again."""
    EDIT_OPTIONS = "edit options"
    """Rates and the other options of a parameter group."""
    CHECK_GRADIENT = "check gradient"
    SAVE_CHECKPOINT = "save checkpoint"
    LOAD_CHECKPOINT = "load checkpoint"
    RUN_EPOCH = "run epoch"
    """Run until the pass over the data is over."""
    REPRODUCE = "reproduce"
    """Write a script that comes to this moment without gradscope."""
    GO_BACK = "go back"
    """Stand again at an earlier step, or before the newest phase."""
    SCHEDULE_AHEAD = "schedule ahead"
    """Rates to come are foretold."""
