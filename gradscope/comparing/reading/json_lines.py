"""A run from its JSON lines, as `gradscope run --jsonl` writes them: one phase a line."""

from __future__ import annotations

import json
import math
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gradscope.comparing.reading.collecting import Numbers, SubjectRows
from gradscope.comparing.reading.run import Facts, Form, Run, first_weights_fact, initial_sheet, said, settings_of
from gradscope.comparing.sheets import DATA, WHOLE_STEP
from gradscope.protocol.arrays import FloatArray
from gradscope.protocol.failure import BadInput
from gradscope.protocol.json_limits import TooMuchJson, check_json
from gradscope.protocol.phases import SubStep
from gradscope.protocol.subjects import COLUMNS, COUNT, SubjectKey, SubjectKind
from gradscope.snapshots.format.content import FirstWeights

MAX_LINE_BYTES = 256 * 1024 * 1024
_MAX_DEPTH = 100
_MAX_ITEMS = 20_000_000
_PHASES = ("forward", "backward", "step")
_MOST = 1 << 53
_CHECKPOINT = "checkpoint"


def read_lines(path: Path) -> Run:
    """Raises BadInput: one sentence that names the file, the line, and what was expected."""
    reader = _Reader(path)
    for number, line in _lines(path):
        reader.take(number, line)
    return reader.run()


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise BadInput(f"{path} is no file; expected a snapshot, or JSON lines")
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES):
                number += 1
                if len(line) == MAX_LINE_BYTES:
                    raise BadInput(f"{path}: line {number} has more than {MAX_LINE_BYTES:,} bytes")
                yield number, line
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error


class _NoLine(Exception):
    """What completes the sentence "PATH: line 3 is no line of a run: ..."."""


class _Reader:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._kinds: dict[SubjectKind, SubjectRows] = {}
        self._numbers = Numbers()
        self._forms: dict[SubjectKey, Form] = {}
        self._facts: Facts | None = None
        self._initial: list[tuple[SubjectKey, FloatArray]] = []
        self._name = ""
        self._data = ""
        self._notes: list[str] = []
        self._count = 0
        """Of the lines that are of a phase."""

    def take(self, number: int, line: bytes) -> None:
        if not line.strip():
            return
        try:
            self._take(_object(line))
        except _NoLine as reason:
            if number > 1 and not line.endswith(b"\n") and self._count:
                self._notes.append(f"{self._path}: the last line is cut off, and was left out")
                return
            expected = "expected JSON lines as gradscope run --jsonl writes them, or a snapshot"
            raise BadInput(f"{self._path}: line {number} is no line of a run ({reason}); {expected}") from None

    def run(self) -> Run:
        if not self._count:
            raise BadInput(f"{self._path} tells of no step; expected the JSON lines of a run")
        facts = dict(self._facts or {})
        if self._facts is None:
            self._notes.append(f"{self._path} does not say with which versions and settings it was written")
        if self._data:
            facts["data"] = {"first batch": self._data}
        return Run(
            path=str(self._path),
            form="JSON lines",
            name=self._name,
            sheets=[*(rows.sheet() for rows in self._kinds.values()), *self._numbers.sheets()],
            facts=facts,
            forms=self._forms,
            initial=initial_sheet([key for key, _ in self._initial], [row for _, row in self._initial]),
            notes=tuple(self._notes),
        )

    def _take(self, content: dict[str, Any]) -> None:
        phase = content.get("phase")
        if not isinstance(phase, str):
            raise _NoLine("it has no phase")
        if phase == "validation":
            self._take_validation(content)
        if phase not in _PHASES:
            return
        step, micro = _count(content, "step"), _count(content, "micro", 0)
        self._count += 1
        if isinstance(content.get("run"), dict):
            self._take_run(content["run"])
        if phase == "step":
            micro = WHOLE_STEP
            self._take_step(step, content)
        elif phase == "forward":
            self._numbers.add(SubStep.LOSS, "loss", step, _loss(content), micro)
            self._take_data(step, micro, content.get("data"))
        else:
            self._numbers.add(SubStep.BACKWARD, "loss scale", step, _number(content.get("scale"), "scale"))
            self._numbers.add(SubStep.LOSS, "loss", step, _loss(content), micro)
        for key, form, summary in _subjects(content, "subjects"):
            self._forms.setdefault(key, form)
            self._kinds.setdefault(key.kind, SubjectRows(key.kind)).add(step, micro, key, summary)

    def _take_step(self, step: int, content: dict[str, Any]) -> None:
        self._numbers.add(SubStep.LOSS, "loss", step, _loss(content))
        rates = content.get("lr")
        rates = rates if isinstance(rates, list) else []
        for group, rate in enumerate(rates):
            name = "learning rate" if len(rates) == 1 else f"learning rate of group {group}"
            self._numbers.add(SubStep.STEP, name, step, _number(rate, "lr"))
        clip = content.get("clip")
        if isinstance(clip, dict):
            self._numbers.add(SubStep.CLIP, "norm of all gradients", step, _number(clip.get("norm"), "clip"))

    def _take_data(self, step: int, micro: int, digest: Any) -> None:
        if not isinstance(digest, str):
            return
        try:
            value = int(digest, 16)
        except ValueError:
            raise _NoLine("its data is no digest") from None
        self._data = self._data or digest
        self._numbers.add(SubStep.BATCH, DATA, step, float(value % _MOST), micro)

    def _take_validation(self, content: dict[str, Any]) -> None:
        step, metrics = content.get("step"), content.get("metrics")
        if type(step) is not int or step < -1:
            raise _NoLine("its step is no whole number")
        self._numbers.add(SubStep.VALIDATE, "validation loss", step, _number(content.get("loss"), "loss"))
        for name, value in metrics.items() if isinstance(metrics, dict) else ():
            self._numbers.add(SubStep.VALIDATE, f"validation {name}", step, _number(value, "metrics"))

    def _take_run(self, run: dict[str, Any]) -> None:
        self._name = said(run.get("name"))
        settings = _mapping(run, "settings")
        groups = [
            (str(group.get("optimizer", "")), _texts(_mapping(group, "options")), int(group.get("parameters", 0)))
            for group in settings.get("groups", ())
            if isinstance(group, dict) and isinstance(group.get("parameters", 0), int)
        ]
        checkpoint = {_CHECKPOINT: said(run[_CHECKPOINT])} if _CHECKPOINT in run else {}
        self._facts = {
            "versions": _texts(_mapping(run, "versions")),
            "machine": {
                **{name: said(run[name]) for name in ("device", "platform") if name in run},
                **_texts(_mapping(run, "numerics")),
            },
            "recipe": {
                **{name: said(run[name]) for name in ("name", "sha256", "seed") if name in run},
                **checkpoint,
            },
            "settings": settings_of(settings, groups),
            **first_weights_fact(_first_weights(run.get("first_weights"))),
            # Without a window, nobody edits a recipe.
            **({"edits": {"by hand": "none"}} if run.get("kind") == "recipe" else {}),
        }
        self._initial = [(key, summary) for key, _, summary in _subjects(run, "initial")]


