"""Whatever is done by hand, in any order and at any place: the script comes to the same. The same sequences every time."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from gradscope import BadInput, Session
from gradscope.protocol.failure import UserCodeFailed
from gradscope.protocol.messages import edits
from tests.engine.reproduce.scripts import Came, opened, run_all
from tests.engine.reproduce.test_script import OTHERS, RECIPES, write, written

SEQUENCES = 24


def one_deed(session: Session, chance: random.Random) -> None:
    """Something that a person can do between two phases. Raises BadInput where it is not possible just now."""
    group, turn = chance.randrange(len(session.info.groups)), chance.choice(session.info.optimizers)
    unit, flag = chance.choice(["step", "epoch"]), chance.random() < 0.5

    def scheduler(name: str, unit: str, **arguments: str) -> Callable[[], object]:
        edit = edits.EditScheduler(scheduler=name, arguments=arguments, turn=turn, unit=unit)
        return lambda: session.edit(edit)

    def edited(edit: edits.Edit) -> Callable[[], object]:
        return lambda: session.edit(edit)

    optimizer = chance.choice(["Adam", "SGD", "RMSprop", "LBFGS"])
    rate = repr(round(chance.uniform(0.001, 0.3), 4))
    chance.choice(
        [
            edited(edits.EditOption(group=group, option="lr", value=rate)),
            edited(edits.EditOption(group=group, option="weight_decay", value="0.01")),
            edited(edits.EditClipping(norm=chance.choice([None, 0.1, 1.0]), value=chance.choice([None, 0.05]))),
            edited(edits.EditAccumulation(micro_batches=chance.choice([1, 2, 3]))),
            edited(edits.EditZeroGrad(mode=chance.choice(["auto", "manual"]))),
            edited(edits.EditLoss(loss="CrossEntropyLoss", arguments={"label_smoothing": "0.2"})),
            edited(edits.EditOptimizer(optimizer=optimizer, arguments={"lr": "0.02"}, turn=turn)),
            edited(edits.EditDropout(layer="", p=chance.choice([0.0, 0.5]))),
            edited(edits.EditRequiresGrad(name=chance.choice("04"), is_parameter=False, requires_grad=flag)),
            edited(edits.EditMode(layer=chance.choice(["", "1", "3"]), training=flag)),
            scheduler("StepLR", unit, step_size="2"),
            scheduler("ReduceLROnPlateau", "epoch", patience="0"),
            scheduler("", unit),
            session.undo_edit,
            session.zero_grad,
            session.validate,
        ]
    )()


def play(session: Session, chance: random.Random) -> None:
    """Some phases, with deeds between them. Raises UserCodeFailed where they lead to a training that cannot go on."""
    for _ in range(chance.randrange(1, 45)):
        for _ in range(chance.choice([0, 0, 0, 1, 2])):
            try:
                one_deed(session, chance)
            except BadInput:
                continue
        session.advance()


@pytest.mark.slow
def test_any_deeds(tmp_path: Path) -> None:
    made: dict[str, tuple[str, Came]] = {}
    for seed in range(SEQUENCES):
        chance = random.Random(seed)
        name = chance.choice([*RECIPES, *OTHERS])
        session = opened(written(tmp_path, name), seed=seed)
        try:
            play(session, chance)
            made[f"{name}_{seed}"] = write(session)
        except UserCodeFailed:
            session.close()
        except BadInput:
            # An edit of a rate was undone when a scheduler had moved it.
            session.close()
    assert len(made) > 0.8 * SEQUENCES, "most of them can be written"
    came = run_all({name: text for name, (text, _) in made.items()}, tmp_path)
    assert {name for name, (_, expected) in made.items() if came[name] != expected} == set()
