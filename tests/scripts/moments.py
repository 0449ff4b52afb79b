"""The moments that gradscope's JSON lines tell of, compared with the truth beside a script."""

from __future__ import annotations

import ast
import enum
import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.scripts.cases import Case

PHASES = ("forward", "backward", "step")
BY_HAND = "(by hand)"
_COUNTED = ("clip", "unscale", "update", "schedule")
_RELATIVE = 1e-3
"""How far losses may be from those of another machine."""

_OF_ORDER = (
    r"are clipped.* scale",
    r"are unscaled.* clipped",
    r"scheduler is stepped.* before",
    r"were cleared.* between",
    r"No parameter .*has a gradient",
)
"""What notes say of calls in an order that is likely to be a mistake."""

_TOKENS = {
    # By `torch.autograd.grad`.
    "backward": ("backward", "grad(", "grad_and_value(", "pull("),
    # The second of these: in the class of an optimizer that is no torch.optim.Optimizer.
    "step": ("step", "-="),
    "clip": ("clip",),
    "unscale": ("unscale", "step"),
    "update": ("update",),
}
"""What the script's own line must contain where it makes such a call itself."""


class Losses(enum.Enum):
    """How losses are compared with those of the truth."""

    EXACT = enum.auto()
    CLOSE = enum.auto()
    """Of another machine, or another torch."""
    OTHER = enum.auto()
    """Other random numbers went into the run than into the truth: there has to be one, whatever it is, and models may be
    called more or less often."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A station on the way of a step, with what is known of it."""

    kind: str
    calls: tuple[str, ...] = ()
    loss: Any = None
    name: str | None = None
    """Of the loss; None where it is not compared."""
    optimizer: str = ""
    skipped: bool = False
    file: str = ""
    line: int = 0


def wrong_moments(
    case: Case, lines: Sequence[dict[str, Any]], *, level: str, losses: Losses = Losses.EXACT
) -> list[str]:
    """In what the lines differ from the truth."""
    truth = case.truth
    inner = truth["optimizer_steps"] > truth["training_steps"]
    found = moments_of(lines)
    wrong = _wrong_first_steps(truth, found, inner=inner, losses=losses)
    wrong += _wrong_counts(truth, lines, found, inner=inner)
    wrong += _wrong_losses_of_forwards(lines)
    if level != "off":
        trained = {_shown(name) for name in truth["trained"]}
        seen = {_shown(name) for name in trained_in(lines)}
        if trained != seen:
            wrong.append(f"trained: lacks {sorted(trained - seen)}, has too many {sorted(seen - trained)}")
    if not case.is_driven and case.script.suffix == ".py":
        wrong += _wrong_lines([moment for moment in found if moment.kind != "step"] if inner else found)
    return wrong + _wrong_notes(truth.get("notes", []), lines)


def moments_of(lines: Sequence[dict[str, Any]]) -> list[Moment]:
    """All stations in order, those that end a phase with what its line says."""
    moments: list[Moment] = []
    for line in lines:
        phase = line.get("phase")
        if phase not in (*PHASES, "end"):
            continue
        stations = [
            Moment(
                kind=station["kind"].replace(" ", "_"),
                file=(station.get("line") or {}).get("file", ""),
                line=(station.get("line") or {}).get("line", 0),
            )
            for station in line.get("stations", [])
        ]
        if line.get("failed"):
            # Broken off by an exception: it is not one of the phases that the truth tells of.
            stations = [station for station in stations if station.kind not in PHASES]
        elif phase != "end":
            at = next((i for i in reversed(range(len(stations))) if stations[i].kind == phase), None)
            if at is None:
                at = len(stations)
                place = line.get("line") or {}
                stations.append(Moment(kind=phase, file=place.get("file", ""), line=place.get("line", 0)))
            stations[at] = _with_facts(stations[at], line)
        moments += stations
    return [moment for moment in moments if moment.kind != "loss"]


def _with_facts(moment: Moment, line: dict[str, Any]) -> Moment:
    if moment.kind == "forward":
        return replace(moment, calls=tuple(line.get("calls", ())))
    if moment.kind == "backward":
        return replace(moment, loss=line.get("loss"), name=line.get("loss_name", ""))
    return replace(moment, optimizer=line.get("optimizer") or BY_HAND, skipped=bool(line.get("skipped")))


def trained_in(lines: Sequence[dict[str, Any]]) -> set[str]:
    """Names of the parameters that got a gradient in some backward."""
    return {
        subject["name"]
        for line in lines
        if line.get("phase") == "backward"
        for subject in line.get("subjects", ())
        if subject["kind"] == "grad"
    }


# ------------------------------------------------------------------------------------------------------------ first steps


