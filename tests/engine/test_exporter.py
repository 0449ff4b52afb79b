"""Exports as the server serves them: attachments in pieces, sizes, progress, and cancelling from another thread."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import plain
import pytest
import zoo

from gradscope import BadInput, Session
from gradscope.engine.export.snapshot import measure_snapshot
from gradscope.engine.serving import exporter as module
from gradscope.engine.serving.exporter import ExportCancelled, Exporter
from gradscope.protocol import messages
from gradscope.protocol.codec import Frame
from gradscope.protocol.messages import Attachment
from gradscope.protocol.parts import Part


class Outbox:
    def __init__(self) -> None:
        self.sent: list[Any] = []

    def put(self, message: Any, *, number: int = 0) -> None:
        self.sent.append(message)


@pytest.fixture
def session() -> Iterator[Session]:
    with Session(plain.seeded(zoo.plain_mlp)) as session:
        session.next_batch()
        yield session


@pytest.fixture
def outbox() -> Outbox:
    return Outbox()


@pytest.fixture
def exporter(outbox: Outbox) -> Exporter:
    return Exporter(outbox)  # type: ignore[arg-type]


def export(path: Path, number: int = 7, **options: Any) -> Frame:
    return Frame(number, messages.Export(path=str(path), **options))


def attach(exporter: Exporter, name: str, data: bytes) -> None:
    exporter.attach(Attachment(name=name, data=np.frombuffer(data, dtype=np.uint8)))


def test_pieces_are_joined_and_used_once(exporter: Exporter, session: Session, tmp_path: Path) -> None:
    for name, piece in (("plots/a.png", b"one"), ("plots/b.png", b"x"), ("plots/a.png", b"two"), ("plots/c", b"")):
        attach(exporter, name, piece)
    written = exporter.export(session, export(tmp_path / "shot"))
    assert (tmp_path / "shot/plots/a.png").read_bytes() == b"onetwo"
    assert {"plots/a.png", "plots/b.png", "plots/c"} <= set(written.files)
    assert not any(name.startswith("plots/") for name in exporter.export(session, export(tmp_path / "again")).files)


def test_attachments_of_parts_that_are_not_wanted(exporter: Exporter, session: Session, tmp_path: Path) -> None:
    attach(exporter, "plots/a.png", b"\x89PNG\r\n\x1a\n" + bytes(30))
    attach(exporter, "history.json", b"{}")
    written = exporter.export(session, export(tmp_path / "shot", parts=(Part.REPORT,)))
    assert not {"plots/a.png", "history.json"} & set(written.files)
    assert "data:image/png;base64," in (tmp_path / "shot/report.html").read_text("utf-8")


def test_too_much_is_refused(exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ATTACHED_BYTES", 5)
    attach(exporter, "a", b"123")
    with pytest.raises(BadInput, match="attached"):
        attach(exporter, "b", b"456")
    attach(exporter, "a", b"12345")


def test_sizes(exporter: Exporter, session: Session) -> None:
    sizes = exporter.measure(session)
    expected = measure_snapshot(session)
    assert {item.part: item.size_bytes for item in sizes.parts} | {None: sizes.always_bytes} == expected


def test_progress_is_told_but_not_too_often(
    exporter: Exporter, outbox: Outbox, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter.export(session, export(tmp_path / "shot"))
    assert len(outbox.sent) < 5
    outbox.sent.clear()
    monkeypatch.setattr(module, "PROGRESS_INTERVAL_SECS", 0)
    exporter.export(session, export(tmp_path / "again"))
    done = [message.done_bytes for message in outbox.sent]
    assert done == sorted(done) and done[-1] == outbox.sent[0].total_bytes and len(done) > 10


@pytest.mark.parametrize("target", ["shot", "shot.zip"])
def test_an_export_is_cancelled_by_what_came_after_it(
    exporter: Exporter, session: Session, tmp_path: Path, target: str
) -> None:
    exporter.cancel(7)
    exporter.export(session, export(tmp_path / "later", number=8))
    exporter.cancel(9)
    with pytest.raises(ExportCancelled):
        exporter.export(session, export(tmp_path / target, number=8))
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "user") == ["later"]
    manifest = json.loads((tmp_path / "later/manifest.json").read_text())
    assert manifest["files"]