def _object(line: bytes) -> dict[str, Any]:
    try:
        check_json(line, max_depth=_MAX_DEPTH, max_items=_MAX_ITEMS)
        content = json.loads(line.decode("utf-8"), parse_constant=_no_constant)
    except TooMuchJson as reason:
        raise _NoLine(str(reason)) from None
    except UnicodeDecodeError:
        raise _NoLine("it is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise _NoLine(f"it is not JSON: {getattr(error, 'msg', error)}") from None
    if not isinstance(content, dict):
        raise _NoLine("it is no JSON object")
    return content


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _subjects(content: Mapping[str, Any], field: str) -> Iterator[tuple[SubjectKey, Form, FloatArray]]:
    """Of a kind that this version knows."""
    subjects = content.get(field)
    if not isinstance(subjects, list):
        raise _NoLine(f"it has no list of {field}")
    for one in subjects:
        if not isinstance(one, dict) or not isinstance(one.get("name"), str) or not isinstance(one.get("kind"), str):
            raise _NoLine(f"one of its {field} has no kind and name")
        if one["kind"] not in list(SubjectKind):
            continue
        leaf, shape = one.get("leaf", ""), one.get("shape", [])
        if not isinstance(leaf, str) or not isinstance(shape, list) or not all(type(side) is int for side in shape):
            raise _NoLine(f"{one['name']!r:.80} has no shape")
        key = SubjectKey(SubjectKind(one["kind"]), one["name"], _count(one, "call", 0), leaf)
        numbers = [_number(one.get(column), column) for column in COLUMNS]
        if numbers[COUNT] is None:
            raise _NoLine(f"{one['name']!r:.80} has no count")
        row = np.array([math.nan if value is None else value for value in numbers])
        yield key, (tuple(shape), said(one.get("dtype"))), row


def _count(content: Mapping[str, Any], field: str, default: int | None = None) -> int:
    value = content.get(field, default)
    if type(value) is not int or not 0 <= value < _MOST:
        raise _NoLine(f"its {field} is no whole number from 0")
    return value


def _number(value: Any, field: str) -> float | None:
    if value is None:
        return None
    if (type(value) is int and abs(value) > _MOST) or type(value) not in (int, float):
        raise _NoLine(f"its {field} is no number")
    return float(value)


def _loss(content: Mapping[str, Any]) -> float | None:
    loss, text = content.get("loss"), content.get("loss_text")
    if loss is None and text in ("nan", "inf", "-inf"):
        return float(text)
    # Where a script's backward begins at several tensors, it is a list: each of them is a subject's.
    return None if isinstance(loss, list) else _number(loss, "loss")


def _first_weights(content: Any) -> FirstWeights | None:
    match content:
        case {"step": int(step), "digest": str(digest)}:
            return FirstWeights(step=step, digest=digest)
    return None


def _mapping(content: Mapping[str, Any], field: str) -> dict[str, Any]:
    value = content.get(field)
    return value if isinstance(value, dict) else {}


def _texts(content: Mapping[str, Any]) -> dict[str, str]:
    return {name.replace("_", " "): said(value) for name, value in content.items()}
