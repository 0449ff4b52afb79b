"""Numbers as text: of any magnitude, what is shown is the number, rounded."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradscope.protocol import numbers

MAGNITUDES = [10.0**e for e in range(-300, 301, 7)] + [0.0, 1.0, 999.96, 9999.96, 99999.6, 1e3, 1e-3, 0.00099996, 20.0]
ANY = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (20.0, "20"),
        (1000.0, "1000"),
        (9999.96, "10000"),
        (123456.0, "123456"),
        (999999.9, "1e6"),
        (1234567.0, "1.235e6"),
        (0.00099996, "0.001"),
        (0.0001, "1e-4"),
        (-8.8123e-4, "-8.812e-4"),
        (2.43e-300, "2.43e-300"),
        (-1.5e300, "-1.5e300"),
        (math.nan, "NaN"),
        (math.inf, "Inf"),
        (-math.inf, "-Inf"),
        (None, ""),
    ],
)
def test_a_number(value: float | None, expected: str) -> None:
    assert numbers.number(value) == expected


def test_exact_tells_every_float32_apart() -> None:
    assert numbers.exact(0.1) == "0.1"
    assert numbers.exact(123456789.0) == "123456789"
    assert numbers.exact(3.4028234663852886e38) == "3.40282347e38"
    assert numbers.exact(0.30000000000000004) == "0.3"


@pytest.mark.parametrize("digits", [1, 2, 3, 4, 6, 9, 17])
def test_it_is_the_number_rounded(digits: int) -> None:
    for value in [sign * magnitude for magnitude in MAGNITUDES for sign in (1, -1)]:
        text = numbers.number(value, digits=digits)
        assert float(text) == pytest.approx(value, rel=0.51 * 10.0 ** (1 - digits), abs=0)
        assert "+" not in text and not ("." in text and text.partition("e")[0].endswith("0"))


@given(ANY, st.integers(1, 17))
def test_any_number_keeps_its_sign_and_magnitude(value: float, digits: int) -> None:
    shown = float(numbers.number(value, digits=digits))
    if math.isfinite(shown):
        assert abs(shown - value) <= 0.51 * 10.0 ** (1 - digits) * abs(value)
        assert math.copysign(1, shown) == math.copysign(1, value)
    assert float(numbers.number(value, digits=17)) == value


@given(ANY, st.integers(0, 30))
def test_a_number_with_too_little_room_is_rounded_and_never_cut(value: float, room: int) -> None:
    shown = numbers.fitted(numbers.number(value, digits=9), lambda text: len(text) <= room)
    if shown != "…":
        assert len(shown) <= room
        assert float(shown) == pytest.approx(value, rel=0.51) or not math.isfinite(float(shown))
    else:
        assert room < len("-9e-308")


def test_words_between_numbers_stay() -> None:
    assert numbers.fitted("0.123456 ± 0.000123456", lambda text: len(text) <= 14) == "0.12 ± 1.2e-4"
    assert numbers.rounded_in("layer24: 1,234,567 of 0.123456", digits=2) == "layer24: 1.2e6 of 0.12"
    assert numbers.rounded_in("24.attn.qkv, v1.2.3", digits=1) == "24.attn.qkv, v1.2.3"


def test_a_text_is_cut_between_numbers() -> None:
    text = "now 0.0123, 0.00456"
    assert text[: numbers.without_part_of_number(text, 15)] == "now 0.0123, "
    assert numbers.without_part_of_number(text, 8) == 4
    assert numbers.without_part_of_number(text, 11) == 11


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.0, "0 %"),
        (0.01, "<0.1 %"),
        (50.0, "50 %"),
        (33.33, "33.3 %"),
        (99.99, ">99.9 %"),
        (100.0, "100 %"),
        (1e7, "1e7 %"),
    ],
)
def test_a_share(share: float, expected: str) -> None:
    assert numbers.percent(share) == expected
