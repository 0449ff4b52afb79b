"""A real snapshot of a small session, as a folder and as a zip, and ways to spoil a copy of it."""

from __future__ import annotations

import atexit
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gradscope.protocol.messages import Attachment
from gradscope.protocol.parts import EVERYTHING, Contents
from tests.torch_python import engine_python

if TYPE_CHECKING:
    from gradscope import Session

ROOT = Path(__file__).parents[2]


def session(*, phases: int = 5, capture: str = "full") -> Session:
    """A small model that has made one step and the forward and backward of another."""
    import torch
    from torch import nn
    from torch.utils.data import TensorDataset

    from gradscope import Recipe, Session

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    recipe = Recipe(
        model=model,
        dataset=TensorDataset(torch.randn(8, 6), torch.randint(0, 3, (8,))),
        loss=nn.CrossEntropyLoss(),
        optimizer=torch.optim.Adam(model.parameters()),
        batch_size=4,
        name="Small",
    )
    made = Session(recipe, capture=capture)
    for _ in range(phases):
        made.advance()
    return made


def attachment(name: str, data: bytes = b"\x89PNG") -> Attachment:
    return Attachment(name=name, data=np.frombuffer(data, dtype=np.uint8))


def write(path: Path, *, phases: int = 5, capture: str = "full") -> Path:
    """A snapshot of such a session, with a picture; where torch is missing, the Python of the engine writes it."""
    python = engine_python()
    if python == sys.executable:
        _write(path, phases, capture)
    else:
        _Writer.of(python).write(path, phases, capture)
    return path


class _Writer:
    """Another Python that writes snapshots, one for each line that it is given; it imports torch only once."""

    @classmethod
    @cache
    def of(cls, python: str) -> _Writer:
        return cls(python)

    def __init__(self, python: str) -> None:
        self._process = subprocess.Popen(
            [python, "-m", "tests.snapshots.made"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        atexit.register(self._end)

    def write(self, path: Path, phases: int, capture: str) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps([str(path), phases, capture]), file=self._process.stdin, flush=True)
        assert self._process.stdout.readline() == f"{path}\n", "the engine's Python could not write a snapshot"

    def _end(self) -> None:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()


def _write(path: Path, phases: int, capture: str) -> None:
    with session(phases=phases, capture=capture) as made:
        save(made, path, attachments=[attachment("plots/loss.png")])


def save(
    session: Session, path: Path, *, contents: Contents = EVERYTHING, attachments: Sequence[Attachment] = ()
) -> None:
    """As the engine's `write_snapshot`, which imports torch."""
    from gradscope.engine.export.snapshot import write_snapshot

    write_snapshot(session, path, contents=contents, attachments=attachments)


class Spoiled:
    """A copy of a snapshot's folder in which single files are changed."""

    def __init__(self, original: Path, folder: Path) -> None:
        self.path = folder
        shutil.copytree(original, folder)

    def json(self, name: str, change: Callable[[Any], None]) -> Path:
        """Change a JSON file; the manifest still fits."""
        value = json.loads((self.path / name).read_text("utf-8"))
        change(value)
        return self.bytes(name, json.dumps(value).encode())

    def bytes(self, name: str, data: bytes, *, is_told: bool = True) -> Path:
        """Replace a file; `is_told`: the manifest has its new size."""
        (self.path / name).write_bytes(data)
        if is_told and name != "manifest.json":
            self.json("manifest.json", lambda manifest: manifest["files"].update({name: len(data)}))
        return self.path


def zipped(folder: Path, path: Path, *, prefix: str = "", compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """A snapshot's folder as somebody would zip it."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, prefix + file.relative_to(folder).as_posix())
    return path


if __name__ == "__main__":
    for line in sys.stdin:
        place, number, level = json.loads(line)
        _write(Path(place), number, level)
        print(place, flush=True)
