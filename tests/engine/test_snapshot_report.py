"""report.html of real sessions: well-formed, self-contained, and with the numbers of the reports."""

from __future__ import annotations

import base64
import math
import re
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import plain
import pytest
import torch
import zoo
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from gradscope import Recipe, Session
from gradscope.engine.export.snapshot import write_snapshot
from gradscope.protocol.messages import Attachment
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import COUNT, L2, MAX, MEAN, MIN, STD, SubjectKind
from gradscope.snapshots.page import report_html, subject_tables
from tests.snapshots.page import Element, parse

TITLES = {
    SubjectKind.ACTIVATION: "Outputs of layers",
    SubjectKind.ACTIVATION_GRAD: "Gradients of outputs",
    SubjectKind.PARAMETER: "Parameters",
    SubjectKind.GRAD: "Gradients of parameters",
    SubjectKind.UPDATE: "Updates of parameters",
    SubjectKind.CLIPPED_GRAD: "Gradients after clipping",
    SubjectKind.OPTIMIZER_STATE: "Optimizer state",
}


def page_of(session: Session, folder: Path, *attachments: Attachment) -> Element:
    write_snapshot(session, folder / "shot", attachments=attachments)
    text = (folder / "shot/report.html").read_text("utf-8")
    assert not re.search(r"(?:src|href|url|@import)\W*(?:https?:|//|file:)", text)
    html = parse(text)
    assert html.all("meta")[2].attributes["content"] == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return html


def section(html: Element, title: str) -> Element:
    (found,) = (part for part in html.all("section") if part.all("h2")[0].text == title)
    return found


def tiles(html: Element) -> dict[str, str]:
    """What the tiles at the top say, by their names."""
    found = [part for part in html.all("div") if part.attributes.get("class") == "tile"]
    return {tile.all("dt")[0].text: tile.all("dd")[0].text for tile in found}


def table(html: Element, title: str) -> list[dict[str, Element]]:
    """The rows of the folding section of that title, by the heading of the column."""
    (found,) = (part for part in html.all("details") if part.all("summary")[0].text.startswith(f"{title} –"))
    head, *rows = found.all("tr")
    names = [cell.text for cell in head.all("th")]
    return [dict(zip(names, row.all("td"), strict=True)) for row in rows]


