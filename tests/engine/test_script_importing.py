"""Work that is done right after a module's first import: the module looks as if nobody had been in between."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradscope.engine.script.launching.importing import when_imported
from tests.patience import patient

NAME = "module_of_a_test_of_importing"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / f"{NAME}.py"
    path.write_text("value = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    finders = list(sys.meta_path)
    yield path
    assert sys.meta_path == finders
    sys.modules.pop(NAME, None)


def test_it_is_done_before_the_importer_goes_on(module: Path) -> None:
    done: list[int] = []
    when_imported(NAME, lambda: done.append(sys.modules[NAME].value))
    assert done == []
    found = importlib.import_module(NAME)
    assert done == [1]
    assert type(found.__loader__).__module__ == "_frozen_importlib_external"
    assert found.__spec__ is not None and found.__spec__.loader is found.__loader__
    assert found.__file__ == str(module)
    del sys.modules[NAME]
    importlib.import_module(NAME)
    assert done == [1], "once"


def test_at_once_where_it_has_been_imported(module: Path) -> None:
    importlib.import_module(NAME)
    done: list[int] = []
    when_imported(NAME, lambda: done.append(1))
    assert done == [1]


def test_called_off(module: Path) -> None:
    done: list[int] = []
    call_off = when_imported(NAME, lambda: done.append(1))
    call_off()
    call_off()
    importlib.import_module(NAME)
    assert done == []


def test_a_module_that_fails_and_is_imported_again(module: Path) -> None:
    module.write_text("raise ValueError('broken')\n")
    done: list[int] = []
    when_imported(NAME, lambda: done.append(1))
    with pytest.raises(ValueError, match="broken"):
        importlib.import_module(NAME)
    assert done == []
    module.write_text("value = 'another length'\n")
    importlib.import_module(NAME)
    assert done == [1]


def test_a_module_that_is_not_there() -> None:
    done: list[int] = []
    call_off = when_imported(NAME, lambda: done.append(1))
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(NAME)
    call_off()
    assert done == []


@pytest.mark.slow
def test_torch_itself_is_untouched() -> None:
    look = (
        "import json, torch; spec = torch.__spec__; print(json.dumps([type(torch.__loader__).__name__, "
        "type(torch.__loader__).__module__, spec.loader is torch.__loader__, spec.name, spec.origin, "
        "sorted(vars(torch.__loader__)), [str(finder) for finder in sys.meta_path if 'gradscope' in str(finder)], "
        "sorted(name for name in vars(torch) if not name.startswith('_'))]))"
    )
    watch = (
        "from gradscope.engine.script.launching.importing import when_imported; when_imported('torch', lambda: None); "
    )

    def seen(code: str) -> object:
        run = [sys.executable, "-c", code]
        return json.loads(subprocess.run(run, capture_output=True, text=True, check=True, timeout=patient(60)).stdout)

    assert seen(f"import sys; {watch}{look}") == seen(f"import sys; {look}")
