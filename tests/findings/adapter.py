"""The programs of `programs/` as recipes: as they are, with the fault taken out (their control), with another seed, shuffled.

A program is a Python file with `make_model()`, `make_dataset()`, `make_loss()`, `make_optimizer(params)`, BATCH_SIZE, STEPS,
and where it needs them `make_scheduler(optimizer)` (stepped per step), `make_validation()`, `training_step(model, batch)`,
`make_optimizers(model)` with TRAINING_STEPS, ACCUMULATE, CLIP_NORM, PRECISION, SHUFFLE. Its data comes in order unless
SHUFFLE says otherwise. `truth.json` says of each what is wrong with it, where, and which patch of its source takes only that
out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from gradscope import Recipe

PROGRAMS = Path(__file__).parent / "programs"
_SEED_STRIDE = 1000
"""Seeds of one program lie within a hundred of each other: those of another run must not meet them."""
_SEEDED = re.compile(r"manual_seed\((\d+)\)")

Patch = Sequence[Sequence[str]]
"""(what stands in the source, what is to stand there)."""


@dataclass(frozen=True)
class Variant:
    """How a program is run."""

    name: str
    is_control: bool = False
    seed: int = 0
    """0 is the program's own; n moves every seed in it."""
    is_shuffled: bool = False

    @property
    def title(self) -> str:
        marks = [text for text, is_so in (("control", self.is_control), ("shuffled", self.is_shuffled)) if is_so]
        marks += [f"seed {self.seed}"] if self.seed else []
        return f"{self.name} ({', '.join(marks)})" if marks else self.name


def truth_of(folder: Path = PROGRAMS) -> dict[str, dict[str, Any]]:
    """By the name of the program: fault, where, neighbours, accept, severity, control, what."""
    content = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def source_of(variant: Variant, folder: Path = PROGRAMS) -> str:
    """What is run. Raises ValueError where a patch does not fit the program."""
    source = (folder / f"{variant.name}.py").read_text(encoding="utf-8")
    patch: Patch = truth_of(folder)[variant.name]["control"] if variant.is_control else ()
    for old, new in patch:
        if old not in source:
            raise ValueError(f"{variant.name} has no {old!r}, which its control replaces")
        source = source.replace(old, new)
    if variant.seed:
        source = _SEEDED.sub(lambda found: f"manual_seed({int(found[1]) + _SEED_STRIDE * variant.seed})", source)
    return source


def program_of(variant: Variant, folder: Path = PROGRAMS) -> ModuleType:
    module = ModuleType(variant.name)
    module.__file__ = str(folder / f"{variant.name}.py")
    exec(compile(source_of(variant, folder), module.__file__, "exec"), module.__dict__)
    return module


def recipe_of(variant: Variant, folder: Path = PROGRAMS) -> Recipe:
    """Everything is made in the order in which a plain loop makes it: each of it may draw random numbers."""
    program = program_of(variant, folder)
    model, dataset, loss = program.make_model(), program.make_dataset(), program.make_loss()
    step = getattr(program, "training_step", None)
    if hasattr(program, "make_optimizers"):
        optimizer, step = program.make_optimizers(model), program.TRAINING_STEPS
    else:
        optimizer = program.make_optimizer(model.parameters())
    return Recipe(
        model=model,
        dataset=dataset,
        loss=loss,
        optimizer=optimizer,
        scheduler=program.make_scheduler(optimizer) if hasattr(program, "make_scheduler") else None,
        batch_size=program.BATCH_SIZE,
        shuffle=variant.is_shuffled or bool(getattr(program, "SHUFFLE", False)),
        training_step=step,
        accumulate=getattr(program, "ACCUMULATE", 1),
        clip_norm=getattr(program, "CLIP_NORM", None),
        precision=getattr(program, "PRECISION", None),
        validation=program.make_validation() if hasattr(program, "make_validation") else None,
        name=variant.name,
    )


def steps_of(name: str, folder: Path = PROGRAMS) -> int:
    """How long the program trains, from its source: nothing of it is run."""
    source = (folder / f"{name}.py").read_text(encoding="utf-8")
    values: dict[str, int] = {}
    for names, numbers in re.findall(r"^([A-Z_]+(?:, [A-Z_]+)*) = (\d+(?:, \d+)*)$", source, re.MULTILINE):
        values.update(zip(names.split(", "), map(int, numbers.split(", ")), strict=True))
    return values["STEPS"]
