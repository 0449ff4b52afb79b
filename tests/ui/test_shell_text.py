"""Numbers, shapes, durations and layers in a few characters."""

import math

import pytest

from gradscope.protocol import numbers
from gradscope.protocol.messages import ModuleInfo
from gradscope.ui.models.layer_text import describe_module
from gradscope.ui.words import text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0"),
        (1.0, "1"),
        (0.12345, "0.1235"),
        (-0.00088123, "-8.812e-4"),
        (1234567.0, "1.235e6"),
        (2e-12, "2e-12"),
        (math.nan, "NaN"),
        (math.inf, "Inf"),
        (-math.inf, "-Inf"),
        (None, ""),
    ],
)
def test_number(value: float | None, expected: str) -> None:
    assert numbers.number(value) == expected


def test_shape() -> None:
    assert text.shape((256, 784)) == "256 × 784"
    assert text.shape((3,)) == "3"
    assert text.shape(()) == "scalar"


@pytest.mark.parametrize(
    ("seconds", "expected"), [(1.5, "1.5 s"), (0.00123, "1.23 ms"), (4.5e-5, "45 µs"), (0, "0 µs"), (math.nan, "")]
)
def test_duration(seconds: float, expected: str) -> None:
    assert text.duration(seconds) == expected


@pytest.mark.parametrize(
    ("count", "expected"), [(0, "0 B"), (512, "512 B"), (2048, "2 KiB"), (3.5 * 2**30, "3.5 GiB"), (math.nan, "")]
)
def test_byte_size(count: float, expected: str) -> None:
    assert text.byte_size(count) == expected


@pytest.mark.parametrize(
    ("kind", "description", "expected"),
    [
        ("Linear", "in_features=784, out_features=256, bias=True", "Linear 784→256"),
        ("Conv2d", "1, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1)", "Conv2d 1→8, 3×3"),
        ("BatchNorm2d", "8, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True", "BatchNorm2d 8"),
        ("LayerNorm", "(64, 3), eps=1e-05, elementwise_affine=True", "LayerNorm 64×3"),
        ("Embedding", "56, 64", "Embedding 56×64"),
        ("LSTM", "10, 20, num_layers=2, batch_first=True", "LSTM 10→20, 2 layers"),
        ("MaxPool2d", "kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False", "MaxPool2d 2"),
        ("Dropout", "p=0.1, inplace=False", "Dropout p=0.1"),
        ("ReLU", "inplace=True", "ReLU in place"),
        ("ReLU", "", "ReLU"),
        ("Mine", "something = else, (broken", "Mine"),
        ("Mine", "several\nlines", "Mine"),
    ],
)
def test_a_module_in_a_few_words(kind: str, description: str, expected: str) -> None:
    assert describe_module(ModuleInfo(name="m", type=kind, description=description)) == expected


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("0.03", "0.03"),
        ("1e-08", "1e-08"),
        ("0.0040000000000000036", "0.004"),
        ("(0.8625741234567, 0.999)", "(0.862574, 0.999)"),
        ("1.2345678901234e-08", "1.23457e-8"),
        ("[123456789, 'v1.2345678901']", "[123456789, 'v1.2345678901']"),
        ("None", "None"),
    ],
)
def test_long_numbers_are_rounded(given: str, shown: str) -> None:
    assert numbers.shortened_numbers(given) == shown
