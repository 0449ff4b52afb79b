"""Snapshots: what is known of one moment, in files that others can read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from gradscope.engine.book.book import Book
from gradscope.engine.book.values import known_subjects, values_of
from gradscope.engine.export.content import content_of, rate_groups, step_rows
from gradscope.engine.export.matter import Matter
from gradscope.engine.export.optimizer import optimizer_facts, optimizer_tensors
from gradscope.engine.export.plan import PlannedFile, of_bytes
from gradscope.engine.export.tensors import Fetch, plan_tensors
from gradscope.engine.model.leaves import tensor_leaves
from gradscope.protocol.messages import Attachment
from gradscope.protocol.parts import EVERYTHING, Contents, Part
from gradscope.protocol.subjects import LAYER_KINDS, SubjectKind
from gradscope.snapshots.format import json_files, names, report_files, tables
from gradscope.snapshots.format.content import Content, SessionFile
from gradscope.snapshots.format.saved_history import ARRAYS_FILE, JSON_FILE
from gradscope.snapshots.format.source import MANIFEST
from gradscope.snapshots.page.report_html import report_html
from gradscope.snapshots.writer import Progress, new_snapshot


@dataclass(frozen=True, kw_only=True)
class WrittenSnapshot:
    path: Path
    files: tuple[str, ...]
    size_bytes: int


def write_snapshot(
    matter: Matter,
    path: str | os.PathLike[str],
    *,
    contents: Contents = EVERYTHING,
    attachments: Sequence[Attachment] = (),
    progress: Progress | None = None,
) -> WrittenSnapshot:
    """Write a snapshot at `path`, which must not exist: a folder, or one file if the name ends with .zip.

    `progress(bytes done, bytes in all)` is called between two pieces of a file; what it raises breaks the writing off. Raises
    BadInput (one sentence; nothing is left behind) if the snapshot cannot be written.
    """
    left_out: list[str] = []
    planned = [file for file in plan_parts(matter, left_out) if file.part in contents]
    content = content_of(matter, left_out)
    planned = [*plan_facts(matter.book, content), *planned, *_attached(attachments, contents)]
    if Part.REPORT in contents:
        planned.append(plan_page(content, attachments))
    total = sum(file.size_bytes for file in planned)
    with new_snapshot(path, total_bytes=total, progress=progress) as writer:
        for file in planned:
            writer.write(file.name, file.chunks())
        manifest = {**content.manifest, "files": dict(writer.sizes)}
        writer.write(MANIFEST, [json_files.dump(manifest)])
    target = Path(path).expanduser().absolute()
    size = target.stat().st_size if target.is_file() else sum(writer.sizes.values())
    return WrittenSnapshot(path=target, files=tuple(sorted(writer.sizes)), size_bytes=size)


def measure_snapshot(matter: Matter) -> dict[Part | None, int]:
    """How many bytes each part would have now; under None what belongs to every snapshot."""
    sizes: dict[Part | None, int] = {}
    left_out: list[str] = []
    planned = list(plan_parts(matter, left_out))
    content = content_of(matter, left_out)
    for file in [*planned, *plan_facts(matter.book, content), plan_page(content, ())]:
        sizes[file.part] = sizes.get(file.part, 0) + file.size_bytes
    return sizes


def plan_facts(book: Book, content: Content) -> Iterator[PlannedFile]:
    """What tells the moment: small, and in every snapshot."""
    told = SessionFile(
        session=content.session,
        position=content.position,
        subjects=content.rows,
        places=content.places,
        validations=content.validations,
        edits=content.edits,
        findings=content.findings,
    )
    yield of_bytes(names.SESSION, json_files.dump_typed(told))
    for name, data in report_files.encode(content.reports).items():
        yield of_bytes(name, data)
    reports = [(report, content.rows_of(report)) for report in content.reports.values()]
    yield of_bytes(names.SUMMARIES, tables.summaries_csv(reports))
    yield of_bytes(names.STEPS, tables.history_csv(step_rows(book), groups=rate_groups(book)))


def plan_page(content: Content, attachments: Iterable[Attachment]) -> PlannedFile:
    """report.html, with those of the attached files in it that are PNG pictures."""
    pictures = {item.name: item.data.tobytes() for item in attachments if item.name.lower().endswith(".png")}
    reports = [(report, content.rows_of(report)) for report in content.reports.values()]
    page = report_html(
        content.manifest,
        content.session,
        reports,
        content.steps,
        pictures,
        content.validations,
        findings=content.findings,
    )
    return of_bytes(names.PAGE, page.encode("utf-8", "replace"), Part.REPORT)


def plan_parts(matter: Matter, left_out: list[str]) -> Iterator[PlannedFile]:
    """The tensors; what cannot be written is added to `left_out`."""
    book, info = matter.book, matter.info
    for kind, part in names.PART_OF_KIND.items():
        if part is Part.OPTIMIZER or (kind is SubjectKind.CLIPPED_GRAD and not (info.clip_norm or info.clip_value)):
            continue
        yield plan_tensors(
            names.TENSOR_FILES[kind],
            part,
            _tensors_of(book, kind),
            left_out,
            # A parameter without gradient or update is as it should be, before a backward or a step.
            tell_unavailable=kind in LAYER_KINDS,
        )
    yield plan_tensors(names.OPTIMIZER_TENSORS, Part.OPTIMIZER, optimizer_tensors(book), left_out)
    yield of_bytes(names.OPTIMIZER, json_files.dump(optimizer_facts(book)), Part.OPTIMIZER)
    yield plan_tensors(names.BATCH, Part.BATCH, _batch_of(book), left_out)


def _tensors_of(book: Book, kind: SubjectKind) -> Iterator[tuple[str, Fetch]]:
    if kind not in LAYER_KINDS:
        keys = known_subjects(book, kind)
    else:
        # Also of a pass that is stopped half-way. What a later report has again is the same subject.
        found = (subject.key for report in book.newest_reports().values() for subject in report.subjects)
        keys = list(dict.fromkeys(key for key in found if key.kind is kind))
    for key in keys:
        yield names.tensor_name(key), partial(values_of, book, key)


def _batch_of(book: Book) -> Iterator[tuple[str, Fetch]]:
    for path, tensor in tensor_leaves(book.driver.batch):
        yield path.lstrip(".") or "batch", tensor.detach


def _attached(attachments: Iterable[Attachment], contents: Contents) -> Iterator[PlannedFile]:
    for attachment in attachments:
        is_history = attachment.name in (JSON_FILE, ARRAYS_FILE)
        part = Part.HISTORY if is_history else Part.PLOTS
        if part in contents:
            yield of_bytes(attachment.name, np.ascontiguousarray(attachment.data), part)
