"""The safetensors format against the safetensors library, both ways."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from gradscope.engine.export.plan import PlannedFile
from gradscope.engine.export.tensors import plan_tensors
from gradscope.protocol.parts import Part
from gradscope.snapshots.format import tensor_file
from gradscope.snapshots.format.tensor_file import DTYPES, numbers_of, read_header

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
EIGHT_BITS = (
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.float8_e4m3fnuz,
    torch.float8_e5m2fnuz,
    torch.float8_e8m0fnu,
)
WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint64, torch.uint32, torch.uint16, torch.uint8)


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 7, generator=generator)
    x[0, :4] = torch.tensor([torch.nan, torch.inf, -torch.inf, -0.0])
    found = {str(dtype): x.to(dtype) for dtype in (*FLOATS, *EIGHT_BITS[:4], torch.complex64)}
    found |= {str(dtype): torch.arange(250).to(dtype) for dtype in WHOLE}
    return found | {
        "bool": x > 0,
        "scalar": x.sum(),
        "scalar bool": (x > 0).all(),
        "scalar half": x[1, 1].bfloat16(),
        "empty": x[:0],
        "empty with sides": torch.zeros(3, 0, 2, dtype=torch.int16),
        "transposed": x.T,
        "expanded": x[:1].expand(4, -1),
        "strided": x[::2, ::3],
        "conjugated": x.to(torch.complex64).conj(),
        "negative view": torch._neg_view(x),
        "Umläute ☃": x[0],
    }


def written(plan: PlannedFile) -> bytes:
    return b"".join(bytes(chunk) for chunk in plan.chunks())


def test_what_is_written_is_what_the_library_reads() -> None:
    given, left_out = tensors(), []
    plan = plan_tensors("x.safetensors", Part.BATCH, [(k, v.detach) for k, v in given.items()], left_out)
    data = written(plan)
    assert left_out == [] and len(data) == plan.size_bytes
    read = safetensors.torch.load(data)
    assert set(read) == set(given)
    for name, tensor in given.items():
        expected = tensor.resolve_conj().resolve_neg().contiguous()
        assert read[name].dtype == tensor.dtype and read[name].shape == tensor.shape, name
        assert torch.equal(read[name].reshape(-1).view(torch.uint8), expected.reshape(-1).view(torch.uint8)), name


def test_what_the_library_writes_is_read(tmp_path: Path) -> None:
    given = {
        name: tensor.resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors().items()
    }
    safetensors.torch.save_file(given, tmp_path / "x.safetensors", metadata={"anything": "at all"})
    data = (tmp_path / "x.safetensors").read_bytes()
    header = read_header(io.BytesIO(data), len(data))
    assert set(header) == set(given)
    for name, tensor in given.items():
        info = header[name]
        values = numbers_of(data[info.start : info.end], info.dtype).reshape(info.shape)
        assert f"torch.{info.dtype.label}" == str(tensor.dtype) and info.shape == tuple(tensor.shape)
        small = tensor.dtype.is_floating_point and tensor.element_size() < 4
        expected = (tensor.float() if small else tensor).numpy()
        assert values.dtype == expected.dtype and values.shape == expected.shape, name
        np.testing.assert_array_equal(values, expected, err_msg=name)


@pytest.mark.parametrize("dtype", EIGHT_BITS, ids=str)
def test_every_eight_bit_float(dtype: torch.dtype) -> None:
    every = torch.arange(256, dtype=torch.uint8)
    kind = tensor_file.DTYPE_OF_LABEL[str(dtype).removeprefix("torch.")]
    np.testing.assert_array_equal(kind.decode(every.numpy()), every.view(dtype).float().numpy())


def test_every_bfloat16() -> None:
    every = torch.arange(2**16, dtype=torch.int32).to(torch.uint16)
    expected = every.view(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(DTYPES["BF16"].decode(every.numpy()), expected)
