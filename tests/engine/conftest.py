"""Puts the helpers beside the tests on the path, keeps torch to one thread, and the process as it was."""

import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gradscope.assets import sample_path

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _process_as_it_was() -> Iterator[None]:
    """A recipe changes sys.path, sys.modules and the random generators; no test sees what another left."""
    path, modules = list(sys.path), set(sys.modules)
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("gradscope_recipe_") or "/project/" in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


@pytest.fixture(scope="module")
def peer() -> Iterator[Any]:
    """A real engine process, of a module's tests: a `peer.Peer`."""
    from peer import Peer

    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture
def mlp() -> Path:
    """A sample that is small and quick."""
    path = sample_path("digits_mlp")
    assert path is not None
    return path


@pytest.fixture
def write_recipe(tmp_path: Path) -> Callable[..., Path]:
    """write_recipe(text, name="recipe.py"): a recipe file in a folder of its own."""

    def write(text: str, name: str = "recipe.py") -> Path:
        folder = tmp_path / "project"
        folder.mkdir(exist_ok=True)
        file = folder / name
        file.write_text(text, encoding="utf-8")
        return file

    return write
