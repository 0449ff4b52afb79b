"""Reading a snapshot back. JSON, CSV and safetensors only: nothing that a snapshot holds is ever executed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradscope.protocol.failure import BadInput
from gradscope.protocol.parts import Contents, Part
from gradscope.snapshots.format import checks, json_files, names, report_files, saved_history, version1
from gradscope.snapshots.format.content import Content, FirstWeights, SessionFile, StepTable
from gradscope.snapshots.format.damage import Damaged, in_bytes
from gradscope.snapshots.format.files import MAX_JSON_BYTES, MAX_TABLE_BYTES, SnapshotFiles
from gradscope.snapshots.format.reading import Reading
from gradscope.snapshots.format.saved_history import SavedHistory
from gradscope.snapshots.format.source import MANIFEST
from gradscope.snapshots.format.tables import read_history_csv, step_table
from gradscope.snapshots.snapshot import Environment, Snapshot

_TENSORS_OF_PART: dict[str, Part] = {
    **{names.TENSOR_FILES[kind]: part for kind, part in names.PART_OF_KIND.items()},
    names.BATCH: Part.BATCH,
}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What is read of manifest.json; the rest is for people."""

    created: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    platform: str = ""
    device: str = ""
    seed: int = 0
    first_weights: FirstWeights | None = None
    files: dict[str, int] = field(default_factory=dict)
    """The size of every other file."""
    left_out: tuple[str, ...] = ()


def open_snapshot(path: str | os.PathLike[str], reading: Reading | None = None) -> Snapshot:
    """Read the snapshot in a folder or a zip. Raises BadInput, one sentence that names the file and what is wrong with it.

    `reading` is told how far it is, and may give it up, also later: then GivenUp is raised.
    """
    files = SnapshotFiles(Path(path).expanduser(), Reading() if reading is None else reading)
    raw = files.json(MANIFEST)
    version = _version(files.path, raw)
    with files.told(MANIFEST):
        manifest = json_files.typed(Manifest, raw, [], "manifest")
    remarks = [f"Left out when it was written: {text}" for text in manifest.left_out]
    remarks += _missing(files, manifest)
    tensors = {name: files.tensors(name) for name in _TENSORS_OF_PART if name in files.sizes}
    steps = _steps(files)
    content = version1.content(files, raw, steps, tensors) if version == 1 else _content(files, raw, steps)
    return Snapshot(
        **vars(content),
        files=files,
        format_version=version,
        environment=Environment(
            created=manifest.created,
            versions=manifest.versions,
            platform=manifest.platform,
            device=manifest.device,
            seed=manifest.seed,
            first_weights=manifest.first_weights,
        ),
        parts=_parts(files),
        optimizer=files.json(names.OPTIMIZER) if names.OPTIMIZER in files.sizes else None,
        tensors=tensors,
        remarks=tuple(remarks),
    )


def is_snapshot(path: Path) -> bool:
    """Whether a path looks like a snapshot rather than a recipe; opening it may still fail."""
    return path.suffix.lower() == ".zip" or (path / MANIFEST).is_file()


def _version(path: Path, manifest: Mapping[str, Any]) -> int:
    if manifest.get("format") != names.FORMAT:
        raise BadInput(f"{path}: {MANIFEST} is not that of a gradscope snapshot")
    version = manifest.get("format_version")
    if type(version) is not int or version < 1:
        raise BadInput(f"{path}: {MANIFEST} has the format version {version!r:.40}; expected a whole number from 1")
    if version > names.FORMAT_VERSION:
        raise BadInput(
            f"{path} has format version {version}, and this gradscope reads up to {names.FORMAT_VERSION}: update gradscope"
        )
    return version


def _missing(files: SnapshotFiles, manifest: Manifest) -> list[str]:
    """Somebody may have deleted a large file; one of another size has been damaged."""
    remarks = []
    for name, size in manifest.files.items():
        if name not in files.sizes:
            remarks.append(f"{name} has been taken out since it was written")
        elif files.sizes[name] != size:
            with files.told(name):
                raise Damaged(f"it has {in_bytes(files.sizes[name])}; {size} were written")
    return remarks


def _parts(files: SnapshotFiles) -> Contents:
    found = {part for name, part in _TENSORS_OF_PART.items() if name in files.sizes}
    others = {names.PAGE: Part.REPORT, saved_history.ARRAYS_FILE: Part.HISTORY}
    found |= {part for name, part in others.items() if name in files.sizes}
    if any(name.startswith(names.PLOTS) for name in files.sizes):
        found.add(Part.PLOTS)
    return frozenset(found)


def _steps(files: SnapshotFiles) -> StepTable:
    if names.STEPS not in files.sizes:
        return step_table([], groups=0)
    with files.opened(names.STEPS, MAX_TABLE_BYTES) as file:
        return read_history_csv(file, files.reading, size=files.sizes[names.STEPS])


def _content(files: SnapshotFiles, manifest: Mapping[str, Any], steps: StepTable) -> Content:
    raw = _needed_json(files, names.SESSION)
    with files.told(names.SESSION):
        told = json_files.typed(SessionFile, raw, [], "session")
        checks.check_edits(told.edits)
    reports = {}
    if names.REPORTS in files.sizes and names.REPORT_ARRAYS in files.sizes:
        arrays = files.arrays(names.REPORT_ARRAYS)
        data = files.read(names.REPORTS, MAX_JSON_BYTES)
        with files.told(names.REPORTS):
            reports = report_files.decode(data, arrays)
            for report in reports.values():
                checks.check_report(report, rows=len(told.subjects), places=len(told.places))
    return Content(
        manifest=manifest,
        session=told.session,
        position=told.position,
        rows=told.subjects,
        places=told.places,
        reports=reports,
        steps=steps,
        validations=told.validations,
        edits=told.edits,
        findings=told.findings,
        history=_history(files),
    )


def _needed_json(files: SnapshotFiles, name: str) -> dict[str, Any]:
    if name not in files.sizes:
        raise BadInput(f"{files.path} has no {name}, which says what everything else is about")
    return files.json(name)


def _history(files: SnapshotFiles) -> SavedHistory | None:
    if saved_history.JSON_FILE not in files.sizes or saved_history.ARRAYS_FILE not in files.sizes:
        return None
    arrays = files.arrays(saved_history.ARRAYS_FILE)
    data = files.read(saved_history.JSON_FILE, MAX_JSON_BYTES)
    with files.told(saved_history.JSON_FILE):
        return saved_history.decode(data, arrays)
