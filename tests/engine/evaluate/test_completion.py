"""Names that may follow, found without calling anything of the user's."""

from __future__ import annotations

from collections.abc import Iterator

import plain
import pytest
import zoo_parts
from torch import Tensor, nn

from gradscope import Session

CALLED: list[str] = []


class Loud(nn.Module):
    """Each of its ways to run code says so."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = zoo_parts.mlp()
        self.parts = nn.ModuleDict({"left": nn.Linear(2, 2)})
        self.table = {"alpha": 1, "beta": [1, 2]}

    @property
    def quiet(self) -> str:
        CALLED.append("quiet")
        return ""

    def __getattr__(self, name: str) -> object:
        CALLED.append(name)
        return super().__getattr__(name)

    def __dir__(self) -> list[str]:
        CALLED.append("dir")
        return []

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.encoder(x)
        return result


@pytest.fixture
def session() -> Iterator[Session]:
    with Session(plain.seeded(lambda: zoo_parts.classifier(Loud()))) as session:
        session.forward()
        CALLED.clear()
        yield session


def names(session: Session, text: str) -> list[str]:
    found = session.complete(text, len(text))
    assert all(name.startswith(text[found.start :]) for name in found.names)
    return list(found.names)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mod", "model"),
        ("model.enc", "encoder"),
        ("print(model.encoder[0].wei", "weight"),
        ("model.encoder[0].weight.gra", "grad_fn"),
        ("model.encoder[0].weight.nor", "norm"),
        ("optimizer.param_groups[0]['l", "lr"),
        ('optimizer.param_groups[0]["mom', "momentum"),
        ("model.table['be", "beta"),
        ("model.parts['le", "left"),
        ("model.parts['left'].bi", "bias"),
        ("model.qui", "quiet"),
        ('grad("enc', "encoder.0.weight"),
        ("activation('enc", "encoder.2"),
        ("torch.nn.functional.cross_en", "cross_entropy"),
        ("import tor", "torch"),
        ("whil", "while"),
        ("1 + le", "len"),
        ("acti", "activation"),
    ],
)
def test_what_may_follow(session: Session, text: str, expected: str) -> None:
    assert expected in names(session, text)
    assert CALLED == []


@pytest.mark.parametrize(
    "text", ["model.quiet.", "model.missing.", "'model.", "model().", "3.", "grad('", "model.encoder[9].", ""]
)
def test_where_nothing_is_known_nothing_is_called(session: Session, text: str) -> None:
    names(session, text)
    assert CALLED == []


def test_variables_of_the_console_are_completed(session: Session) -> None:
    session.evaluate("biggest = model.encoder[0].weight.abs().max()")
    assert names(session, "bigg") == ["biggest"]


def test_only_what_is_before_the_cursor_counts(session: Session) -> None:
    assert session.complete("model.enc + other", 9).names == ("encoder",)
    assert session.complete("mod", 900).names == ("model",)


def test_private_names_come_where_they_are_asked_for(session: Session) -> None:
    assert not any(name.startswith("_") for name in names(session, "model."))
    assert "_modules" in names(session, "model._mod")
