"""The tree of layers: which of its nodes a filter keeps, and where they stand then."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gradscope.protocol.messages import ModuleInfo
from gradscope.state.tree import Node, build_tree
from tests.session_info import session_info

NAMES = st.sets(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(".".join), max_size=25)


def _is_kept(node: Node, wanted: set[str]) -> bool:
    return node.name in wanted or any(_is_kept(below, wanted) for below in node.children)


@given(NAMES, st.data())
def test_what_is_wanted_is_kept_with_all_that_lies_above(names: set[str], data: st.DataObject) -> None:
    modules = tuple(ModuleInfo(name=name, type="Linear", description="") for name in ("", *sorted(names)))
    rows = build_tree(session_info(modules=modules)).rows
    wanted = {node.name for node in rows.nodes if data.draw(st.booleans())}
    children, places = rows.kept(np.array([node.name in wanted for node in rows.nodes]))
    for number, node in enumerate(rows.nodes):
        kept = [below.name for below in node.children if _is_kept(below, wanted)]
        assert [rows.nodes[below].name for below in children[number]] == kept
        if not _is_kept(node, wanted):
            assert places[number] == -1
        elif node.parent is not None:
            above = rows.numbers[node.parent.name, False]
            assert children[above][places[number]] == number
    assert (places[0] == 0) == bool(wanted)
