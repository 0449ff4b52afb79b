"""How the remarks of a report count."""

import pytest

from gradscope.protocol.subjects import SubjectKind
from gradscope.snapshots.format.damage import in_bytes
from gradscope.snapshots.page.remarks import _share


@pytest.mark.parametrize(
    ("some", "of_all", "text"),
    [
        (8, 11, "8 of 11 gradients of outputs"),
        (1, 11, "1 of 11 gradients of outputs"),
        (1, 1, "1 of 1 gradient of an output"),
    ],
)
def test_a_part_of_all(some: int, of_all: int, text: str) -> None:
    assert _share(some, of_all, SubjectKind.ACTIVATION_GRAD) == text


def test_one_byte() -> None:
    assert [in_bytes(size) for size in (0, 1, 2)] == ["0 bytes", "1 byte", "2 bytes"]
