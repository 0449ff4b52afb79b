"""Every sample in a plain PyTorch loop, without the engine: what its docstring promises is measured here."""

import math
import re
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from tests.samples.samples import SAMPLES, SEED, epochs, first_batch, import_sample, load, mean, parameters, train

NAMES = [
    "accumulation",
    "char_transformer",
    "dead_relu",
    "digits_cnn",
    "digits_mlp",
    "exploding_gradients",
    "forgotten_zero_grad",
    "frozen_by_mistake",
    "gan",
    "learning_rate_too_high",
    "linear_regression",
    "lstm",
    "mixed_precision",
    "resnet",
    "scalar_graph",
    "unet_segmentation",
    "vanishing_gradients",
]


def test_the_folder_holds_these_samples() -> None:
    files = SAMPLES.glob("*.py")
    assert sorted(file.stem for file in files if "def recipe" in file.read_text("utf-8")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_introduces_itself(name: str) -> None:
    module = import_sample(SAMPLES / f"{name}.py")
    recipe = module.recipe()
    title, *rest = (module.__doc__ or "").splitlines()
    assert title.endswith(".")
    assert rest[0] == ""
    hints = rest[rest.index("What to watch:") :]
    assert 2 <= sum(line.startswith("* ") for line in hints) <= 4
    assert 5 <= len(recipe.name) <= 40
    assert 40 <= len(recipe.description) <= 160
    assert f"`{name}.py`" in (SAMPLES / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_is_the_same_each_time_it_is_loaded(name: str) -> None:
    for one, other in zip(parameters(load(name)).values(), parameters(load(name)).values(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "frozen_by_mistake"])
def test_the_optimizers_share_exactly_the_models_parameters(name: str) -> None:
    recipe = load(name)
    groups = [group for optimizer in recipe.optimizers.values() for group in optimizer.param_groups]
    optimized = [id(p) for group in groups for p in group["params"]]
    assert sorted(optimized) == sorted(id(p) for p in parameters(recipe).values())
    assert all(p.is_leaf and p.requires_grad for p in parameters(recipe).values())


def test_linear_regression_first_step_by_hand() -> None:
    recipe = load("linear_regression")
    x, y = first_batch(recipe)
    assert (x.tolist(), y.tolist()) == ([2.0], [4.0])
    loss, prediction = recipe.training_step(recipe.model, [x, y])
    loss.backward()
    recipe.optimizer.step()
    w, b = recipe.model["w"], recipe.model["b"]
    assert (prediction.item(), loss.item()) == (2.0, 4.0)
    assert (w.grad.item(), b.grad.item()) == (-8.0, -4.0)
    assert (w.item(), b.item()) == (pytest.approx(1.4), pytest.approx(0.2))


def test_linear_regression_finds_the_line() -> None:
    recipe = load("linear_regression")
    losses = train(recipe, epoch_count=20)
    assert mean(losses[-1]) < 1e-8 * mean(losses[0])
    assert recipe.model["w"].item() == pytest.approx(3, abs=1e-4)
    assert recipe.model["b"].item() == pytest.approx(-2, abs=1e-4)


def test_scalar_graph_gradients_on_both_branches() -> None:
    recipe = load("scalar_graph")
    first, second, *_ = DataLoader(recipe.dataset, recipe.batch_size)
    loss = recipe.training_step(recipe.model, first)
    loss.backward()
    assert loss.item() == 15
    assert {name: p.grad.item() for name, p in recipe.model.items()} == {"a": 1, "b": 1, "c": 4, "d": 3}
    recipe.optimizer.step()
    recipe.optimizer.zero_grad(set_to_none=True)
    recipe.training_step(recipe.model, second).backward()
    assert recipe.model["a"].grad.item() == recipe.model["b"].grad.item() == pytest.approx(5.6)
    assert recipe.model["c"].grad is None
    assert recipe.model["d"].grad is None


def test_scalar_graph_settles_with_c_and_d_out_of_the_graph() -> None:
    recipe = load("scalar_graph")
    losses = train(recipe, epoch_count=4)
    a, b, c, d = (recipe.model[name] for name in "abcd")
    assert mean(losses[-1]) < 1e-3
    assert (a + b).item() == pytest.approx(0, abs=1e-2)
    assert (c * d).item() < 0
    assert c.grad is None
    assert d.grad is None


def test_digits_are_the_published_ones() -> None:
    images, labels = load("digits_mlp").dataset.tensors
    assert images.shape == (1797, 1, 28, 28)
    assert images.dtype == torch.float32
    assert (images.min(), images.max()) == (0, 1)
    assert labels.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert labels[:10].tolist() == list(range(10))


def test_digits_mlp_learns() -> None:
    recipe = load("digits_mlp")
    losses = train(recipe, epoch_count=4)
    assert losses[0][0] == pytest.approx(math.log(10), abs=0.15)
    assert mean(losses[1]) < 0.4 * losses[0][0]
    assert mean(losses[3]) < 0.2 * losses[0][0]
    images, labels = recipe.dataset.tensors
    assert (recipe.model(images).argmax(dim=1) == labels).float().mean() > 0.88


def test_digits_cnn_learns_while_the_rate_falls_in_stairs() -> None:
    recipe = load("digits_cnn")
    rates = []
    for losses in islice(epochs(recipe), 3):
        rates.append(recipe.optimizer.param_groups[0]["lr"])
        last = losses
    assert mean(last) < 0.2
    assert rates == [2e-3, 1e-3, 1e-3]


def test_vanishing_gradients_vanish_with_sigmoid_and_not_with_relu() -> None:
    module = import_sample(SAMPLES / "vanishing_gradients.py")
    assert module.ACTIVATION is nn.Sigmoid
    falls, losses = {}, {}
    for activation in (nn.Sigmoid, nn.ReLU):
        module.ACTIVATION = activation
        torch.manual_seed(SEED)
        recipe = module.recipe()
        images, labels = first_batch(recipe)
        recipe.loss(recipe.model(images), labels).backward()
        norms = [p.grad.norm().item() for p in recipe.model.parameters() if p.ndim == 2]
        falls[activation] = norms[-1] / norms[0]
        losses[activation] = mean(train(recipe, epoch_count=3)[-1])
    assert falls[nn.Sigmoid] > 3e3
    assert falls[nn.ReLU] < 10
    assert 2.2 < losses[nn.Sigmoid] < 2.5
    assert losses[nn.ReLU] < 1.0


def test_char_transformer_learns_with_tied_weights_and_warmup() -> None:
    recipe = load("char_transformer")
    assert recipe.model.head.weight is recipe.model.token.weight
    characters = recipe.model.token.num_embeddings
    assert recipe.optimizer.param_groups[0]["lr"] == pytest.approx(3e-3 / 20)
    losses = train(recipe, epoch_count=8)
    assert losses[0][0] == pytest.approx(math.log(characters), abs=0.2)
    assert mean(losses[-1]) < 2.6


def test_char_transformer_never_looks_ahead() -> None:
    recipe = load("char_transformer")
    tokens, _ = recipe.dataset[0]
    changed = tokens.clone()
    changed[32:] = 0
    with torch.no_grad():
        one, other = recipe.model(torch.stack([tokens, changed]))
    torch.testing.assert_close(one[:32], other[:32])
    assert not torch.allclose(one[32:], other[32:])


def test_the_recipe_in_the_readme_learns(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (SAMPLES / "README.md").read_text("utf-8"), flags=re.DOTALL)
    file = tmp_path / "sine.py"
    file.write_text(blocks[0], encoding="utf-8")
    losses = train(import_sample(file).recipe(), epoch_count=30)
    assert mean(losses[-1]) < 0.1 * losses[0][0]
