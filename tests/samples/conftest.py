"""The samples import their data modules from beside them; torch keeps to one thread, and the process as it was."""

import sys
from collections.abc import Iterator

import pytest
import torch

from tests.samples.samples import SAMPLES


@pytest.fixture(autouse=True)
def _sample_imports_and_one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(SAMPLES)
    path, threads = list(sys.path), torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    sys.path[:] = path
