"""A written script comes to the same loss, the same weights and gradients, and the same random numbers as its session."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gradscope import BadInput, Session, assets
from gradscope.protocol.messages import edits
from gradscope.protocol.phases import Rest
from tests.engine.reproduce.scripts import Came, opened, recipe_file, run_all, stands

ZOO = Path(__file__).parents[1]
HEAD = """
def net():
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))

def data(samples=11):
    return TensorDataset(torch.randn(samples, 6), torch.randint(0, 3, (samples,)))
"""
RECIPES = {
    "plain": "dict(optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))",
    "window": "dict(optimizer=torch.optim.Adam(model.parameters()), accumulate=3, clip_norm=0.5, clip_value=0.1)",
    "bf16": "dict(optimizer=torch.optim.AdamW(model.parameters()), precision='bf16')",
    "fp16": "dict(optimizer=(o := torch.optim.SGD(model.parameters(), lr=1e30)), precision='fp16', accumulate=2,"
    " clip_norm=1.0, scheduler=torch.optim.lr_scheduler.ExponentialLR(o, 0.5))",
    "lbfgs": "dict(optimizer=torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3), clip_norm=1.0)",
    "lbfgs_window": "dict(optimizer=torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3), accumulate=2)",
    "per_step": "dict(optimizer=(o := torch.optim.SGD(model.parameters(), lr=0.1)),"
    " scheduler=torch.optim.lr_scheduler.OneCycleLR(o, 0.2, total_steps=40))",
    "per_epoch": "dict(optimizer=(o := torch.optim.SGD(model.parameters(), lr=0.1)), scheduler_unit='epoch',"
    " scheduler=torch.optim.lr_scheduler.ExponentialLR(o, 0.5), accumulate=2)",
    "plateau": "dict(optimizer=(o := torch.optim.SGD(model.parameters(), lr=0.1)), scheduler_unit='epoch',"
    " scheduler=torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=0, threshold=0.9))",
    "by_metric": "dict(optimizer=(o := torch.optim.SGD(model.parameters(), lr=0.1)), scheduler_unit='epoch',"
    " scheduler=torch.optim.lr_scheduler.ReduceLROnPlateau(o, mode='max', patience=0, threshold=0.9),"
    " scheduler_metric='right', validation=data(7), metrics={'right': lambda y, t: (y.argmax(1) == t).float().mean()})",
    "by_validation": "dict(optimizer=(o := torch.optim.SGD(model.parameters(), lr=0.1)), scheduler_unit='epoch',"
    " scheduler=torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=0, threshold=0.9), scheduler_metric='loss',"
    " validation=data(7))",
    "manual": "dict(optimizer=torch.optim.SGD(model.parameters(), lr=0.1), zero_grad='manual')",
}
RECIPE = """
def recipe():
    model = net()
    changes = {changes}
    return Recipe(**{{"model": model, "dataset": data(), "loss": nn.CrossEntropyLoss(), "batch_size": 3, **changes}})
"""
OTHERS = {
    "stepped": """
def step(model, batch):
    x, y = batch
    out = model(x + torch.rand_like(x))
    return nn.functional.cross_entropy(out, y), out

def recipe():
    model = net()
    return Recipe(model=model, dataset=data(), training_step=step, batch_size=4,
                  optimizer=torch.optim.RMSprop(model.parameters()))
""",
    "two_optimizers": """
def one(model, batch):
    return model(batch[0]).pow(2).mean()

def other(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])

def recipe():
    model = net()
    a = torch.optim.SGD(model[0].parameters(), lr=0.1)
    b = torch.optim.Adam(model[4].parameters(), lr=0.01)
    return Recipe(model=model, dataset=data(), training_step={"a": one, "b": other}, batch_size=4, clip_norm=0.2,
                  optimizer={"a": a, "b": b}, scheduler_unit="epoch",
                  scheduler={"b": torch.optim.lr_scheduler.StepLR(b, 1, 0.5)})
""",
    "iterable": """
class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        for i in range(11):
            yield torch.randn(6), torch.tensor(i % 3)

