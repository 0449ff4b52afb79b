"""Snapshots: what is known of one moment, in a folder of files that others can read.

Written under a temporary name beside the target and renamed when complete, so that a full disk or a killed process leaves
no half snapshot.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

import gradscope
from gradscope.engine.checks import or_nan
from gradscope.engine.leaves import tensor_leaves
from gradscope.engine.report import Subject
from gradscope.engine.training import groups_of, rates_of
from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages import Attachment
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import COLUMNS, SubjectKey, SubjectKind
from gradscope.snapshots.history_section import StepTable
from gradscope.snapshots.report_html import report_html

if TYPE_CHECKING:
    from gradscope.engine.session import Session

FORMAT_VERSION = 1

_TENSOR_FILES = {
    "parameters.safetensors": SubjectKind.PARAMETER,
    "gradients.safetensors": SubjectKind.GRAD,
    "updates.safetensors": SubjectKind.UPDATE,
    "activations.safetensors": SubjectKind.ACTIVATION,
    "activation_gradients.safetensors": SubjectKind.ACTIVATION_GRAD,
}


@dataclass(frozen=True, kw_only=True)
class WrittenSnapshot:
    path: Path
    files: tuple[str, ...]
    size_bytes: int


def write_snapshot(
    session: Session, path: str | os.PathLike[str], *, attachments: Sequence[Attachment] = ()
) -> WrittenSnapshot:
    """Write the snapshot folder `path`. Raises BadInput (one sentence; nothing is left behind) if it cannot be written."""
    target = Path(path).expanduser().absolute()
    if target.exists() or target.is_symlink():
        raise BadInput(f"{target} exists already; expected a new name for the snapshot folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
    except OSError as error:
        raise BadInput(f"{target.parent} cannot be written to: {error.strerror or error}") from error
    try:
        _write_files(session, temporary, attachments)
        files = sorted(file.relative_to(temporary).as_posix() for file in temporary.rglob("*") if file.is_file())
        size = sum((temporary / file).stat().st_size for file in files)
        _make_readable(temporary)
        temporary.rename(target)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError):
            raise BadInput(f"The snapshot could not be written to {target}: {error.strerror or error}") from error
        if type(error).__name__ == "SafetensorError":
            raise BadInput(f"The snapshot could not be written to {target}: {error}") from error
        raise
    return WrittenSnapshot(path=target, files=tuple(files), size_bytes=size)


def _make_readable(folder: Path) -> None:
    """mkdtemp and safetensors make private files; a snapshot is to be handed on, as far as the umask allows."""
    umask = os.umask(0)
    os.umask(umask)
    for path in [folder, *folder.rglob("*")]:
        path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)


def _write_files(session: Session, folder: Path, attachments: Sequence[Attachment]) -> None:
    left_out: list[str] = []
    for name, kind in _TENSOR_FILES.items():
        _write_tensors(folder / name, _tensors_of(session, kind), left_out)
    _write_tensors(folder / "batch.safetensors", _batch_of(session), left_out)
    _write_summaries(folder / "summaries.csv", session)
    _write_history(folder / "history.csv", session)
    for attachment in attachments:
        _write_attachment(folder, attachment)
    manifest = _manifest(session, left_out)
    _write_report(folder / "report.html", session, manifest, attachments)
    text = json.dumps(manifest, indent=2, allow_nan=False, ensure_ascii=False)
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")


def tensor_name(key: SubjectKey) -> str:
    """A subject's name in a safetensors file: `encoder`, `block#2` for a later call, `head:.logits` for a leaf."""
    return f"{key.name or '(model)'}{f'#{key.call}' if key.call else ''}{f':{key.leaf}' if key.leaf else ''}"


def _tensors_of(session: Session, kind: SubjectKind) -> Iterable[tuple[str, Tensor]]:
    from gradscope.engine.session import ValuesUnavailable

    for key in session.known_subjects(kind):
        try:
            yield tensor_name(key), session.values(key)
        except ValuesUnavailable:
            continue


def _batch_of(session: Session) -> Iterable[tuple[str, Tensor]]:
    for path, tensor in tensor_leaves(session.batch):
        yield path.lstrip(".") or "batch", tensor


