"""What is unfolded and selected in the Layers panel is remembered for each recipe, within bounds."""

from collections.abc import Callable

import pytest
from PySide6.QtCore import QModelIndex
from pytestqt.qtbot import QtBot

from gradscope.state.selection import Selection
from gradscope.ui.docks.layers import LayersDock
from gradscope.ui.docks.tree_memory import MAX_CHARACTERS, MAX_NAMES, MAX_RECIPES, TreeMemory, TreeShape
from gradscope.ui.look.settings import Setting
from gradscope.ui.look.theme import ThemeManager
from tests.ui.fakes import bare_training, deep_training, small_training
from tests.ui.shell_fakes import ShellController

MakeDock = Callable[[], LayersDock]


@pytest.fixture
def make_dock(qtbot: QtBot, controller: ShellController, themes: ThemeManager) -> MakeDock:
    def make() -> LayersDock:
        dock = LayersDock(controller, themes)  # type: ignore[arg-type]
        qtbot.addWidget(dock)
        dock.show()
        return dock

    return make


def place(dock: LayersDock, name: str) -> QModelIndex:
    return dock.model.index_of(name, is_parameter=False)


def test_each_recipe_comes_back_as_it_was_left(make_dock: MakeDock, controller: ShellController) -> None:
    dock = make_dock()
    controller.start(small_training())
    assert dock.view.isExpanded(place(dock, "net.0"))
    dock.view.collapse(place(dock, "net.0"))
    controller.select(Selection.of_node("net.2.weight", is_parameter=True))
    controller.flush()
    controller.start(bare_training())
    assert controller.state.selection.name is None
    controller.start(small_training())
    assert not dock.view.isExpanded(place(dock, "net.0"))
    assert dock.view.isExpanded(place(dock, "net.2"))
    assert controller.state.selection == Selection.of_node("net.2.weight", is_parameter=True)
    controller.flush()
    node = dock.model.node(dock.view.currentIndex())
    assert node is not None and node.name == "net.2.weight"


def test_opening_the_same_again_leaves_the_tree_as_it_is(make_dock: MakeDock, controller: ShellController) -> None:
    dock = make_dock()
    controller.start(small_training())
    dock.view.collapse(place(dock, "net.2"))
    controller.start(small_training())
    assert not dock.view.isExpanded(place(dock, "net.2"))
    assert dock.view.isExpanded(place(dock, "net.0"))


def test_it_outlives_the_app(make_dock: MakeDock, controller: ShellController) -> None:
    first = make_dock()
    controller.start(small_training())
    first.view.collapse(place(first, "net.0"))
    first.remember()
    second = make_dock()
    assert not second.view.isExpanded(place(second, "net.0"))


def test_what_a_filter_unfolds_is_not_remembered(make_dock: MakeDock, controller: ShellController) -> None:
    dock = make_dock()
    controller.start(small_training())
    dock.view.collapse(place(dock, "net.0"))
    dock.filter.setText("weight")
    assert dock.view.isExpanded(place(dock, "net.0"))
    controller.start(small_training())
    assert not dock.view.isExpanded(place(dock, "net.0"))


def test_a_layer_that_is_gone_is_not_selected(make_dock: MakeDock, controller: ShellController) -> None:
    dock = make_dock()
    TreeMemory(controller.settings).remember(
        "/made/up/Small.py", TreeShape(unfolded=frozenset({"", "gone", "net.0"}), selected="gone")
    )
    controller.start(small_training())
    assert controller.state.selection.name is None
    assert dock.view.isExpanded(place(dock, "net.0"))
    assert not dock.view.isExpanded(place(dock, "net.2"))


def test_a_model_with_very_many_layers_unfolded_opens_as_at_first(
    make_dock: MakeDock, controller: ShellController
) -> None:
    dock = make_dock()
    controller.start(deep_training())
    name = controller.state.session.modules[-1].name  # type: ignore[union-attr]
    dock.view.expandAll()
    controller.select(Selection.of_node(name, is_parameter=False))
    controller.flush()
    dock.remember()
    shape = TreeMemory(controller.settings).recall(controller.state.session.path)  # type: ignore[union-attr]
    assert shape == TreeShape(unfolded=None, selected=name)
    assert len(controller.settings.get(Setting.TREES)) < 1000


def test_the_memory_is_bounded(controller: ShellController) -> None:
    memory = TreeMemory(controller.settings)
    names = frozenset(f"layer{i}" for i in range(MAX_NAMES))
    for i in range(3 * MAX_RECIPES):
        memory.remember(f"/{i}.py", TreeShape(unfolded=names))
        memory.remember("/always.py", TreeShape(selected="x"))
    memory.remember("/" + "x" * MAX_CHARACTERS, TreeShape())
    memory.remember("/long.py", TreeShape(unfolded=frozenset({"x" * 1000}), selected="y" * 1000))
    assert memory.recall("/0.py") is None
    assert memory.recall(f"/{3 * MAX_RECIPES - 1}.py") == TreeShape(unfolded=names)
    assert memory.recall("/always.py") == TreeShape(selected="x")
    assert memory.recall("/long.py") == TreeShape()
    assert memory.recall("/" + "x" * MAX_CHARACTERS) is None


@pytest.mark.parametrize(
    "stored", ["nonsense", "[1]", '{"/a.py": 3}', '{"/a.py": {"unfolded": [1], "selected": 2}}', "[" * 100_000]
)
def test_a_damaged_memory_is_an_empty_one(controller: ShellController, stored: str) -> None:
    controller.settings.set(Setting.TREES, stored)
    memory = TreeMemory(controller.settings)
    assert memory.recall("/a.py") in (None, TreeShape())
    memory.remember("/a.py", TreeShape(selected="x"))
    assert memory.recall("/a.py") == TreeShape(selected="x")