def recipe():
    model = net()
    o = torch.optim.SGD(model.parameters(), lr=0.1)
    return Recipe(model=model, dataset=Stream(), loss=nn.CrossEntropyLoss(), batch_size=3, accumulate=2, optimizer=o,
                  scheduler=torch.optim.lr_scheduler.ExponentialLR(o, 0.9), scheduler_unit="epoch")
""",
    "any_iterable": """
class Samples:
    def __iter__(self):
        return ((torch.randn(6), torch.tensor(i % 3)) for i in range(9))

def recipe():
    model = net()
    return Recipe(model=model, dataset=Samples(), loss=nn.CrossEntropyLoss(), batch_size=3,
                  optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
""",
    "own_loader": """
def recipe():
    model = net()
    loader = torch.utils.data.DataLoader(data(), batch_size=3, shuffle=True, drop_last=True)
    return Recipe(model=model, dataset=loader, loss=nn.CrossEntropyLoss(), accumulate=2,
                  optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
""",
    "tensors": """
def step(model, batch):
    x, y = batch
    return ((x @ model["w"] + model["b"]).squeeze() - y).pow(2).mean()

def recipe():
    model = {"w": torch.randn(6, 1, requires_grad=True), "b": torch.zeros(1, requires_grad=True)}
    return Recipe(model=model, dataset=data(), training_step=step, batch_size=3, clip_norm=0.1,
                  optimizer=torch.optim.SGD(model.values(), lr=0.01))
""",
}
_ZOO = """
    plain_mlp batchnorm_dropout_conv lstm multihead_attention transformer_encoder weight_norm spectral_norm tied
    custom_function in_place checkpoint_reentrant checkpoint_plain frozen_and_unused bare_tensors gradient_penalty
    control_flow structured_outputs packed_sequence odd_outputs complex_parameters bf16_model several_backwards inner_loop
    own_hooks lazy averaged_model random_numbers loss_with_weights shared_modules
""".split()  # noqa: SIM905


def newest_loss(session: Session) -> float:
    if session.position.rest is Rest.READY:
        loss = session.history[-1].loss
    elif session.position.rest is Rest.FORWARD:
        loss = session.loop.loss
    else:
        loss = session.loop.window.losses[-1]
    assert loss is not None
    return loss


def write(session: Session) -> tuple[str, Came]:
    """The script, and what it is to come to."""
    with session:
        text = session.reproduce()
        return text, stands(session, newest_loss(session))


def ran(made: dict[str, tuple[str, Came]], folder: Path) -> dict[str, tuple[Came, Came]]:
    """By name: what the script has come to, and what it is to come to."""
    came = run_all({name: text for name, (text, _) in made.items()}, folder)
    return {name: (came[name], expected) for name, (_, expected) in made.items()}


def check(made: dict[str, tuple[str, Came]], folder: Path) -> None:
    """All scripts come to what their sessions were."""
    assert {name: pair for name, pair in ran(made, folder).items() if pair[0] != pair[1]} == {}


def written(folder: Path, name: str) -> Path:
    body = OTHERS.get(name) or RECIPE.format(changes=RECIPES[name])
    return recipe_file(folder, name, HEAD + body)


Pairs = dict[str, tuple[Came, Came]]
"""By name: what the script has come to, and its session."""
PHASES = (1, 2, 3, 4, 31)
"""After each of the first ones, and some epochs later."""


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    folder = tmp_path_factory.mktemp("kinds")
    made = {}
    for name in (*RECIPES, *OTHERS):
        file = written(folder, name)
        for phases in PHASES:
            session = opened(file, seed=7)
            for _ in range(phases):
                session.advance()
            made[f"{name}_{phases}"] = write(session)
    return ran(made, folder)


@pytest.mark.parametrize("phases", PHASES)
@pytest.mark.parametrize("name", [*RECIPES, *OTHERS])
def test_every_kind_of_recipe_at_every_phase_and_over_epochs(kinds: Pairs, name: str, phases: int) -> None:
    came, expected = kinds[f"{name}_{phases}"]
    assert came == expected


@pytest.mark.slow
def test_every_sample(tmp_path: Path) -> None:
    made = {}
    for path in assets.sample_paths():
        session = opened(path)
        session.set_capture("off")
        for _ in range(5):
            session.advance()
        made[path.stem] = write(session)
    check(made, tmp_path)


@pytest.mark.slow
def test_the_zoo(tmp_path: Path) -> None:
    made = {}
    for name in _ZOO if os.environ.get("GRADSCOPE_WHOLE_ZOO") else _ZOO[::2]:
        text = f"import sys\nsys.path.insert(0, {str(ZOO)!r})\nfrom zoo import ZOO\n\ndef recipe():\n    return ZOO"
        file = recipe_file(tmp_path, f"of_{name}", f"{text}[{name!r}]()\n")
        session = opened(file)
        for _ in range(8):
            session.advance()
        made[name] = write(session)
    check(made, tmp_path)


Doing = Callable[[Session], object]
EDITS: dict[str, tuple[str, list[tuple[int, Doing]]]] = {
    "rate": ("plain", [(4, lambda s: s.edit(edits.EditOption(group=0, option="lr", value="0.01")))]),
    "rate_before_all": ("plain", [(0, lambda s: s.edit(edits.EditOption(group=0, option="lr", value="0.01")))]),
    "options": (
        "window",
        [
            (1, lambda s: s.edit(edits.EditOption(group=0, option="betas", value="(0.5, 0.9)"))),
            (2, lambda s: s.edit(edits.EditClipping(norm=None, value=0.05))),
            (9, lambda s: s.edit(edits.EditAccumulation(micro_batches=2))),
            (13, lambda s: s.edit(edits.EditClipping(norm=0.2, value=None))),
        ],
    ),
    "layers": (
        "plain",
        [
            (3, lambda s: s.edit(edits.EditDropout(layer="", p=0.6))),
            (6, lambda s: s.edit(edits.EditRequiresGrad(name="0", is_parameter=False, requires_grad=False))),
            (6, lambda s: s.edit(edits.EditRequiresGrad(name="0.bias", is_parameter=True, requires_grad=True))),
            (9, lambda s: s.edit(edits.EditMode(layer="1", training=False))),
        ],
    ),
    "classes": (
        "per_step",
        [
            (3, lambda s: s.edit(edits.EditLoss(loss="CrossEntropyLoss", arguments={"label_smoothing": "0.1"}))),
            (4, lambda s: s.edit(edits.EditScheduler(scheduler="StepLR", arguments={"step_size": "2"}))),
            (7, lambda s: s.edit(edits.EditOptimizer(optimizer="Adam", arguments={"lr": "0.03"}))),
            (15, lambda s: s.edit(edits.EditScheduler(scheduler=""))),
        ],
    ),
    "another_scheduler": (
        "plain",
        [
            (
                3,
                lambda s: s.edit(
                    edits.EditScheduler(scheduler="ReduceLROnPlateau", arguments={"patience": "0"}, unit="epoch")
                ),
            ),
            (20, lambda s: s.edit(edits.EditScheduler(scheduler="StepLR", arguments={"step_size": "1"}, unit="epoch"))),
        ],
    ),
    "cleared_by_hand": (
        "manual",
        [
            (6, lambda s: s.zero_grad()),
            (13, lambda s: s.zero_grad()),
            (16, lambda s: s.edit(edits.EditZeroGrad(mode="auto"))),
        ],
    ),
    "undone": (
        "plain",
        [
            (3, lambda s: s.edit(edits.EditOption(group=0, option="lr", value="9"))),
            (3, lambda s: s.undo_edit()),
            (6, lambda s: s.edit(edits.EditOption(group=0, option="lr", value="0.5"))),
            (9, lambda s: s.undo_edit()),
            (9, lambda s: s.edit(edits.EditClipping(norm=0.1, value=None))),
            (12, lambda s: s.undo_edit()),
        ],
    ),
    "beside": ("by_metric", [(3, lambda s: s.validate()), (7, lambda s: s.check_gradient("0.weight", 2))]),
    "several": (
        "two_optimizers",
        [
            (2, lambda s: s.edit(edits.EditOption(group=1, option="lr", value="0.5"))),
            (9, lambda s: s.edit(edits.EditOptimizer(optimizer="SGD", arguments={"lr": "0.1"}, turn="a"))),
        ],
    ),
    "now": ("plain", [(22, lambda s: s.edit(edits.EditOption(group=0, option="momentum", value="0.1")))]),
}


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    folder = tmp_path_factory.mktemp("edited")
    made = {}
    for name, (recipe, deeds) in EDITS.items():
        for phases in (22, 24):
            session = opened(written(folder, recipe))
            for phase in range(phases + 1):
                for at, deed in deeds:
                    if at == phase:
                        deed(session)
                if phase < phases:
                    session.advance()
            made[f"{name}_{phases}"] = write(session)
    return ran(made, folder)


@pytest.mark.parametrize("phases", [22, 24])
@pytest.mark.parametrize("name", EDITS)
def test_edits_are_repeated_at_their_places(edited: Pairs, name: str, phases: int) -> None:
    came, expected = edited[f"{name}_{phases}"]
    assert came == expected


def test_only_what_the_recipe_uses_is_written(tmp_path: Path) -> None:
    session = opened(written(tmp_path, "plain"))
    session.next_batch()
    text, _ = write(session)
    for word in ("scaler", "autocast", "clip_grad", "scheduler", "closure", "micro", "validate", "cuda", "finding"):
        assert word not in text


# ------------------------------------------------------------------------------------------- what cannot be written


def refused(session: Session) -> str:
    with session, pytest.raises(BadInput) as error:
        session.reproduce()
    return str(error.value)


def test_before_the_first_forward_there_is_nothing_to_print(tmp_path: Path) -> None:
    assert refused(opened(written(tmp_path, "plain"))) == (
        "There is no loss yet that a script could print; press Forward first"
    )


def test_a_file_that_was_changed_since(tmp_path: Path) -> None:
    file = written(tmp_path, "plain")
    session = opened(file)
    session.forward()
    file.write_text(file.read_text() + "\n# changed\n")
    assert "was changed since it was loaded" in refused(session)


def test_a_recipe_of_no_file(tmp_path: Path) -> None:
    from dataclasses import replace

    from gradscope import load_recipe

    session = Session(replace(load_recipe(written(tmp_path, "plain")), source=None))
    session.forward()
    assert "is in no file that a script could load" in refused(session)


def test_a_recipe_that_needs_more_of_gradscope(tmp_path: Path) -> None:
    file = recipe_file(
        tmp_path, "more", "from gradscope import BadInput\n" + HEAD + RECIPE.format(changes=RECIPES["plain"])
    )
    session = opened(file)
    session.forward()
    assert "imports more of it than Recipe (BadInput)" in refused(session)


def test_after_a_checkpoint_was_loaded(tmp_path: Path) -> None:
    file = written(tmp_path, "plain")
    with opened(file) as session:
        session.next_batch()
        session.save_checkpoint(tmp_path / "c.pt")
    session = opened(file)
    session.load_checkpoint(tmp_path / "c.pt")
    session.forward()
    assert "c.pt was loaded" in refused(session)


def test_a_rate_that_a_scheduler_has_moved_before_its_edit_was_undone(tmp_path: Path) -> None:
    session = opened(written(tmp_path, "per_step"))
    session.edit(edits.EditOption(group=0, option="lr", value="0.5"))
    session.next_batch()
    session.undo_edit()
    session.forward()
    assert "edit 0 was undone at another place than where it was made (step 1)" in refused(session)


def test_a_script_says_when_the_file_is_another_one_now(tmp_path: Path) -> None:
    file = written(tmp_path, "plain")
    session = opened(file)
    session.forward()
    text, _ = write(session)
    file.write_text(file.read_text() + "\n# changed\n")
    assert "is not the file any more that was trained with" in run_all({"changed": text}, tmp_path)["changed"].loss


def test_after_going_back_only_what_led_there_is_written(tmp_path: Path) -> None:
    from gradscope import load_recipe

    session = Session(load_recipe(written(tmp_path, "window")), timeline_bytes=2**28)
    for _ in range(5):
        session.advance()
    session.edit(edits.EditOption(group=0, option="lr", value="0.05"))
    for _ in range(20):
        session.advance()
    session.edit(edits.EditOption(group=0, option="lr", value="0.5"))
    session.next_batch()
    session.go_to(2)
    session.advance()
    text, expected = write(session)
    assert "0.05" in text and "0.5\n" not in text
    assert run_all({"back": text}, tmp_path)["back"] == expected
