"""One layer in a few words: "Linear 784→256", "Conv2d 1→8, 3×3"."""

from __future__ import annotations

import re
from functools import lru_cache

from gradscope.protocol.messages import ModuleInfo
from gradscope.state.tree import Node
from gradscope.ui.words import text

_NUMBER = re.compile(r"\d+")


def describe_node(node: Node) -> str:
    """The type of a module with its sizes, or the shape of a parameter or buffer."""
    tensor = node.parameter or node.buffer
    if tensor is not None:
        return tensor.dtype if tensor.dtype == "uninitialised" else text.shape(tensor.shape)
    return describe_module(node.module) if node.module is not None else ""


def describe_module(module: ModuleInfo) -> str:
    """What is said of a module beyond its type depends on torch's own `extra_repr()`; unknown types stand alone."""
    return _described(module.type, module.description)


@lru_cache(maxsize=4096)
def _described(kind: str, description: str) -> str:
    """A large model has the same few layers again and again."""
    extra = _extra(kind, *_arguments(description))
    return f"{kind} {extra}" if extra else kind


def _extra(kind: str, positional: list[str], named: dict[str, str]) -> str:
    if "in_features" in named and "out_features" in named:
        return f"{named['in_features']}→{named['out_features']}"
    if kind.startswith(("Conv", "ConvTranspose")) and len(positional) >= 2:
        kernel = "×".join(_NUMBER.findall(named.get("kernel_size", "")))
        return f"{positional[0]}→{positional[1]}" + (f", {kernel}" if kernel else "")
    if kind == "Embedding" and len(positional) >= 2:
        return f"{positional[0]}×{positional[1]}"
    if kind in ("LSTM", "GRU", "RNN") and len(positional) >= 2:
        layers = named.get("num_layers")
        return f"{positional[0]}→{positional[1]}" + (f", {layers} layers" if layers else "")
    if kind.endswith("Norm") or kind.startswith(("BatchNorm", "InstanceNorm")):
        return "×".join(_NUMBER.findall(positional[0])) if positional else ""
    if kind == "MultiheadAttention":
        return ""
    if kind.startswith("Dropout"):
        return f"p={named['p']}" if "p" in named else ""
    if "Pool" in kind:
        return "×".join(_NUMBER.findall(named.get("kernel_size", named.get("output_size", ""))))
    return "in place" if named.get("inplace") == "True" or positional == ["inplace"] else ""


def _arguments(description: str) -> tuple[list[str], dict[str, str]]:
    """The arguments of an `extra_repr()`: "1, 8, kernel_size=(3, 3)"."""
    positional: list[str] = []
    named: dict[str, str] = {}
    if "\n" in description:
        return positional, named
    for part in _split(description):
        name, equals, value = part.partition("=")
        if equals and name.isidentifier():
            named[name] = value
        elif part:
            positional.append(part)
    return positional, named


def _split(description: str) -> list[str]:
    """The parts between commas that are in no bracket."""
    parts, depth, start = [], 0, 0
    for i, character in enumerate(description):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append(description[start:i].strip())
            start = i + 1
    return [*parts, description[start:].strip()]
