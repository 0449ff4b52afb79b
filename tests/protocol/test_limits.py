"""What a field may hold beyond its type."""

import pytest

from gradscope.protocol import limits
from gradscope.protocol.limits import Nameable, Unfit


@pytest.mark.parametrize(
    ("name", "in_bytes", "in_utf_16"),
    [
        ("x" * 255, True, True),
        ("x" * 256, False, False),
        ("я" * 127, True, True),
        ("я" * 255, False, True),
        ("я" * 256, False, False),
        ("🙂" * 63, True, True),
        ("🙂" * 127, False, True),
        ("🙂" * 128, False, False),
        ("a\0b", False, False),
        ("\ud800", False, False),
        ("", True, True),
    ],
    ids=ascii,
)
def test_a_name_is_measured_as_the_system_does(
    name: str, in_bytes: bool, in_utf_16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for counts_utf_16, fits in ((False, in_bytes), (True, in_utf_16)):
        monkeypatch.setattr(limits, "_COUNTS_UTF_16", counts_utf_16)
        path = f"/a/folder/{name}"
        if fits:
            assert Nameable().applied(path) == path
        else:
            with pytest.raises(Unfit, match="cannot be the path of a file"):
                Nameable().applied(path)
