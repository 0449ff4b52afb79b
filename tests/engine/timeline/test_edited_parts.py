"""Going on with an edited recipe file where its parts hold each other: objects of the user's own classes, what goes by the
model or the optimizer of the edited file, hooks, modules beside the file, and a version that was gone on with before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from walks import LARGE, run

from gradscope import Session, load_recipe
from gradscope.engine.recipe.prints import print_of
from gradscope.protocol.failure import BadInput

TEXT = """
import dataclasses, enum
import torch
from torch import nn
from gradscope import Recipe
# imports

class Mode(enum.Enum):
    DOUBLE, WRONG = 1, 2

@dataclasses.dataclass
class Config:
    scale: float = 1.5

def hook(module, args, output):
    return output * 1.0

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.inner = nn.Linear(4, 2), nn.Identity()
        self.mode, self.config = Mode.DOUBLE, Config()
        self.inner.config = self.config
        # more

    def forward(self, x):
        assert self.mode is Mode.DOUBLE and isinstance(self.config, Config)
        assert self.inner.config is self.config
        return self.compute(x)

    def compute(self, x):
        return self.layer(x) * self.config.scale * 1.0

def recipe():
    model = Net()
    data = [(torch.randn(4), torch.randn(2)) for _ in range(16)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=50, pct_start=0.3)
    def step(model, batch):
        return (model(batch[0]) - batch[1]).square().mean()
    return Recipe(model=model, dataset=data, training_step=step, batch_size=4, optimizer=optimizer, scheduler=scheduler)
"""
CODE = ("scale * 1.0", "scale * 2.0")


def text_with(*edits: tuple[str, str]) -> str:
    text = TEXT
    for before, after in edits:
        assert before in text
        text = text.replace(before, after)
    return text


def opened(file: Path, *edits: tuple[str, str]) -> Session:
    file.write_text(text_with(*edits), encoding="utf-8")
    session = Session(load_recipe(file), timeline_bytes=LARGE)
    run(session, 2)
    return session


def go_on(session: Session, file: Path, *edits: tuple[str, str]) -> str:
    file.write_text(text_with(*edits), encoding="utf-8")
    return session.go_on_with_file().text


def refusal(session: Session, file: Path, *edits: tuple[str, str]) -> str:
    with pytest.raises(BadInput) as caught:
        go_on(session, file, *edits)
    before = session.recipe.model.layer.weight.detach().clone()
    run(session, session.position.step + 1)
    assert not torch.equal(before, session.recipe.model.layer.weight)
    return caught.value.failure.sentence


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "parts.py"


def test_the_new_code_finds_objects_of_its_own_classes(file: Path) -> None:
    with opened(file) as session:
        before = session.recipe.model.config
        assert go_on(session, file, CODE) == "Edited parts.py: the code of Net is another"
        run(session, 4)
        session.undo_edit()
        assert session.recipe.model.config is before
        run(session, 5)
        session.go_to(1)
        run(session, 2)


def test_an_object_that_was_changed_since_is_not_given_another_class(file: Path) -> None:
    with opened(file) as session:
        session.recipe.model.config.scale = 1.25
        assert "config of the model was changed since" in refusal(session, file, CODE)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("self.act = self.compute", "act of the model holds tensors or layers"),
        ("self.act = lambda x: self.layer(x)", "act of the model goes by the model of the edited parts.py"),
    ],
)
def test_what_holds_the_model_of_the_edited_file_is_refused(file: Path, more: str, said: str) -> None:
    parts = (("# more", more), ("return self.compute(x)", "return self.act(x)"))
    with opened(file, *parts) as session:
        assert said in refusal(session, file, *parts, CODE)


def test_a_training_step_that_reads_the_optimizer_of_the_edited_file_is_refused(file: Path) -> None:
    reads = (".square().mean()\n", ".square().mean() * (1 + optimizer.param_groups[0]['lr'])\n")
    with opened(file, reads) as session:
        assert "goes by a model of its own (optimizer" in refusal(session, file, reads, ("(1 + opt", "(2 + opt"))


def test_hooks_belong_to_the_file_as_it_was(file: Path) -> None:
    hooked = ("# more", "self.layer.register_forward_hook(hook)")
    with opened(file, hooked) as session:
        assert "hooks of layer" in refusal(session, file, hooked, ("output * 1.0", "output * 2.0"))
        assert "code, while hooks of the file as it was are on layer" in refusal(session, file, hooked, CODE)


def test_batches_of_a_class_of_the_file_stay_those_of_the_class_as_it_was(file: Path) -> None:
    parts = (
        ("# imports", "from typing import NamedTuple"),
        ("def hook", "class Batch(NamedTuple):\n    x: object\n    y: object\n\ndef hook"),
        ("def recipe", "def joined(samples):\n    return Batch(*map(torch.stack, zip(*samples)))\n\ndef recipe"),
        ("dataset=data", "dataset=data, collate=joined"),
        ("return (model", "assert isinstance(batch, Batch)\n        return (model"),
    )
    with opened(file, *parts) as session:
        assert "code, while batches hold objects of Batch as it was" in refusal(session, file, *parts, CODE)


def test_what_only_a_scheduler_s_inner_course_says_is_told(file: Path) -> None:
    with opened(file) as session:
        said = go_on(session, file, ("pct_start=0.3", "pct_start=0.5"))
        assert said == "Edited parts.py: the course of OneCycleLR is another"


def test_a_function_of_a_module_in_a_package_is_seen(file: Path) -> None:
    package = file.parent / "of_parts"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "inner.py").write_text("def f(x): return x * 1.0\n")
    parts = (("# imports", "import of_parts.inner"), ("return self.layer(x)", "return of_parts.inner.f(self.layer(x))"))
    with opened(file, *parts) as session:
        (package / "inner.py").write_text("def f(x): return x * 2.0\n")
        assert "the code of Net is another" in go_on(session, file, *parts)


def test_a_class_that_has_moved_into_a_new_module_is_taken(file: Path) -> None:
    with opened(file) as session:
        new = file.parent / "new_parts.py"
        new.write_text(text_with(CODE))
        file.write_text(text_with(("# imports", "import new_parts"), ("Net()", "new_parts.Net()")))
        session.go_on_with_file()
        assert type(session.recipe.model).__module__ == "new_parts"


def test_a_version_that_is_in_use_is_not_begun_anew_when_it_is_loaded_again(file: Path) -> None:
    adam = ("SGD(model.parameters(), lr=0.1, momentum=0.9)", "Adam(model.parameters(), lr=0.01)")
    with opened(file) as session:
        said = go_on(session, file, adam)
        assert "False → False" not in said
        run(session, 4)
        go_on(session, file, adam, (".square()", ".abs()"))
        run(session, 6)
        go_on(session, file, adam)
        run(session, 8)
        optimizer: Any = session.training.turns[0].optimizer
        assert [state["step"].item() for state in optimizer.state.values()] == [6, 6]


class Endless(list[int]):
    def __iter__(self) -> Any:
        while True:
            yield 1

    def __len__(self) -> int:
        raise LookupError("not asked for")


def test_a_print_calls_nothing_of_a_container_of_the_user_s() -> None:
    assert print_of(Endless([1, 2])) == print_of(Endless([1, 2])) != print_of(Endless([1, 3]))