@pytest.mark.parametrize("phases", [0, 1, 2, 3, 7])
def test_the_numbers_are_the_reports(phases: int, tmp_path: Path) -> None:
    with Session(plain.seeded(zoo.in_place)) as session:
        for _ in range(phases):
            session.advance()
        html = page_of(session, tmp_path)
        seen = 0
        for report in session.reports.values():
            for kind in {subject.kind for subject in report}:
                rows = table(html, TITLES[SubjectKind(kind)])
                subjects = [subject for subject in report if subject.kind == kind]
                assert [row["name"].text for row in rows] == [subject.key.label() for subject in subjects]
                for row, subject in zip(rows, subjects, strict=True):
                    seen += 1
                    assert row["elements"].text == f"{subject.count:,}"
                    for name in ("min", "max", "mean", "std", "L2"):
                        value = getattr(subject, name.lower())
                        assert float(str(row[name].attributes["title"])) == value
                        assert float(row[name].text) == pytest.approx(value, rel=1e-3)
                    assert row["values"].all("path")
        assert seen == sum(len(report) for report in session.reports.values())
        shown = tiles(html)
        assert (shown["Step"], shown["Seed"], shown["Device"]) == (str(phases // 3), "0", "cpu")
        if phases:
            newest = session.history[-1].loss if phases % 3 == 0 else session.reports[next(iter(session.reports))].loss
            assert float(shown["Loss"]) == pytest.approx(newest, rel=1e-3)
        titles = [part.all("h2")[0].text for part in html.all("section")]
        assert ("History" in titles) is (phases >= 3)
        assert "Model and training" in titles and "Where this ran" in titles


def test_the_ratio_of_an_update(tmp_path: Path) -> None:
    with Session(plain.seeded(zoo.plain_mlp)) as session:
        session.next_batch()
        step = session.reports[list(session.reports)[-1]]
        for row in table(page_of(session, tmp_path), "Updates of parameters"):
            name = row["name"].text
            update, parameter = step.get("update", name), step.get("parameter", name)
            assert update is not None and parameter is not None and update.l2 is not None
            assert float(row["update / parameter"].text) == pytest.approx(update.l2 / parameter.l2, rel=1e-3)


HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "</td></table>&amp;",
    "a\x1b[0m\u202eb",
    "n" * 5000,
]


def hostile() -> Recipe:
    model = nn.Sequential()
    for name in HOSTILE:
        model.add_module(name, nn.Linear(4, 4))
    data = TensorDataset(torch.randn(8, 4), torch.randn(8, 4))
    return Recipe(
        name="<b>bold</b>",
        description="</main><script>2</script>",
        model=model,
        dataset=data,
        loss=nn.MSELoss(),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
    )


def test_hostile_names(tmp_path: Path) -> None:
    with Session(plain.seeded(hostile)) as session:
        session.next_batch()
        html = page_of(session, tmp_path)
    names = [row["name"].text for row in table(html, "Outputs of layers")]
    assert names[:3] == HOSTILE[:3]
    assert names[3] == r"a\x1b[0m\u202eb"
    assert names[4] == "n" * (subject_tables.MAX_NAME - 1) + "…"
    assert html.all("h1")[0].text == "<b>bold</b>"
    assert "</main><script>2</script>" in html.all("header")[0].text


class Sick(nn.Module):
    """One layer's output is zero, one's holds NaN and Inf; one is never called, one is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.dead, self.frozen, self.unused, self.last = (nn.Linear(4, 4) for _ in range(4))
        self.relu = nn.ReLU()
        nn.init.constant_(self.dead.bias, -1000)
        self.frozen.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.last(self.frozen(x) + self.relu(self.dead(x)))
        return x / torch.tensor([0.0, 1, 1, 1])


def sick() -> Recipe:
    model = Sick()
    data = TensorDataset(torch.randn(8, 4), torch.randn(8, 4))
    return Recipe(
        model=model,
        dataset=data,
        loss=nn.MSELoss(),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        batch_size=4,
    )


def test_what_stands_out(tmp_path: Path) -> None:
    with Session(plain.seeded(sick)) as session:
        session.next_batch()
        session.next_batch()
        html = page_of(session, tmp_path)
        warnings = session.info.warnings
    found = [(str(item.attributes["class"]), item.text) for item in section(html, "What stands out").all("li")]
    classes = [name for name, _ in found]
    assert classes == sorted(classes, key=["bad", "warning", "note"].index)
    texts = [text for name, text in found if name == "bad"]
    assert any("hold NaN" in text and "(forward of step 1)" in text and "last" in text for text in texts)
    warned = [text for name, text in found if name == "warning"]
    assert any(warnings[0] in text for text in warned)
    assert any("zero in every element" in text and text.endswith("relu") for text in warned)
    assert any("output missing" in text and "never called" in text and text.endswith("unused") for text in warned)
    assert any("2 parameters' gradients missing" in text and "unused.weight, unused.bias" in text for text in warned)
    assert [text for name, text in found if name == "note" and "frozen" in text]
    last = next(row for row in table(html, "Outputs of layers") if row["name"].text == "last")
    assert last["not finite"].text == "▲ 4 NaN" and last["not finite"].attributes["class"] == "num bad"
    assert (
        "1 step whose loss is not finite" in section(html, "History").text or "2 steps" in section(html, "History").text
    )


def test_nothing_stands_out(tmp_path: Path) -> None:
    with Session(plain.seeded(zoo.plain_mlp)) as session:
        session.next_batch()
        html = page_of(session, tmp_path)
    assert "Nothing: every number is finite" in section(html, "What stands out").text


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\x00" + bytes(3 * width) for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def attached(name: str, data: bytes) -> Attachment:
    return Attachment(name=name, data=np.frombuffer(data, dtype=np.uint8))


def test_pictures_are_inside_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = png(7, 5)
    monkeypatch.setattr(report_html, "MAX_PICTURES_BYTES", 2 * len(picture))
    files = [
        ("plots/loss_curve.png", picture),
        ("a.svg", b"<svg/>"),
        ("b.png", b"no"),
        ("c.png", picture),
        ("d.png", picture),
    ]
    with Session(plain.seeded(zoo.plain_mlp)) as session:
        html = page_of(session, tmp_path, *(attached(*file) for file in files))
    images = html.all("img")
    assert [image.attributes["alt"] for image in images] == ["Loss curve", "C"]
    kind, _, data = str(images[0].attributes["src"]).partition(",")
    assert kind == "data:image/png;base64" and base64.b64decode(data) == picture
    assert (images[0].attributes["width"], images[0].attributes["height"]) == ("7", "5")
    assert "d.png is too large for this page" in section(html, "Plots").text


def test_a_large_model_is_cut_short_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject_tables, "MAX_ROWS", 5)
    monkeypatch.setattr(subject_tables, "OPEN_ROWS", 4)

    def make() -> Recipe:
        model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(9)))
        with torch.no_grad():
            model[7].bias[0] = math.inf  # type: ignore[index]
        data = TensorDataset(torch.randn(8, 4), torch.randn(8, 4))
        return Recipe(
            model=model, dataset=data, loss=nn.MSELoss(), optimizer=torch.optim.SGD(model.parameters(), lr=0.1)
        )

    with Session(plain.seeded(make)) as session:
        session.forward()
        html = page_of(session, tmp_path)
    # What is not finite is kept before all else.
    assert [row["name"].text for row in table(html, "Outputs of layers")] == ["0", "1", "7", "8", "(model)"]
    (outputs,) = section(html, "Numbers").all("details")
    assert "open" not in outputs.attributes
    assert outputs.text.endswith("5 more rows are not shown here; summaries.csv has all of them.")


def test_thousands_of_subjects_stay_a_page_of_a_few_megabytes(tmp_path: Path) -> None:
    from gradscope.protocol.messages import Report
    from gradscope.protocol.subjects import HISTOGRAM_BINS, SubjectKey, SubjectRow

    count = 3000
    random = np.random.default_rng(0)
    rows = [
        SubjectRow(SubjectKey(kind, f"layer{i}"), (64, 64), "float32") for kind in SubjectKind for i in range(count)
    ]
    summaries = np.zeros((len(rows), 9))
    summaries[:, [COUNT]] = 4096
    summaries[:, [MIN, MAX, MEAN, STD, L2]] = random.normal(size=(len(rows), 5))
    report = Report(
        phase=Phase.STEP,
        step=4,
        epoch=0,
        batch=4,
        loss=1.0,
        lr=(0.1,),
        subjects=np.arange(len(rows)),
        summaries=summaries,
        histograms=random.integers(0, 900, (len(rows), HISTOGRAM_BINS), dtype=np.int32),
        sampled=np.full(len(rows), 4096),
        places=np.zeros(0, dtype=np.int64),
        times=np.zeros((0, 3)),
    )
    steps = np.arange(50_000)
    history = SimpleNamespace(
        step=steps,
        epoch=steps // 99,
        loss=random.normal(size=50_000),
        rates=random.normal(size=(50_000, 40)),
        optimizer=[""] * 50_000,
    )
    with Session(plain.seeded(zoo.plain_mlp)) as session:
        text = report_html.report_html({}, session.info, [(report, rows)], history, {})
    assert len(text) < 12e6
    html = parse(text)
    for title in TITLES.values():
        assert len(table(html, title)) == subject_tables.MAX_ROWS
    assert "32 more groups are not drawn" in html.text


def test_windows_clipping_and_validation(tmp_path: Path) -> None:
    def make() -> Recipe:
        torch.manual_seed(0)
        return zoo.classifier(
            zoo.mlp(),
            accumulate=2,
            clip_norm=0.01,
            validation=zoo.vectors(),
            metrics={"largest": lambda output, target: output.max()},
        )

    with Session(plain.seeded(make)) as session:
        while session.position.epoch < 2:
            session.advance()
        session.forward()
        html = page_of(session, tmp_path)
        shown = tiles(html)
        clip = session.history[-1].clip
        assert clip is not None
        assert shown["Micro-batch"] == f"{session.position.micro} of {session.position.window}"
        norms = [float(norm) for norm in shown["Gradient norm"].split(" → ")]
        assert norms == pytest.approx([clip.norm, clip.norm_after], rel=1e-3)
        newest = session.validations[-1]
        assert float(shown["Validation loss"]) == pytest.approx(newest.loss, rel=1e-3)
        assert float(shown["largest"]) == pytest.approx(newest.metrics["largest"], rel=1e-3)
    assert [item.text.partition(":")[0].strip("— ") for item in section(html, "History").all("li")] == [
        "training",
        "validation",
    ]
    training = section(html, "Model and training").text
    assert "2 micro-batches; gradients are cleared at the start of every window" in training
    assert "norm at 0.01" in training and "loss, largest" in training


def test_what_the_session_notes_stands_out(tmp_path: Path) -> None:
    with Session(plain.seeded(lambda: zoo.classifier(zoo.mlp(), zero_grad="manual"))) as session:
        session.next_batch()
        session.next_batch()
        note = session.reports[Phase.BACKWARD].notes[0]
        html = page_of(session, tmp_path)
    assert f"{note} (backward of step 1)" in section(html, "What stands out").text


def test_optimizers_that_take_turns(tmp_path: Path) -> None:
    def make() -> Recipe:
        models = nn.ModuleDict({"one": zoo.mlp(), "<two>": zoo.mlp()})
        steps = {name: lambda _, batch, name=name: models[name](batch[0]).square().mean() for name in models}
        optimizers = {name: torch.optim.SGD(models[name].parameters(), lr=0.1) for name in models}
        return Recipe(model=models, dataset=zoo.vectors(), loss=None, optimizer=optimizers, training_step=steps)

    with Session(plain.seeded(make)) as session:
        for _ in range(4):
            session.next_batch()
        html = page_of(session, tmp_path)
        assert tiles(html)["Turn"] == session.history[-1].optimizer
    lines = [item.text for item in section(html, "History").all("li")]
    assert [line.partition(":")[0].strip("— ") for line in lines] == ["one", "<two>", "group 0", "group 1"]
    assert "one, then <two>" in section(html, "Model and training").text
