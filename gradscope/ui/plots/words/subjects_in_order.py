"""Which subjects are drawn, in which order, and which of them the selection means. No Qt."""

from __future__ import annotations

from gradscope.protocol.subjects import LAYER_KINDS, SubjectKey, SubjectKind
from gradscope.state.app_state import AppState
from gradscope.state.selection import Selection


def execution_order(state: AppState, kind: SubjectKind, leaf: str | None = None) -> list[int]:
    """Positions in the block of `kind`, the model's input first; with a leaf, only those of that leaf.

    Activations in the order in which they were seen, their gradients likewise (they arrive backwards), parameters
    in the model's own order (their gradients arrive backwards, too), buffers likewise.
    """
    keys = state.history.subjects(kind)
    if leaf is not None:
        chosen = {i for i, key in enumerate(keys) if leaf_of(key) == leaf}
        return [i for i in execution_order(state, kind) if i in chosen]
    if kind not in LAYER_KINDS and state.session is not None:
        session = state.session
        own = [b.name for b in session.buffers] if kind is SubjectKind.BUFFER else [p.name for p in session.parameters]
        place = {name: i for i, name in enumerate(own)}
        return sorted(range(len(keys)), key=lambda i: place.get(keys[i].name, len(place)))
    if kind is SubjectKind.ACTIVATION_GRAD:
        seen = {
            (key.name, key.call, key.leaf): i for i, key in enumerate(state.history.subjects(SubjectKind.ACTIVATION))
        }
        return sorted(range(len(keys)), key=lambda i: seen.get((keys[i].name, keys[i].call, keys[i].leaf), len(seen)))
    return list(range(len(keys)))


def leaf_of(key: SubjectKey) -> str:
    """By what the subjects of a kind can be told apart: the leaf; of a buffer its name in its layer ("running_mean")."""
    return key.name.rpartition(".")[2] if key.kind is SubjectKind.BUFFER else key.leaf


def rows_of_selection(keys: list[SubjectKey], selection: Selection) -> list[int]:
    """The rows that show what is selected, across kinds: a layer's parameters or buffers, a parameter's
    or buffer's layer."""
    if selection.name is None or not keys:
        return []
    exact = [
        i
        for i, key in enumerate(keys)
        if (key.name, key.call, key.leaf) == (selection.name, selection.call, selection.leaf)
    ]
    if exact:
        return exact
    same_name = [i for i, key in enumerate(keys) if key.name == selection.name]
    if same_name:
        return same_name
    if keys[0].kind not in LAYER_KINDS:
        own = [i for i, key in enumerate(keys) if key.name.rpartition(".")[0] == selection.name]
        return own or [i for i, key in enumerate(keys) if key.name.startswith(selection.name + ".")]
    if selection.kind not in LAYER_KINDS:
        owner = selection.name.rpartition(".")[0]
        return [i for i, key in enumerate(keys) if key.name == owner]
    return []


def with_siblings(keys: list[SubjectKey], rows: list[int], *, at_most: int) -> list[int]:
    """The rows, their neighbours below the same parent, then the nearest of the same last name.

    Without any rows, some spread evenly.
    """
    if not keys:
        return []
    if not rows:
        count = min(at_most, len(keys))
        return sorted({round(i * (len(keys) - 1) / max(1, count - 1)) for i in range(count)})
    chosen = rows[:at_most]
    parent, _, last = keys[chosen[0]].name.rpartition(".")

    def kinship(row: int) -> int:
        other_parent, _, other_last = keys[row].name.rpartition(".")
        return 0 if other_parent == parent else 1 if other_last == last else 2

    others = [row for row in range(len(keys)) if row not in chosen and kinship(row) < 2]
    others.sort(key=lambda row: (kinship(row), abs(row - chosen[0])))
    return chosen + sorted(others[: at_most - len(chosen)])
