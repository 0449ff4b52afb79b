"""Recipes and scripts are told apart by their syntax tree; arguments on one line are parted as a shell would."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradscope.protocol.failure import BadInput
from gradscope.protocol.scripts import MAX_ARGUMENTS, Script, ScriptKind
from gradscope.script_kind import (
    MAX_ARGUMENT,
    file_of,
    is_recipe,
    is_script,
    join_arguments,
    script_of,
    split_arguments,
)

RECIPES = {
    "function": "def recipe():\n    return 1\n",
    "decorated": "@cached\ndef recipe(): ...\n",
    "async": "async def recipe(): ...\n",
    "class": "class recipe: ...\n",
    "assigned": "recipe = make_recipe\n",
    "made": "recipe = make(lr=0.1)\n",
    "lambda": "recipe = lambda: 1\n",
    "annotated": "recipe: Callable[[], Recipe] = make\n",
    "one of several": "other = recipe = make\n",
    "unpacked": "a, recipe = make()\n",
    "unpacked one by one": "a, recipe = 1, make\n",
    "imported": "from mine import recipe\n",
    "imported as": "from mine import small as recipe\n",
    "in if": "if fast:\n    def recipe(): ...\n",
    "in else": "if fast:\n    pass\nelif slow:\n    pass\nelse:\n    def recipe(): ...\n",
    "in else of main": "if __name__ == '__main__':\n    pass\nelse:\n    from mine import recipe\n",
    "in try": "try:\n    from mine import recipe\nexcept ImportError:\n    pass\n",
    "in except": "try:\n    import mine\nexcept ImportError:\n    def recipe(): ...\n",
    "in finally": "try:\n    pass\nfinally:\n    def recipe(): ...\n",
    "in with": "with quiet():\n    if fast:\n        def recipe(): ...\n",
    "in except*": "try:\n    pass\nexcept* ValueError:\n    def recipe(): ...\n",
    "with a main of its own": "def recipe(): ...\nif __name__ == '__main__':\n    recipe()\n",
    "defined twice": "recipe = {}\ndef recipe(): ...\n",
    "does not compile": "x = (\ndef recipe():\n    return\n",
    "zero bytes": "\0\ndef recipe(): ...\n",
    "tabs and carriage returns": "import torch\r\ndef recipe():\r\n\treturn 1\r\n",
    "byte order mark": "\ufeffdef recipe(): ...\n",
}
SCRIPTS = {
    "empty": "",
    "comment": "# def recipe():\n",
    "text": 'HELP = """\ndef recipe(): ...\n"""\n',
    "other names": "def recipe_of(): ...\ndef my_recipe(): ...\nrecipes = make()\n",
    "method": "class A:\n    def recipe(self): ...\n",
    "inner": "def main():\n    def recipe(): ...\n    recipe = make()\n",
    "loop": "for recipe in recipes():\n    train(recipe)\n",
    "only for Python": "if __name__ == '__main__':\n    recipe = parse()\n    train(recipe)\n",
    "the other way round": "if '__main__' == __name__:\n    recipe = parse()\n",
    "for a type checker": "if TYPE_CHECKING:\n    from mine import recipe\n",
    "for typing": "if typing.TYPE_CHECKING:\n    from mine import recipe\n",
    "module": "import recipe\n",
    "module as": "import configs.small as recipe\n",
    "path": "recipe = 'configs/small.yaml'\n",
    "settings": "recipe = {'lr': 0.1}\n",
    "list": "recipe: list = [1, 2]\n",
    "nothing": "recipe = None\n",
    "unpacked literal": "recipe, lr = 'a', make()\n",
    "annotation alone": "recipe: Recipe\n",
    "attribute": "config.recipe = make()\nconfig['recipe'] = make()\n",
    "used": "recipe()\ndel recipe\n",
    "does not compile": "x = (\n    def recipe():\n",
    "another does not compile": "def recipes(:\n",
    "zero bytes": "\0\0",
    "an odd escape": "pattern = '\\d'\n",
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes(tmp_path: Path, name: str) -> None:
    file = tmp_path / "file.py"
    file.write_bytes(RECIPES[name].encode())
    assert is_recipe(file) and not is_script(file)


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts(tmp_path: Path, name: str) -> None:
    file = tmp_path / "file.py"
    file.write_bytes(SCRIPTS[name].encode())
    assert is_script(file) and not is_recipe(file)


def test_other_encodings(tmp_path: Path) -> None:
    file = tmp_path / "file.py"
    file.write_bytes("# -*- coding: latin-1 -*-\nnote = 'é'\ndef recipe(): ...\n".encode("latin-1"))
    assert is_recipe(file)
    file.write_bytes("note = 'é'\ntrain()\n".encode("latin-1"))
    assert is_script(file), "Python says itself what is wrong with it"


def test_very_deep_source_is_no_crash(tmp_path: Path) -> None:
    file = tmp_path / "file.py"
    file.write_text("x = " + "(" * 5000 + ")" * 5000)
    assert is_script(file)
    file.write_text("x = " + "-" * 20_000 + "1\ndef recipe(): ...\n")
    assert is_recipe(file)


def test_the_samples_are_recipes_and_what_helps_them_is_none() -> None:
    samples = Path(__file__).parents[1] / "sample_models"
    names = {path.stem for path in samples.glob("*.py") if not is_recipe(path)}
    assert names == {"digits_data", "sonnets_data"}


def test_kinds_of_files(tmp_path: Path) -> None:
    def written(name: str, data: bytes = b"train()\n") -> Path:
        file = tmp_path / name
        file.write_bytes(data)
        return file

    assert is_script(written("train.py")) and is_script(written("TRAIN.PY")) and is_script(written("train"))
    assert is_script(written("a.ipynb", b"{}")) and not is_recipe(written("b.ipynb", b"recipe = make\n"))
    assert not is_script(written("shot.zip")) and not is_script(written("shot", b"PK\x03\x04..."))
    assert not is_script(written("notes.txt")) and not is_script(tmp_path) and not is_script(tmp_path / "gone.py")
    folder = tmp_path / "folder.py"
    folder.mkdir()
    assert not is_script(folder)
    with pytest.raises(OSError, match="gone"):
        is_recipe(tmp_path / "gone.py")


# ----------------------------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("line", "arguments"),
    [
        ("", ()),
        ("   ", ()),
        ("--lr 0.1", ("--lr", "0.1")),
        ("--name 'first try'  \"a b\"", ("--name", "first try", "a b")),
        ("''", ("",)),
        ("a=#b # c", ("a=#b", "#", "c")),
        (r"a\ b", ("a b",)),
        ("--json '{\"a\": [1, 2]}'", ("--json", '{"a": [1, 2]}')),
        ("(a) a;b a|b > <", ("(a)", "a;b", "a|b", ">", "<")),
        ("é 漢字", ("é", "漢字")),
    ],
)
def test_arguments_are_parted(line: str, arguments: tuple[str, ...]) -> None:
    assert split_arguments(line) == arguments
    assert split_arguments(join_arguments(arguments)) == arguments


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--name 'first", "A quote is not closed: expected another '"),
        ("--name \"it's", 'A quote is not closed: expected another "'),
        ("it's", "A quote is not closed: expected another '"),
        ("a\\", "Nothing follows the \\ at the end"),
    ],
)
def test_what_is_not_closed_is_told(line: str, sentence: str) -> None:
    with pytest.raises(BadInput) as told:
        split_arguments(line)
    assert str(told.value) == sentence


def test_the_script_of_a_file_a_notebook_and_a_module() -> None:
    assert script_of("train.py", ["-x"], folder="/w") == Script(
        kind=ScriptKind.FILE, name="train.py", arguments=("-x",), folder="/w"
    )
    assert script_of("a/b.IPYNB", folder="/w").kind is ScriptKind.NOTEBOOK
    module = script_of("pkg.train", folder="/w", is_module=True)
    assert module.kind is ScriptKind.MODULE and file_of(module) is None
    assert file_of(script_of("../train.py", folder="/w/here")) == Path("/w/train.py")
    assert file_of(script_of("/v/train.py", folder="/w/here")) == Path("/v/train.py")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["a"] * (MAX_ARGUMENTS + 1), "There are 10001 arguments"),
        (["a", "b" * (MAX_ARGUMENT + 1)], "Argument 2 has 10001 characters"),
        (["a\0b"], "Argument 1 has a zero byte"),
    ],
)
def test_arguments_that_nobody_can_be_given(arguments: list[str], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        script_of("train.py", arguments, folder="/w")
