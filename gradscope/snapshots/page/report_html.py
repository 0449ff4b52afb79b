"""report.html: one page about one moment, for a reader who has nothing but a browser. No scripts, nothing from outside."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from gradscope.protocol.findings import Findings
from gradscope.protocol.messages import Report, SessionInfo, Validated
from gradscope.protocol.phases import Phase, Rest
from gradscope.snapshots.page.findings_section import findings_section
from gradscope.snapshots.page.history_section import Steps, history_section
from gradscope.snapshots.page.markup import Markup, clipped, element, in_lines, joined
from gradscope.snapshots.page.model_tables import model_table, optimizer_table
from gradscope.snapshots.page.numbers import number
from gradscope.snapshots.page.remarks import Remark, Reports, Severity, remarks
from gradscope.snapshots.page.report_style import STYLE
from gradscope.snapshots.page.subject_tables import subject_tables

MAX_PICTURES_BYTES = 24 * 1024 * 1024
MAX_PLACES = 100
MAX_LISTED = 200
_MAX_TEXT = 4000
_PNG = b"\x89PNG\r\n\x1a\n"

_RESTS: dict[str, str] = {
    Rest.READY: "between two steps: a forward comes next",
    Rest.FORWARD: "after a forward: the backward comes next",
    Rest.ACCUMULATING: "inside a window of micro-batches: the next forward adds to the gradients",
    Rest.BACKWARD: "after a backward: the optimizer's step comes next",
    Rest.IN_FORWARD: "stopped inside a forward",
    Rest.IN_BACKWARD: "stopped inside a backward",
    Rest.IN_STEP: "stopped inside a step",
}
_SIGNS = {Severity.BAD: "▲", Severity.WARNING: "!", Severity.NOTE: "i"}


def report_html(
    manifest: Mapping[str, Any],
    session: SessionInfo,
    reports: Reports,
    history: Steps,
    pictures: Mapping[str, bytes],
    validations: Sequence[Validated] = (),
    *,
    findings: Findings | None = None,
) -> str:
    """The whole page.

    `manifest` as in manifest.json; what it lacks is not shown. `reports` come with the rows of their own subjects, in the
    same order. `pictures` are PNG files by name; what is no PNG, or makes the page too large, is named instead of shown.
    """
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element(
            "meta",
            http_equiv="Content-Security-Policy",
            content="default-src 'none'; img-src data:; style-src 'unsafe-inline'",
        ),
        element("title", f"{clipped(session.name, 100)} – step {_moment(manifest).get('step', '?')}"),
        element("style", Markup(STYLE)),
    )
    body = element(
        "main",
        _heading(manifest, session),
        _tiles(manifest, session, [report for report, _ in reports], validations),
        _titled("Findings", findings_section(findings)),
        _titled("History", history_section(history, validations)),
        _titled("What stands out", _remarks(remarks(session, reports), has_run=bool(reports))),
        _titled("Numbers", *subject_tables(reports)),
        _titled("Model and training", _training(session), optimizer_table(session, manifest), model_table(session)),
        _pictures(pictures),
        _titled("Where this ran", _environment(manifest, session)),
        _left_out(manifest),
    )
    return f"<!DOCTYPE html>\n{element('html', head, element('body', body), lang='en')}\n"


def _moment(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    moment = manifest.get("moment")
    return moment if isinstance(moment, Mapping) else {}


def _titled(title: str, *content: Markup) -> Markup:
    present = [part for part in content if part]
    return element("section", element("h2", title), present) if present else Markup("")


def _heading(manifest: Mapping[str, Any], session: SessionInfo) -> Markup:
    rest = str(_moment(manifest).get("rest", ""))
    lines = [element("h1", clipped(session.name, 200))]
    if session.description:
        lines.append(element("p", in_lines(clipped(session.description, _MAX_TEXT))))
    where = _RESTS.get(rest, rest)
    created = str(manifest.get("created", ""))
    said = ", ".join(part for part in (f"written {created}" if created else "", where) if part)
    lines.append(element("p", f"A gradscope snapshot {said}", class_="muted"))
    return element("header", lines)


# ------------------------------------------------------------------------------------------------------- the moment


def _tiles(
    manifest: Mapping[str, Any], session: SessionInfo, reports: Sequence[Report], validations: Sequence[Validated]
) -> Markup:
    moment = _moment(manifest)
    batch = _whole(moment.get("batch"))
    if session.batches_per_epoch is not None:
        batch += f" of {session.batches_per_epoch:,}"
    rates = manifest.get("rates")
    rates = list(rates) if isinstance(rates, Sequence) and not isinstance(rates, str) else []
    tiles = [
        ("Step", _whole(moment.get("step"))),
        ("Epoch", _whole(moment.get("epoch"))),
        ("Batch", batch),
        ("Loss", _loss(manifest.get("loss"))),
        ("Learning rate", ", ".join(map(number, rates[:3])) + (", …" if len(rates) > 3 else "")),
        *_of_newest(reports),
    ]
    if validations:
        newest = validations[-1]
        tiles.append(("Validation loss", number(newest.loss)))
        tiles += [(clipped(name, 40), number(value)) for name, value in list(newest.metrics.items())[:6]]
    tiles += [
        ("Device", str(manifest.get("device", session.device))),
        ("Seed", str(manifest.get("seed", session.seed))),
    ]
    cells = [element("div", element("dt", name), element("dd", text or "–"), class_="tile") for name, text in tiles]
    note = element("p", "Steps, epochs and batches are counted from 0.", class_="muted small")
    return joined(element("dl", cells, class_="tiles"), note)


def _of_newest(reports: Sequence[Report]) -> Iterator[tuple[str, str]]:
    """What the newest report, and the newest step, have to say of the window, the turn, the scale and the clipping."""
    order = list(Phase)
    newest = max(reports, key=lambda report: (report.step, report.micro, order.index(report.phase)), default=None)
    if newest is None:
        return
    if newest.window > 1:
        yield "Micro-batch", f"{newest.micro} of {newest.window}"
    if newest.optimizer:
        yield "Turn", clipped(newest.optimizer, 40)
    if newest.scale is not None:
        yield "Loss scale", number(newest.scale)
    clip = next((report.clip for report in reports if report.clip is not None), None)
    if clip is not None:
        is_clipped = clip.norm_after is not None and clip.norm_after != clip.norm
        yield "Gradient norm", number(clip.norm) + (f" → {number(clip.norm_after)}" if is_clipped else "")


def _whole(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "–"


def _loss(value: object) -> str:
    if isinstance(value, (int, float)):
        return number(float(value))
    try:
        # The manifest writes what is not finite as text: JSON has no number for it.
        return number(float(value)) if isinstance(value, str) else "–"
    except ValueError:
        return "–"


# ---------------------------------------------------------------------------------------------- what was noticed


def _remarks(found: Sequence[Remark], *, has_run: bool) -> Markup:
    if not found:
        text = "Nothing: every number is finite, no output, gradient or update is all zero, every gradient arrived."
        return element("div", text if has_run else "No forward has run yet.", class_="card")
    items = [
        element(
            "li",
            element("span", _SIGNS[remark.severity], class_="sign"),
            clipped(remark.sentence, _MAX_TEXT),
            _places(remark.places),
            class_=remark.severity.value,
        )
        for remark in found[:MAX_LISTED]
    ]
    if len(found) > MAX_LISTED:
        items.append(element("li", f"and {len(found) - MAX_LISTED:,} more"))
    return element("div", element("ul", items, class_="remarks"), class_="card")


def _places(names: Sequence[str]) -> Markup:
    if not names:
        return Markup("")
    shown = [element("code", clipped(name, 200)) for name in names[:MAX_PLACES]]
    listed = joined(*(joined(", " if i else "", name) for i, name in enumerate(shown)))
    more = f" and {len(names) - MAX_PLACES:,} more" if len(names) > MAX_PLACES else ""
    if len(names) <= 3:
        return joined(": ", listed)
    return element("details", element("summary", "first ", shown[0]), element("div", listed, more))


# ------------------------------------------------------------------------------------------- training and surroundings


def _pairs(pairs: Sequence[tuple[str, str | Markup]]) -> Markup:
    cells = [joined(element("dt", name), element("dd", text)) for name, text in pairs if text]
    return element("div", element("dl", cells, class_="pairs"), class_="card") if cells else Markup("")


def _training(session: SessionInfo) -> Markup:
    scheduler = f"{session.scheduler}, once per {session.scheduler_unit}" if session.scheduler else "none"
    clipping = [
        f"{name} at {number(limit)}"
        for name, limit in (("norm", session.clip_norm), ("value", session.clip_value))
        if limit is not None
    ]
    zero_grad = "only when asked for" if session.zero_grad == "manual" else "at the start of every window"
    window = f"{session.accumulate} micro-batches; gradients are cleared {zero_grad}"
    validation = ", ".join(["loss", *session.metrics]) if session.has_validation else ""
    turns = ", then ".join(session.optimizers) if len(session.optimizers) > 1 else ""
    named = [
        ("Loss", session.loss),
        ("Optimizer", session.optimizer),
        ("Turns", turns),
        ("Scheduler", scheduler),
        ("Window", window if session.accumulate > 1 or session.zero_grad == "manual" else ""),
        ("Clipping", ", ".join(clipping)),
        ("Precision", session.precision or ""),
        ("Validation", validation),
        ("Capture", session.capture),
    ]
    return _pairs([(name, element("code", in_lines(clipped(text, _MAX_TEXT)))) for name, text in named if text])


def _environment(manifest: Mapping[str, Any], session: SessionInfo) -> Markup:
    versions = manifest.get("versions")
    pairs: list[tuple[str, str | Markup]] = [
        ("File", element("code", clipped(session.path, _MAX_TEXT)) if session.path else ""),
        ("SHA-256 of the file", element("code", session.sha256) if session.sha256 else ""),
        ("Seed", str(session.seed)),
        ("Device", str(manifest.get("device", session.device))),
        ("Platform", clipped(str(manifest.get("platform", "")), _MAX_TEXT)),
    ]
    if isinstance(versions, Mapping):
        pairs += [(str(name), clipped(str(version), 200)) for name, version in versions.items()]
    return _pairs(pairs)


def _left_out(manifest: Mapping[str, Any]) -> Markup:
    entries = manifest.get("left_out")
    if not isinstance(entries, Sequence) or isinstance(entries, str) or not entries:
        return Markup("")
    items = [element("li", element("code", clipped(str(entry), 500))) for entry in entries[:MAX_LISTED]]
    if len(entries) > MAX_LISTED:
        items.append(element("li", f"and {len(entries) - MAX_LISTED:,} more, listed in manifest.json"))
    return _titled("What could not be written", element("ul", items, class_="card"))


# ---------------------------------------------------------------------------------------------------------- pictures


def _pictures(pictures: Mapping[str, bytes]) -> Markup:
    shown = list(_figures(pictures))
    return _titled("Plots", element("div", shown, class_="row wide")) if shown else Markup("")


def _figures(pictures: Mapping[str, bytes]) -> Iterator[Markup]:
    room = MAX_PICTURES_BYTES
    for name, data in pictures.items():
        title = PurePosixPath(name).stem.replace("_", " ").replace("-", " ").capitalize()
        if not data.startswith(_PNG):
            continue
        if len(data) > room:
            yield element("p", f"{clipped(name, 200)} is too large for this page; it is a file beside it.")
            continue
        room -= len(data)
        source = Markup("data:image/png;base64," + base64.b64encode(data).decode("ascii"))
        width, height = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))
        picture = element("img", src=source, alt=title, width=width, height=height, loading="lazy")
        yield element("figure", element("figcaption", clipped(title, 200)), picture)
