"""Names beside rows: they tell rows apart, stand for blocks where there is no room for each, and never overlap."""

import itertools

import pytest
from PySide6.QtGui import QFont, QFontMetricsF

from gradscope.ui.plots.parts.axes import NameAxis
from gradscope.ui.plots.words.names import block_of, row_labels, squeezed

PARTS = ("ln1.weight", "attn.qkv.weight", "attn.proj.weight", "ln2.weight", "mlp.fc1.weight", "mlp.fc2.weight")


def deep(blocks: int) -> list[str]:
    inside = [f"transformer.blocks.{i}.{part}" for i in range(blocks) for part in PARTS]
    return ["transformer.embed.weight", *inside, "head.weight"]


def axis_of(names: list[str], *, room: float = 130) -> NameAxis:
    axis = NameAxis()
    axis.set_font(QFont())
    axis.set_room(room)
    axis.set_names(names)
    return axis


def labels_of(axis: NameAxis, low: float, high: float, size: float) -> list[tuple[float, str]]:
    ((spacing, rows),) = axis.tickValues(low, high, size)
    return list(zip(rows, axis.tickStrings(rows, 1.0, spacing), strict=True))


def test_a_label_begins_with_the_number_of_its_block() -> None:
    labels = row_labels(deep(30))
    assert labels[24 * 6 + 2] == "24.attn.qkv.weight"
    assert labels[0] == "transformer.embed.weight" and labels[-1] == "head.weight"
    assert len(set(labels)) == len(labels)


def test_a_label_begins_earlier_where_that_is_needed_to_tell_rows_apart() -> None:
    names = ["encoder.layers.0.fc.weight", "decoder.layers.0.fc.weight", "decoder.layers.0.cross.weight"]
    assert row_labels(names) == names, "one beside them without its network would be anybody's"
    blocks = ["net.left.0.fc", "net.right.0.fc", "net.left.1.fc"]
    assert row_labels(blocks) == ["left.0.fc", "right.0.fc", "1.fc"]
    assert row_labels(["a", "a"]) == ["a", "a"]


def test_a_label_goes_without_what_all_rows_share() -> None:
    names = ["model.conv1.weight", "model.conv1.bias", "model.fc2.weight"]
    assert row_labels(names) == ["conv1.weight", "conv1.bias", "fc2.weight"]
    assert row_labels(["net.main.weight", "net.main.bias"]) == ["weight", "bias"]
    assert row_labels(["netD.fc.weight", "netG.fc.weight"]) == ["netD.fc.weight", "netG.fc.weight"]
    assert row_labels(["model.weight"]) == ["model.weight"]
    shown = [text for _, text in labels_of(axis_of(names, room=110), 0, 2, 200)]
    assert shown == ["conv1.weight", "conv1.bias", "fc2.weight"]


def test_a_block_goes_without_what_all_rows_share() -> None:
    names = [f"a_rather_long_name.blocks.{i}.{part}" for i in range(50) for part in PARTS]
    texts = [text for _, text in labels_of(axis_of([*names, "a_rather_long_name.head"]), 0, 300, 400)]
    assert texts[0] == "blocks.0.*" and all(text.startswith(("blocks.", "head")) for text in texts)


def test_blocks() -> None:
    assert block_of("transformer.blocks.24.attn.qkv.weight") == "transformer.blocks.24"
    assert block_of("head.weight") == "head.weight"
    assert block_of("0.weight") == "0"


@pytest.mark.parametrize("room", [18, 14, 9])
def test_the_middle_goes_first(room: int) -> None:
    assert (
        squeezed("24.attn.qkv.weight", lambda text: len(text) <= room)
        == {
            18: "24.attn.qkv.weight",
            14: "24…qkv.weight",
            9: "24…weight",
        }[room]
    )


def test_all_labels_that_are_seen_differ(qapp: object) -> None:
    axis = axis_of(deep(40))
    found = labels_of(axis, 100, 120, 400)
    assert [row for row, _ in found] == list(range(100, 121))
    texts = [text for _, text in found]
    assert len(set(texts)) == len(texts)
    assert all("…" not in text or text.split("…")[0].isdigit() for text in texts)


@pytest.mark.parametrize("blocks", [12, 40, 500])
def test_labels_of_many_rows_are_those_of_blocks_and_do_not_overlap(qapp: object, blocks: int) -> None:
    names = deep(blocks)
    axis = axis_of(names)
    size, rows = 350.0, len(names)
    found = labels_of(axis, -0.5, rows - 0.5, size)
    height = QFontMetricsF(QFont()).height()
    places = [row * size / rows for row, _ in found]
    assert len(found) > 5
    assert all(b - a >= height for a, b in itertools.pairwise(places))
    assert all(names[int(row)].startswith(("transformer.blocks.", "transformer.embed", "head")) for row, _ in found)
    block_rows = [row for row, _ in found if "blocks" in names[int(row)]]
    assert all((row - 1) % len(PARTS) == 0 for row in block_rows)
    texts = [text for _, text in found]
    assert len(set(texts)) == len(texts)


def test_a_label_of_a_block_is_not_taken_for_the_number_of_a_row(qapp: object) -> None:
    names = [f"{i}.{leaf}" for i in range(0, 300, 2) for leaf in ("weight", "bias")]
    axis = axis_of(names)
    texts = [text for _, text in labels_of(axis, -0.5, 299.5, 300)]
    assert len(texts) > 5 and texts[0] == "0.*"
    assert all(text.endswith(".*") for text in texts)
    assert labels_of(axis, 10, 14, 300)[0][1] == names[10]
    of_layers = axis_of([f"net.{i}" for i in range(300)])
    assert not any("*" in text for _, text in labels_of(of_layers, -0.5, 299.5, 300)), "each of them is a row"


def test_names_without_blocks_have_labels_at_equal_distances(qapp: object) -> None:
    axis = axis_of([f"layer_{chr(97 + i % 26)}{i // 26}" for i in range(200)])
    rows = [row for row, _ in labels_of(axis, -0.5, 199.5, 300)]
    assert len({b - a for a, b in itertools.pairwise(rows)}) == 1