def _wrong_first_steps(truth: dict[str, Any], found: list[Moment], *, inner: bool, losses: Losses) -> list[str]:
    wrong = []
    steps = split(simplified(found, inner=inner))
    for number, wanted in enumerate(truth["first_steps"]):
        expected = simplified(_of_truth(wanted["events"]), inner=inner)
        seen = steps[number] if number < len(steps) else []
        if number == 0:
            expected, seen = _without_first_clearing(expected), _without_first_clearing(seen)
        kinds = [moment.kind for moment in expected]
        if kinds != [moment.kind for moment in seen]:
            wrong.append(f"step {number}: {[moment.kind for moment in seen]}, in truth {kinds}")
            continue
        for there, here in zip(expected, seen, strict=True):
            wrong += [f"step {number}: {text}" for text in _wrong_facts(there, here, inner=inner, losses=losses)]
    if len(truth["first_steps"]) < 3 and len(steps) - 1 != len(truth["first_steps"]):
        wrong.append(f"{len(steps) - 1} steps, in truth {len(truth['first_steps'])}")
    last = [moment.kind for moment in (steps[-1] if steps else [])]
    after = [
        moment.kind for moment in simplified([Moment(kind=kind) for kind in truth["after_last_step"]], inner=inner)
    ]
    if [kind for kind in last if kind != "batch"] != [kind for kind in after if kind != "batch"]:
        wrong.append(f"after the last step: {last}, in truth {after}")
    return wrong


def _of_truth(events: list[dict[str, Any]]) -> list[Moment]:
    return [
        Moment(
            kind=event["kind"],
            calls=tuple(event.get("calls", ())) if event["kind"] == "forward" else (),
            loss=event.get("loss"),
            name=event.get("name"),
            optimizer=event.get("optimizer", ""),
            skipped=event.get("skipped", False),
        )
        for event in events
    ]


def simplified(moments: Sequence[Moment], *, inner: bool = False) -> list[Moment]:
    """What the truth and our lines may say in different ways, said in one way.

    Forwards with no backward between them are one, where the last of them is. Neighbours that clear gradients are one, and so
    are evaluations; the batches of an evaluation are left out. `inner`: steps inside a backward are one, and how they clear
    gradients is left out.
    """
    result: list[Moment] = []
    for moment in moments:
        if inner and moment.kind == "zero_grad":
            continue
        if moment.kind == "forward":
            earlier = _open_forward(result)
            if earlier is not None:
                moment = replace(moment, calls=result.pop(earlier).calls + moment.calls)
        elif moment.kind == "evaluate":
            while result and result[-1].kind == "batch":
                result.pop()
        last = result[-1].kind if result else ""
        if moment.kind == last and (last in ("zero_grad", "evaluate") or (inner and last == "step")):
            continue
        result.append(moment)
    return result


def _open_forward(moments: list[Moment]) -> int | None:
    for at in reversed(range(len(moments))):
        if moments[at].kind == "forward":
            return at
        if moments[at].kind in ("backward", "step"):
            break
    return None


def split(moments: Sequence[Moment]) -> list[list[Moment]]:
    """After each step; the last part is what follows the last of them."""
    parts: list[list[Moment]] = [[]]
    for moment in moments:
        parts[-1].append(moment)
        if moment.kind == "step":
            parts.append([])
    return parts


def _without_first_clearing(moments: list[Moment]) -> list[Moment]:
    """Before the first backward there is nothing to be cleared, whatever is called."""
    first = next((i for i, moment in enumerate(moments) if moment.kind == "backward"), len(moments))
    return [moment for i, moment in enumerate(moments) if i > first or moment.kind != "zero_grad"]


def _wrong_facts(there: Moment, here: Moment, *, inner: bool, losses: Losses) -> list[str]:
    wrong = []
    if there.kind == "forward":
        expected, seen = ([_shown(name) for name in moment.calls] for moment in (there, here))
        if losses is Losses.OTHER:
            # A game that is played by chance may be over sooner.
            expected, seen = sorted(set(expected)), sorted(set(seen))
        if expected != seen:
            wrong.append(f"calls {seen}, in truth {expected}")
    if there.kind == "backward":
        if not _same_loss(there.loss, here.loss, losses=losses):
            wrong.append(f"loss {here.loss!r}, in truth {there.loss!r}")
        if there.name is not None and there.name != here.name:
            wrong.append(f"the loss is called {here.name!r}, in truth {there.name!r}")
    if there.kind == "step":
        if there.optimizer != here.optimizer and not inner:
            wrong.append(f"optimizer {here.optimizer!r}, in truth {there.optimizer!r}")
        if there.skipped != here.skipped:
            wrong.append(f"the step is {'' if here.skipped else 'not '}said to be skipped")
    return wrong


