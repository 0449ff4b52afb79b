"""The names of files in a snapshot, and of subjects in the tensor files."""

from __future__ import annotations

from gradscope.protocol.parts import Part
from gradscope.protocol.subjects import LAYER_KINDS, SubjectKey, SubjectKind

FORMAT = "gradscope snapshot"
FORMAT_VERSION = 3
"""2: session.json, reports, optimizer, history and plots as SVG came in; a version 1 has summaries.csv only. 3: buffers came
in; all else is as in version 2."""

SESSION = "session.json"
REPORTS = "reports.json"
REPORT_ARRAYS = "reports.safetensors"
STEPS = "history.csv"
SUMMARIES = "summaries.csv"
OPTIMIZER = "optimizer.json"
OPTIMIZER_TENSORS = "optimizer.safetensors"
BATCH = "batch.safetensors"
PAGE = "report.html"
PLOTS = "plots/"

TENSOR_FILES: dict[SubjectKind, str] = {
    SubjectKind.PARAMETER: "parameters.safetensors",
    SubjectKind.GRAD: "gradients.safetensors",
    SubjectKind.CLIPPED_GRAD: "clipped_gradients.safetensors",
    SubjectKind.UPDATE: "updates.safetensors",
    SubjectKind.OPTIMIZER_STATE: OPTIMIZER_TENSORS,
    SubjectKind.BUFFER: "buffers.safetensors",
    SubjectKind.ACTIVATION: "activations.safetensors",
    SubjectKind.ACTIVATION_GRAD: "activation_gradients.safetensors",
}

PART_OF_KIND: dict[SubjectKind, Part] = {
    SubjectKind.PARAMETER: Part.PARAMETERS,
    SubjectKind.GRAD: Part.GRADIENTS,
    SubjectKind.CLIPPED_GRAD: Part.GRADIENTS,
    SubjectKind.UPDATE: Part.UPDATES,
    SubjectKind.OPTIMIZER_STATE: Part.OPTIMIZER,
    SubjectKind.BUFFER: Part.BUFFERS,
    SubjectKind.ACTIVATION: Part.ACTIVATIONS,
    SubjectKind.ACTIVATION_GRAD: Part.ACTIVATION_GRADIENTS,
}


def tensor_name(key: SubjectKey) -> str:
    """A subject's name in its tensor file: `encoder`, `block#2` for a later call, `head:.logits` for a leaf.

    What belongs to a parameter has the parameter's name, and a buffer its own, so that their files are state dicts, and an
    optimizer's `weight.exp_avg` reads as in torch. No two subjects of a kind have the same name: the signs that mean
    something here are escaped in the names of modules.
    """
    if key.kind not in LAYER_KINDS:
        return f"{key.name}{key.leaf}"
    name = key.name.replace("%", "%25").replace("#", "%23").replace(":", "%3A")
    name = f"%28{name[1:]}" if name.startswith("(") else name or "(model)"
    return f"{name}{f'#{key.call}' if key.call else ''}{f':{key.leaf}' if key.leaf else ''}"
