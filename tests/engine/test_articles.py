""" "a" or "an"."""

import pytest

from gradscope.engine.wording import with_article


@pytest.mark.parametrize(
    "name", ["int", "AdamW", "Adam", "SGD", "MSELoss", "RMSprop", "LBFGS", "ndarray", "OrderedDict"]
)
def test_an(name: str) -> None:
    assert with_article(name) == f"an {name}"


@pytest.mark.parametrize("name", ["str", "Recipe", "CNN", "NoneType", "UserDict", "Unique", "Dropout", "UNet", ""])
def test_a(name: str) -> None:
    assert with_article(name) == f"a {name}"