def _same_loss(there: Any, here: Any, *, losses: Losses) -> bool:
    if isinstance(there, list):
        # Several roots have no one loss.
        return here is None or (
            isinstance(here, list) and all(_same_loss(a, b, losses=losses) for a, b in zip(there, here, strict=True))
        )
    if there is None or there != there:
        return here is None
    if here is None:
        return False
    if losses is Losses.OTHER or there == here:
        return True
    return losses is Losses.CLOSE and bool(abs(there - here) <= _RELATIVE * max(abs(there), 1e-3))


def _shown(name: str) -> str:
    """Without what DataParallel and torch.compile put into a path."""
    return ".".join(part for i, part in enumerate(name.split(".")) if i == 0 or part not in ("module", "_orig_mod"))


# ------------------------------------------------------------------------------------------------- the whole, and its lines


def _wrong_counts(
    truth: dict[str, Any], lines: Sequence[dict[str, Any]], found: list[Moment], *, inner: bool
) -> list[str]:
    phases = Counter(line.get("phase") for line in lines if not line.get("failed"))
    kinds = Counter(moment.kind for moment in found)
    expected = {
        "steps": truth["training_steps"] if inner else truth["optimizer_steps"],
        "skipped": truth["skipped_steps"],
        "backwards": truth["backward_calls"],
        **{kind: truth["counts"].get(kind, 0) for kind in _COUNTED},
    }
    seen = {
        "steps": phases["step"],
        "skipped": sum(bool(line.get("skipped")) for line in lines if line.get("phase") == "step"),
        "backwards": phases["backward"],
        **{kind: kinds[kind] for kind in _COUNTED},
    }
    return [f"{what}: {seen[what]}, in truth {count}" for what, count in expected.items() if seen[what] != count]


def _wrong_losses_of_forwards(lines: Sequence[dict[str, Any]]) -> list[str]:
    """A forward tells the loss of the backward that follows."""
    phases = [line for line in lines if line.get("phase") in PHASES and not line.get("failed")]
    for forward, after in itertools.pairwise(phases):
        if forward["phase"] == "forward" and after["phase"] == "backward" and forward.get("loss") != after.get("loss"):
            return [f"the forward tells the loss {forward.get('loss')!r}, its backward {after.get('loss')!r}"]
    return []


def _wrong_lines(found: list[Moment]) -> list[str]:
    """Each moment that the script makes by a call has the line of that call."""
    wrong = {}
    for moment in found:
        tokens = _TOKENS.get(moment.kind)
        if tokens is None or moment.optimizer == BY_HAND:
            continue
        if not moment.line:
            wrong[f"a {moment.kind} without a line"] = None
        elif Path(moment.file).is_file() and not _makes(moment, tokens):
            wrong[f"{moment.kind}: {Path(moment.file).name}, line {moment.line} makes no such call"] = None
    return list(wrong)


def _makes(moment: Moment, tokens: tuple[str, ...]) -> bool:
    statement = _statement(Path(moment.file), moment.line)
    return any(token in statement for token in tokens)


def _statement(path: Path, line: int) -> str:
    """The source of the innermost statement at a line, without its body."""
    text = path.read_text("utf-8")
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt)]
    around = [node for node in nodes if node.lineno <= line <= (node.end_lineno or node.lineno)]
    if not around:
        return ""
    inmost = max(around, key=lambda node: node.lineno)
    body = getattr(inmost, "body", None)
    last = body[0].lineno - 1 if body else inmost.end_lineno
    return "\n".join(text.splitlines()[inmost.lineno - 1 : last])


def notes_in(lines: Sequence[dict[str, Any]]) -> list[str]:
    return [note for line in lines for note in line.get("notes", ())]


def _wrong_notes(wanted: list[dict[str, Any]], lines: Sequence[dict[str, Any]]) -> list[str]:
    """What has to be told of a mistake: its words (each a choice `a|b`), and the line of the script. Of a script without one
    nothing is told."""
    notes = notes_in(lines)
    wrong = []
    if not wanted:
        wrong += [f"no mistake, but: {note}" for note in notes if any(re.search(words, note) for words in _OF_ORDER)][
            :3
        ]
    for note in wanted:
        fits = [text for text in notes if all(re.search(word, text, re.IGNORECASE) for word in note["words"])]
        if not fits:
            wrong.append(f"no note says {note['words']}: {notes[:3]}")
        elif not any(re.search(rf"\b{note['line']}\b", text) for text in fits):
            wrong.append(f"the note does not name line {note['line']}: {fits[0]}")
    return wrong
