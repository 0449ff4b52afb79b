"""The arguments of a class, read from its signature and its documentation."""

from __future__ import annotations

import inspect
import re
from typing import Any

from gradscope.engine.surroundings.error_parts import safely, shortened
from gradscope.protocol.failure import BadInput
from gradscope.protocol.literals import expected, literal, parsed
from gradscope.protocol.messages.edits import ArgumentInfo, ArgumentKind

NOT_IN_A_FORM = frozenset(
    {"self", "params", "optimizer", "last_epoch", "size_average", "reduce", "verbose", "device", "dtype"}
)
"""What the session gives by itself, and what torch has given up."""
_LONGEST_DESCRIPTION = 160
_FOR_CODE = ("Callable", "LRScheduler", "Options")
"""Words in an annotation of what cannot be written as a literal."""
_TEXTS = {
    "reduction": ("mean", "sum"),
    "line_search_fn": ("strong_wolfe",),
    "adjust_lr_fn": ("original", "match_rms_adamw"),
}
"""Arguments whose annotation does not name the texts. A loss has to be one number, so "none" is no reduction."""


def arguments_of(cls: type) -> tuple[list[ArgumentInfo], list[str]]:
    """What a form can ask for; and the arguments that have to be given and can only be written in code."""
    found, missing = [], []
    docs = _docs_of(cls)
    for name, parameter in inspect.signature(cls).parameters.items():
        if name in NOT_IN_A_FORM or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        has_default = parameter.default is not parameter.empty
        argument = _argument(cls, parameter, docs.get(name, "")) if _is_literal(parameter) else None
        if argument is not None:
            found.append(argument)
        elif not has_default:
            missing.append(name)
    return found, missing


def argument_like(name: str, value: Any) -> ArgumentInfo | None:
    """An argument of the kind that a value has; None if it is none that can be written as text."""
    match value:
        case bool():
            kind = ArgumentKind.BOOL
        case int() | float():
            kind = ArgumentKind.NUMBER
        case str():
            kind = ArgumentKind.TEXT
        case list() | tuple() if value and all(isinstance(item, (int, float)) for item in value):
            kind = ArgumentKind.NUMBERS
        case _:
            return None
    return ArgumentInfo(name=name, kind=kind, default=repr(value))


def parsed_all(cls: type, arguments: dict[str, str]) -> dict[str, Any]:
    """The values of all arguments that are given. Raises BadInput for the first that is unknown, wrong or missing."""
    known, _ = arguments_of(cls)
    names = {argument.name: argument for argument in known}
    for name in arguments:
        if name not in names:
            raise BadInput(f"{cls.__name__} has no argument {name!r} here; expected some of {', '.join(names)}")
    for argument in known:
        if argument.default is None and argument.name not in arguments:
            raise BadInput(f"{cls.__name__}({argument.name}=...) is missing; expected {expected(argument)}")
    return {name: parsed(names[name], text, where=f"{cls.__name__}({name}=...)") for name, text in arguments.items()}


def as_literal(value: Any) -> str | None:
    """The text that `parsed` reads as this value; None if there is none."""
    # An option may be anything of the user's.
    return safely(lambda: _as_literal(value), None)


def _as_literal(value: Any) -> str | None:
    if hasattr(value, "tolist") and hasattr(value, "numel"):
        value = value.item() if value.numel() == 1 and value.dim() == 0 else value.tolist()
    text = repr(value)
    return text if literal(text) == value else None


def first_sentence(text: str) -> str:
    """Of a documentation in reStructuredText, without its marks and without defaults."""
    text = re.split(r"\s*\(?[Dd]efault\s*:", text)[0]
    text = re.sub(r":\w+:`~?([^`]*)`", r"\1", text).replace("``", "").replace("`_", "").replace("`", "")
    return shortened(re.split(r"(?<=[a-z)])\.\s", text.strip())[0].strip().rstrip("."), _LONGEST_DESCRIPTION)


# ------------------------------------------------------------------------------------------- signatures


def _is_literal(parameter: inspect.Parameter) -> bool:
    return not any(word in _annotation(parameter) for word in _FOR_CODE)


def _annotation(parameter: inspect.Parameter) -> str:
    annotation = parameter.annotation
    if annotation is parameter.empty:
        return ""
    if isinstance(annotation, str):
        return annotation
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _argument(cls: type, parameter: inspect.Parameter, doc: str) -> ArgumentInfo:
    name, annotation = parameter.name, _annotation(parameter)
    default = None if parameter.default is parameter.empty else parameter.default
    choices = tuple(re.findall(r"'([^']*)'", annotation)) if "Literal[" in annotation else _TEXTS.get(name, ())
    if name == "reduction" and cls.__name__ == "KLDivLoss":
        choices = ("batchmean", *choices)
    if choices:
        kind = ArgumentKind.CHOICE
    elif isinstance(default, bool) or re.search(r"\bbool\b", annotation):
        kind = ArgumentKind.BOOL
    elif isinstance(default, str):
        kind = ArgumentKind.TEXT
    else:
        kind = _number_kind(annotation, default)
    can_be_none = bool(parameter.default is None or re.search(r"\bNone\b|Optional\[", _outermost(annotation)))
    shown = None if parameter.default is parameter.empty else repr(default)
    return ArgumentInfo(name=name, kind=kind, default=shown, can_be_none=can_be_none, choices=choices, doc=doc)


def _outermost(annotation: str) -> str:
    """Without what is in brackets, but for that of an Optional."""
    return annotation if "Optional[" in annotation else re.sub(r"\[.*\]", "", annotation)


def _number_kind(annotation: str, default: Any) -> ArgumentKind:
    has_numbers = isinstance(default, (tuple, list)) or re.search(
        r"\b(list|List|tuple|Tuple|Sequence|Iterable)\b", annotation
    )
    outermost = _outermost(annotation)
    if has_numbers:
        is_also_one = isinstance(default, (int, float)) or re.search(r"\b(float|int)\b", outermost)
        return ArgumentKind.NUMBER_OR_NUMBERS if is_also_one else ArgumentKind.NUMBERS
    if "Tensor" in annotation and not re.search(r"\b(float|int)\b", annotation):
        return ArgumentKind.NUMBERS
    if re.search(r"\bint\b", annotation) and "float" not in annotation:
        return ArgumentKind.INTEGER
    return ArgumentKind.NUMBER


def _docs_of(cls: type) -> dict[str, str]:
    """name -> the first sentence that the class's documentation has on an argument."""
    found: dict[str, str] = {}
    lines = inspect.cleandoc(cls.__doc__ or "").splitlines()
    name, indent, words = "", 0, [""]
    for line in lines:
        begin = re.match(r"(\s+)(\w+)\s*(?:\(.*?\))?\s*:\s*(.*)$", line)
        depth = len(line) - len(line.lstrip())
        if begin and (not name or depth <= indent):
            name, indent, words = begin[2], depth, [begin[3]]
        elif not line.strip() or depth <= indent:
            name = ""
        elif name:
            words.append(line.strip())
        if name:
            found.setdefault(name, "")
            found[name] = first_sentence(" ".join(words))
    return found
