"""Records as tensorboard itself writes them."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.tensorflow_stub import pywrap_tensorflow
from tensorboard.summary.writer.record_writer import RecordWriter

from gradscope.snapshots.records import crc32c, record


def test_the_check_value_of_the_standard() -> None:
    assert crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize("size", [4, 5, 8, 255, 256, 257, 258, 259, 260, 511, 512, 513, 5000])
def test_sizes(size: int) -> None:
    data = bytes(i * i % 251 for i in range(size))
    assert crc32c(data) == pywrap_tensorflow.crc32c(data)


@given(st.binary(min_size=4, max_size=1000))
def test_any_record(data: bytes) -> None:
    file = io.BytesIO()
    RecordWriter(file).write(data)
    assert record(data) == file.getvalue()
