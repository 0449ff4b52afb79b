"""Long names made short so that they still tell their rows apart, and the blocks that rows belong to. No Qt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence


def shortened(names: Sequence[str]) -> list[str]:
    """The names without the first and the last dotted parts that they have in common, "…" instead.

    "layers.0.proj.weight", "layers.1.proj.weight" become "…0…", "…1…". What is left is never empty.
    """
    parts = [name.split(".") for name in names]
    shortest = min((len(part) for part in parts), default=0)
    if len(parts) < 2 or shortest < 2:
        return list(names)
    before = _shared(parts, shortest - 1)
    after = _shared([part[::-1] for part in parts], shortest - 1 - before)
    return [
        ("…" if before else "") + ".".join(part[before : len(part) - after]) + ("…" if after else "") for part in parts
    ]


def row_labels(names: Sequence[str]) -> list[str]:
    """Each name from the number of its block on, or from so far before as tells it from all others; where there is no
    block, without the first parts that all of them share.

    "model.blocks.24.attn.qkv.weight" becomes "24.attn.qkv.weight", "model.conv1.weight" beside "model.fc.weight"
    "conv1.weight".
    """
    parts = [name.split(".") for name in names]
    shared = shared_parts(names)
    starts = [max(shared, _block_part(part)) for part in parts]
    labels = [".".join(part[start:]) for part, start in zip(parts, starts, strict=True)]
    while True:
        counts = Counter(labels)
        longer = [i for i, label in enumerate(labels) if counts[label] > 1 and starts[i] > 0]
        if not longer:
            break
        for i in longer:
            starts[i] -= 1
            labels[i] = ".".join(parts[i][starts[i] :])
    # Where some need the name of their network, "1.bias" without one would be taken for any network's.
    told = {part[0] for part, start in zip(parts, starts, strict=True) if start == 0 and _block_part(part) > 0}
    return [name if part[0] in told else label for name, part, label in zip(names, parts, labels, strict=True)]


def shared_parts(names: Sequence[str]) -> int:
    """How many leading parts all names have in common; the last part of one is never among them."""
    parts = [name.split(".") for name in names]
    return _shared(parts, min(len(part) for part in parts) - 1) if len(parts) > 1 else 0


def block_of(name: str) -> str:
    """The first numbered part of a name with all before it: "model.blocks.24"; the name itself where none has a number."""
    parts = name.split(".")
    return ".".join(parts[: _block_part(parts) + 1]) or name


def squeezed(label: str, fits: Callable[[str], bool]) -> str:
    """A label with parts in its middle left out until it fits, its first and its last ones kept: "24…qkv.weight"; what
    comes back may still be too long."""
    parts = label.split(".")
    for start in range(1, len(parts)):
        if fits(label):
            break
        label = f"{parts[0]}…{'.'.join(parts[start + 1 :] or parts[-1:])}"
    return label


def _block_part(parts: Sequence[str]) -> int:
    """Which part is the number of a block; -1 for none. The last part names the row itself."""
    for i, part in enumerate(parts):
        if part.isdigit():
            return i
    return -1


def _shared(parts: list[list[str]], at_most: int) -> int:
    """How many leading parts all have in common."""
    for i in range(at_most):
        if len({part[i] for part in parts}) > 1:
            return i
    return max(0, at_most)
