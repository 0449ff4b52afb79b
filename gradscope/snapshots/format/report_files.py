"""The newest report of each phase as two files: reports.json, and its arrays as `forward.summaries` ... in safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gradscope.protocol import codec
from gradscope.protocol.messages import Report
from gradscope.protocol.phases import Phase
from gradscope.snapshots.format import json_files, tensor_file
from gradscope.snapshots.format.damage import Damaged
from gradscope.snapshots.format.names import REPORT_ARRAYS, REPORTS

_Array = np.ndarray[Any, Any]


def encode(reports: Mapping[Phase, Report]) -> dict[str, bytes]:
    """The files, by name."""
    bodies, arrays = {}, {}
    for phase, report in reports.items():
        found: list[_Array] = []
        body = codec.to_json(report, found)
        for field in [field for field, value in body.items() if isinstance(getattr(report, field), np.ndarray)]:
            arrays[f"{phase.value}.{field}"] = found[body.pop(field)["$"]]
        bodies[phase.value] = body
    return {REPORTS: json_files.dump(bodies), REPORT_ARRAYS: tensor_file.encode(arrays)}


def decode(data: bytes, arrays: Mapping[str, _Array]) -> dict[Phase, Report]:
    """The reverse, of reports.json and the arrays by name. Raises Damaged."""
    reports = {}
    for name, body in json_files.load_object(data).items():
        if name not in list(Phase) or not isinstance(body, dict):
            raise Damaged(f"it has a report of the phase {name!r:.40}")
        own = {field.removeprefix(f"{name}."): array for field, array in arrays.items() if field.startswith(f"{name}.")}
        whole = body | {field: {"$": i} for i, field in enumerate(own)}
        report = json_files.typed(Report, whole, list(own.values()), name)
        if report.phase != name:
            raise Damaged(f"its report of the {name} says that it is one of the {report.phase.value}")
        reports[report.phase] = report
    return reports