def _write_tensors(path: Path, tensors: Iterable[tuple[str, Tensor]], left_out: list[str]) -> None:
    from safetensors.torch import save_file

    savable: dict[str, Tensor] = {}
    for name, tensor in tensors:
        try:
            dense = tensor.detach().to_dense() if tensor.layout is not torch.strided else tensor.detach()
            if dense.is_quantized:
                dense = dense.dequantize()
            if dense.is_complex() and dense.dtype is not torch.complex64:
                raise ValueError(f"safetensors cannot hold {dense.dtype}")
            # A copy of its own: safetensors refuses tensors that share memory.
            savable[name] = dense.cpu().clone(memory_format=torch.contiguous_format)
        except (RuntimeError, NotImplementedError, ValueError) as error:
            left_out.append(f"{path.name}: {name}: {error}")
    save_file(savable, path, metadata={"format": "pt"})


def _write_summaries(path: Path, session: Session) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "phase", "kind", "name", "call", "leaf", "shape", "dtype", *COLUMNS, "note"])
        for report in session.reports.values():
            for subject in report.subjects:
                writer.writerow([report.step, report.phase.value, *_summary_row(subject)])


def _summary_row(subject: Subject) -> list[Any]:
    numbers = [getattr(subject, column) for column in COLUMNS]
    return [
        subject.kind,
        subject.name,
        subject.call,
        subject.leaf,
        "x".join(str(n) for n in subject.shape),
        subject.dtype,
        *("" if number is None else repr(number) for number in numbers),
        subject.note,
    ]


def _write_history(path: Path, session: Session) -> None:
    groups = max((len(record.lr) for record in session.history), default=len(groups_of(session.training.optimizers)))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        rates = [f"lr_{i}" for i in range(groups)]
        writer.writerow(["step", "epoch", "batch", "loss", *rates, "grad_l2", "update_l2", "seconds"])
        for record in session.history:
            rest = [record.loss, *record.lr, record.grad_l2, record.update_l2, record.seconds]
            writer.writerow([record.step, record.epoch, record.batch, *("" if x is None else repr(x) for x in rest)])


def _write_attachment(folder: Path, attachment: Attachment) -> None:
    name = Path(attachment.name)
    if name.is_absolute() or ".." in name.parts or not name.name:
        raise BadInput(f"{attachment.name!r} is no name for a file inside a snapshot")
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(np.ascontiguousarray(attachment.data).tobytes())


def _write_report(path: Path, session: Session, manifest: Mapping[str, Any], attachments: Sequence[Attachment]) -> None:
    reports = [(report.raw, report.rows) for report in session.reports.values()]
    pictures = {item.name: item.data.tobytes() for item in attachments if item.name.lower().endswith(".png")}
    page = report_html(manifest, session.info, reports, _step_table(session), pictures, session.validations)
    path.write_text(page, encoding="utf-8")


def _step_table(session: Session) -> StepTable:
    records = session.history
    rates = np.full((len(records), max((len(record.lr) for record in records), default=0)), np.nan)
    for row, record in zip(rates, records, strict=True):
        row[: len(record.lr)] = record.lr
    return StepTable(
        step=np.array([record.step for record in records], dtype=np.int64),
        epoch=np.array([record.epoch for record in records], dtype=np.int64),
        loss=np.array([or_nan(record.loss) for record in records], dtype=np.float64),
        rates=rates,
        optimizer=[record.optimizer for record in records],
    )


def _manifest(session: Session, left_out: list[str]) -> Mapping[str, Any]:
    source, position = session.recipe.source, session.position
    order = list(Phase)
    newest = max(session.reports.values(), key=lambda report: (report.step, order.index(report.phase)), default=None)
    loss = newest.loss if newest is not None else None
    return {
        "format": "gradscope snapshot",
        "format_version": FORMAT_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            "gradscope": gradscope.__version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
        },
        "platform": platform.platform(),
        "recipe": {
            "name": session.info.name,
            "path": str(source.path) if source else None,
            "sha256": source.sha256 if source else None,
        },
        "moment": {
            "rest": position.rest.value,
            "step": position.step,
            "epoch": position.epoch,
            "batch": position.batch,
            "phases": {
                phase.value: {"step": report.step, "complete": report.raw.complete}
                for phase, report in session.reports.items()
            },
        },
        "device": str(session.device),
        "seed": session.seed,
        "loss": None if loss is None else (loss if np.isfinite(loss) else str(loss)),
        "rates": [rate if np.isfinite(rate) else None for rate in rates_of(session.training.optimizers)],
        "optimizer": session.info.optimizer,
        "scheduler": session.info.scheduler,
        "left_out": left_out,
    }
