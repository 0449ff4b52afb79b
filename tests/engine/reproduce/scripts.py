"""Runs written scripts where gradscope cannot be imported, and says what they came to."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from gradscope import Session, load_recipe
from gradscope.engine.model.parameters import named_tensors

_RUNNER = """
import json, os, runpy, sys, traceback
import torch
import torch._dynamo  # Every optimizer asks for it: once, before the processes part.

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "gradscope":
            raise ImportError("there is no gradscope here")

sys.meta_path.insert(0, Blocker())
for path in sys.argv[1:]:
    # Each in a process of its own, without importing torch again.
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(write, 1)
        os.dup2(write, 2)
        code = 1
        try:
            sys.argv = [path]
            runpy.run_path(path, run_name="__main__")
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    os.close(write)
    with os.fdopen(read) as said:
        text = said.read()
    os.waitpid(child, 0)
    print(json.dumps([path, text]), flush=True)
"""
_HASH = """
    import hashlib
    digest = hashlib.sha256()
    tensors = dict(model.named_parameters()) if isinstance(model, torch.nn.Module) else model
    buffers = dict(model.named_buffers()) if isinstance(model, torch.nn.Module) else {}
    for tensor in [*tensors.values(), *(t.grad for t in tensors.values()), *buffers.values()]:
        if tensor is not None and tensor.layout is torch.strided:
            digest.update(tensor.detach().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    print(digest.hexdigest(), torch.rand(1).item(), random.random(), np.random.rand())
"""
"""What the training has come to, and the next random numbers: for the tests alone."""


@dataclass(frozen=True)
class Came:
    """What a script has said."""

    loss: str
    state: str


def recipe_file(folder: Path, name: str, text: str) -> Path:
    """A recipe with the usual imports."""
    file = folder / f"{name}.py"
    head = (
        "import torch\nfrom torch import nn\nfrom torch.utils.data import TensorDataset\nfrom gradscope import Recipe\n"
    )
    file.write_text(f"{head}\n{textwrap.dedent(text)}", encoding="utf-8")
    return file


def opened(file: Path, seed: int = 0) -> Session:
    return Session(load_recipe(file, seed))


def run_all(scripts: Mapping[str, str], folder: Path) -> dict[str, Came]:
    """By the name of each script's text. What fails has its traceback as loss."""
    files = {}
    for name, text in scripts.items():
        files[name] = folder / f"{name}_script.py"
        files[name].write_text(text + _HASH, encoding="utf-8")
    command = [sys.executable, "-I", "-c", _RUNNER, *map(str, files.values())]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    said = dict(json.loads(line) for line in done.stdout.splitlines())
    found = {}
    for name, file in files.items():
        lines = said[str(file)].splitlines()
        found[name] = Came(lines[0], lines[1]) if len(lines) == 2 else Came(said[str(file)], "")
    return found


def stands(session: Session, loss: float) -> Came:
    """The same of the session itself. It draws random numbers: the session is of no use afterwards."""
    import random

    import numpy as np
    import torch

    digest = hashlib.sha256()
    model = session.recipe.model
    tensors = [tensor for tensor, _ in named_tensors(model).values()]
    buffers = dict(model.named_buffers()).values() if isinstance(model, nn.Module) else ()
    for tensor in [*tensors, *(tensor.grad for tensor in tensors), *buffers]:
        if tensor is not None and tensor.layout is torch.strided:
            digest.update(tensor.detach().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    numbers = f"{torch.rand(1).item()} {random.random()} {np.random.rand()}"
    return Came(repr(loss), f"{digest.hexdigest()} {numbers}")
