"""The layer tree: modules, parameters and buffers by qualified name, in the model's own order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from gradscope.protocol.messages import BufferInfo, ModuleInfo, ParameterInfo, SessionInfo
from gradscope.protocol.subjects import SubjectKind


@dataclass
class Node:
    """A module, a parameter or a buffer. `name` is its qualified name, `label` the last part of it."""

    name: str
    label: str
    module: ModuleInfo | None = None
    parameter: ParameterInfo | None = None
    buffer: BufferInfo | None = None
    parent: Node | None = field(default=None, repr=False)
    children: list[Node] = field(default_factory=list, repr=False)

    @property
    def is_parameter(self) -> bool:
        return self.parameter is not None

    @property
    def is_buffer(self) -> bool:
        return self.buffer is not None

    @property
    def value_kind(self) -> SubjectKind:
        """The kind of what it holds, or puts out."""
        if self.is_buffer:
            return SubjectKind.BUFFER
        return SubjectKind.PARAMETER if self.is_parameter else SubjectKind.ACTIVATION

    @cached_property
    def rows(self) -> Rows:
        """The node and everything below it, numbered. Made once, as the tree never changes its form."""
        return Rows(self)


class Rows:
    """A tree as lists by number, in display order: a parent comes before what is below it."""

    def __init__(self, root: Node) -> None:
        self.nodes = walk(root)
        # A buffer and a module never have the same name.
        self.numbers = {(node.name, node.is_parameter): i for i, node in enumerate(self.nodes)}
        by_identity = {id(node): i for i, node in enumerate(self.nodes)}
        self.parents = [by_identity.get(id(node.parent), -1) for node in self.nodes]
        """-1 for the root."""
        self.children: list[list[int]] = [[by_identity[id(child)] for child in node.children] for node in self.nodes]
        self.places = [0] * len(self.nodes)
        """Which child of its parent each one is."""
        for children in self.children:
            for place, number in enumerate(children):
                self.places[number] = place

    @cached_property
    def names(self) -> list[str]:
        """In small letters."""
        return [node.name.lower() for node in self.nodes]

    def kept(self, is_wanted: npt.NDArray[np.bool_]) -> tuple[Mapping[int, Sequence[int]], list[int]]:
        """The tree of some nodes, shape (nodes,), and of what lies above them: the children by number, in their order, and
        which child each node is; -1 for those that are left out."""
        parents, is_kept = np.array(self.parents), is_wanted.copy()
        newest = np.flatnonzero(is_kept)
        while newest.size:
            above = np.unique(parents[newest])
            newest = above[(above >= 0) & ~is_kept[above]]
            is_kept[newest] = True
        kept = np.flatnonzero(is_kept)
        in_order = kept[np.argsort(parents[kept], kind="stable")]
        owners, first = np.unique(parents[in_order], return_index=True)
        counts = np.diff(np.append(first, len(in_order)))
        places = np.full(len(self.nodes), -1)
        places[in_order] = np.arange(len(in_order)) - np.repeat(first, counts)
        numbers, ends = in_order.tolist(), (first + counts).tolist()
        children: defaultdict[int, list[int]] = defaultdict(list)
        children |= {
            owner: numbers[start:end] for owner, start, end in zip(owners.tolist(), first.tolist(), ends, strict=True)
        }
        return children, places.tolist()


def build_tree(session: SessionInfo) -> Node:
    """The root node: the model itself. Parameters, then buffers, come before the sub-modules of their module."""
    modules = {module.name: module for module in session.modules}
    root = Node(name="", label=_title(session), module=modules.get(""))
    nodes = {"": root}

    def node_of(name: str) -> Node:
        missing = []
        while name not in nodes:
            missing.append(name)
            name = name.rpartition(".")[0]
        node = nodes[name]
        for below in reversed(missing):
            parent = node
            node = Node(name=below, label=below.rpartition(".")[2], module=modules.get(below), parent=parent)
            parent.children.append(node)
            nodes[below] = node
        return node

    for module in session.modules:
        node_of(module.name)
    by_module: dict[str, list[Node]] = {}
    tensors = [Node(name=parameter.name, label="", parameter=parameter) for parameter in session.parameters]
    tensors += [Node(name=buffer.name, label="", buffer=buffer) for buffer in session.buffers]
    for tensor in tensors:
        module_name, _, tensor.label = tensor.name.rpartition(".")
        by_module.setdefault(module_name, []).append(tensor)
    for module_name, own in by_module.items():
        parent = node_of(module_name)
        for tensor in own:
            tensor.parent = parent
        parent.children[:0] = own
    return root


def refresh_tree(root: Node, session: SessionInfo) -> None:
    """The same modules, parameters and buffers, by the settings of now."""
    modules = {module.name: module for module in session.modules}
    parameters = {parameter.name: parameter for parameter in session.parameters}
    buffers = {buffer.name: buffer for buffer in session.buffers}
    for node in walk(root):
        if node.module is not None:
            node.module = modules.get(node.name, node.module)
        if node.parameter is not None:
            node.parameter = parameters.get(node.name, node.parameter)
        if node.buffer is not None:
            node.buffer = buffers.get(node.name, node.buffer)


def find(root: Node, name: str, *, is_parameter: bool) -> Node | None:
    """The node of this name, if there is one."""
    node: Node | None = root
    while node is not None and node.name != name:
        node = next((below for below in node.children if f"{name}.".startswith(f"{below.name}.")), None)
    return node if node is not None and node.is_parameter == is_parameter else None


def walk(node: Node) -> list[Node]:
    """The node and everything below it, in display order."""
    found, waiting = [], [node]
    while waiting:
        newest = waiting.pop()
        found.append(newest)
        waiting.extend(reversed(newest.children))
    return found


def _title(session: SessionInfo) -> str:
    """Of a script, its file's name: its arguments are in the window's title."""
    script = session.script
    return session.name if script is None else script.name.replace("\\", "/").rpartition("/")[2]


def source_of(session: SessionInfo) -> tuple[str, str]:
    """Where its model is from. A module's path is not known."""
    return session.path, "" if session.path or session.script is None else session.script.name


def names_of(session: SessionInfo) -> tuple[list[str], ...]:
    """Of its modules, parameters and buffers."""
    return tuple([info.name for info in infos] for infos in (session.modules, session.parameters, session.buffers))
