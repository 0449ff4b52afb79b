"""Checkpoint files: written all at once or not at all, read without executing anything."""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import re
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from gradscope.engine.wording import with_article
from gradscope.protocol.failure import BadInput

_EXPECTED = "expected one written by torch.save, or a .safetensors file"
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"


def write(path: str | os.PathLike[str], content: object) -> tuple[Path, int]:
    """(file, size in bytes). Raises BadInput; then a file that was there before is as it was.

    Written under a temporary name beside the target, forced to the disk, and renamed.
    """
    target = checked_target(path)
    temporary = None
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        size = temporary.stat().st_size
        temporary.chmod(_mode_of(target))
        temporary.replace(target)
    except BaseException as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()
        cause = _os_error(error)
        if cause is not None:
            raise BadInput(f"The checkpoint cannot be written to {target}: {cause.strerror or cause}") from error
        raise
    _sync_folder(target.parent)
    return target, size


def checked_target(path: str | os.PathLike[str]) -> Path:
    """Where a checkpoint of that name is to be written. Raises BadInput if that cannot be, as far as it can be known."""
    target = _absolute(path)
    if target.is_dir():
        raise BadInput(f"{target} is a folder; expected the name of a file for the checkpoint")
    if not target.parent.is_dir():
        raise BadInput(f"{target.parent} does not exist; expected an existing folder for the checkpoint")
    # A link is kept: what it leads to is written.
    target = target.resolve()
    if target.exists() and not target.is_file():
        # A device or a pipe would be replaced, for everybody who uses it.
        raise BadInput(f"{target} is no regular file; expected a new name, or a file to be replaced by the checkpoint")
    if not os.access(target.parent, os.W_OK):
        raise BadInput(f"Nothing can be written in {target.parent}; expected a folder of yours for the checkpoint")
    return target


def _os_error(error: BaseException | None) -> OSError | None:
    """torch tells a full disk as an error of its own while it handles the real one."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def _mode_of(target: Path) -> int:
    """That of the file to be replaced, or of a new one (mkstemp makes private ones)."""
    if target.exists():
        return target.stat().st_mode & 0o777
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def _sync_folder(folder: Path) -> None:
    """The new name is to survive a power cut too, where folders can be synced."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read(path: str | os.PathLike[str]) -> tuple[Path, Mapping[str, Any]]:
    """(file, content), all tensors on the CPU. Raises BadInput, one sentence, for anything that cannot be read as such."""
    file = _absolute(path)
    if file.is_dir():
        raise BadInput(f"{file} is a folder; expected a checkpoint file")
    if file.exists() and not file.is_file():
        # To open a pipe would wait for whoever writes into it.
        raise BadInput(f"{file} is no regular file; expected a checkpoint file")
    try:
        with file.open("rb") as opened:
            head, size = opened.read(9), os.fstat(opened.fileno()).st_size
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror or error}") from error
    if not head:
        raise BadInput(f"{file} is empty; {_EXPECTED}")
    if not (file.suffix == ".safetensors" or head[8:] == b"{" or head.startswith((_ZIP, _PICKLE))):
        raise BadInput(f"{file} is no checkpoint; {_EXPECTED}")
    if size > (memory := _memory_bytes()):
        raise BadInput(f"{file} does not fit into memory: it has {size / 2**30:.1f} GiB of {memory / 2**30:.1f} GiB")
    if file.suffix == ".safetensors" or head[8:] == b"{":
        return file, _read_safetensors(file)
    content = _read_torch(file, is_zip=head.startswith(_ZIP))
    if not isinstance(content, Mapping):
        found = with_article(type(content).__name__)
        raise BadInput(f"{file} holds {found}; expected a dict with a state_dict, or a state_dict")
    return file, content


def _memory_bytes() -> float:
    """Of this machine; endless where it cannot be asked."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return math.inf


def _absolute(path: str | os.PathLike[str]) -> Path:
    return Path(path).expanduser().absolute()


def _read_safetensors(file: Path) -> Mapping[str, Any]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise BadInput(f"{file} needs the package safetensors: pip install safetensors") from error
    try:
        return load_file(file)
    except Exception as error:
        raise BadInput(f"{file} is damaged: {error}; expected a complete safetensors file") from error


def _read_torch(file: Path, *, is_zip: bool) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"(?i)unsupported (?:global: )?GLOBAL (\S+)", str(error))
        if found is not None:
            raise BadInput(
                f"{file} asks for the Python object {found[1]}, which could run code; expected tensors, numbers, strings, "
                "lists and dicts only (save state_dict() instead of the model)"
            ) from error
        raise BadInput(f"{file} cannot be read as a checkpoint; {_EXPECTED}") from error
    except MemoryError as error:
        raise BadInput(f"{file} does not fit into memory") from error
    except Exception as error:
        text = str(error)
        if "TorchScript" in text:
            raise BadInput(f"{file} is a TorchScript archive, a program; expected a checkpoint") from error
        if not is_zip or not zipfile.is_zipfile(file):
            raise BadInput(f"{file} is damaged: it ends too early; expected a complete checkpoint") from error
        raise BadInput(f"{file} cannot be read as a checkpoint; {_EXPECTED}") from error
