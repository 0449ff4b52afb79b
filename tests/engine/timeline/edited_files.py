"""A recipe file, and what it can be edited to while it is trained by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gradscope import Recipe, load_recipe

BASE = """
import torch
from torch import nn
from gradscope import Recipe

SEEN = [0]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Linear(4, 6), nn.BatchNorm1d(6)
        self.drop, self.last = nn.Dropout(0.2), nn.Linear(6, 2)
        self.scale, self.calls = 1.0, 0

    def forward(self, x):
        self.calls += 1
        return self.last(self.drop(torch.relu(self.norm(self.first(x))))) * self.scale


def counted_loss(output, target):
    SEEN[0] += 1
    return ((output - target) ** 2).mean() * (1 + SEEN[0] / 100)


def recipe():
    model = Net()
    data = [(torch.randn(4), torch.randn(2)) for _ in range(15)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.7)
    return Recipe(
        model=model,
        dataset=data,
        loss=counted_loss,
        batch_size=4,
        optimizer=optimizer,
        scheduler=scheduler,
        clip_norm=None,
        accumulate=1,
    )
"""

EDITS: dict[str, tuple[tuple[str, str], ...]] = {
    "as it was": (),
    "rate": (("lr=0.1", "lr=0.04"),),
    "momentum": (("momentum=0.9", "momentum=0.5, weight_decay=0.01"),),
    "schedule": (("step_size=2, gamma=0.7", "step_size=3, gamma=0.5"),),
    "other scheduler": (("StepLR(optimizer, step_size=2, gamma=0.7)", "CosineAnnealingLR(optimizer, T_max=9)"),),
    "no scheduler": (("scheduler=scheduler", "scheduler=None"),),
    "other optimizer": (("SGD(model.parameters(), lr=0.1, momentum=0.9)", "Adam(model.parameters(), lr=0.01)"),),
    "eager state": (("SGD(model.parameters(), lr=0.1, momentum=0.9)", "Adagrad(model.parameters(), lr=0.02)"),),
    "loss": (("** 2).mean()", ").abs().mean()"),),
    "clip": (("clip_norm=None", "clip_norm=0.3"), ("accumulate=1", "accumulate=2")),
    "layers": (("Dropout(0.2)", "Dropout(0.6)"), ("scale, self.calls = 1.0", "scale, self.calls = 2.0")),
    "code": (("torch.relu(", "torch.tanh("),),
    "frozen": (("model = Net()", "model = Net(); model.first.weight.requires_grad_(False)"),),
    "all": (("lr=0.1", "lr=0.3"), ("gamma=0.7", "gamma=0.9"), ("torch.relu(", "torch.sigmoid("), ("/ 100", "/ 10")),
}
REFUSED: dict[str, tuple[tuple[tuple[str, str], ...], str]] = {
    "shape": ((("nn.Linear(6, 2)", "nn.Linear(6, 2, bias=False)"),), "parameters that are gone: last.bias"),
    "layers": ((("nn.Dropout(0.2)", "nn.Identity()"),), "layer drop: Dropout → Identity"),
    "batch size": ((("batch_size=4", "batch_size=8"),), "batch_size: 4 → 8"),
    "data": ((("range(15)", "range(16)"),), "dataset (the data)"),
    "precision": ((("clip_norm=None", 'precision="bf16"'),), "precision: None → 'bf16'"),
    "groups": ((("SGD(model.parameters()", "SGD(model.last.parameters()"),), "which parameters are in which group"),
    "optimizers": (
        (
            ("optimizer=optimizer", 'optimizer={"a": optimizer}'),
            ("scheduler=scheduler", 'scheduler={"a": scheduler}'),
            ("loss=counted_loss", 'training_step={"a": lambda m, b: counted_loss(m(b[0]), b[1])}'),
        ),
        "the optimizers",
    ),
    "its own model": (
        (
            (
                "    return Recipe(",
                "    own = lambda output, target: (model.last.weight * 0).sum() + output.mean()\n    return Recipe(",
            ),
            ("loss=counted_loss", "loss=own"),
        ),
        "goes by a model of its own",
    ),
    "syntax": ((("import torch\n", "import torch (\n"),), "cannot be compiled: SyntaxError"),
    "raises": ((("model = Net()", "model = Net(1)"),), "recipe() in edited.py failed: TypeError"),
    "none": ((("batch_size=4", "batch_size=0"),), "batch_size"),
    "nothing": (
        (("SEEN = [0]\n", "SEEN = [0]  # so far\n"),),
        "Nothing in edited.py that this training goes by has changed",
    ),
}


def written(file: Path, edits: tuple[tuple[str, str], ...] = ()) -> Path:
    """The recipe file with those edits."""
    text = BASE
    for before, after in edits:
        assert text.count(before) >= 1, before
        text = text.replace(before, after)
    # As editors do: another file in its place.
    other = file.with_suffix(".new")
    other.write_text(text, encoding="utf-8")
    other.replace(file)
    return file


def loaded_from(file: Path) -> Callable[[], Recipe]:
    return lambda: load_recipe(written(file))
