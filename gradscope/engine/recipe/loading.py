"""Loading a recipe file: seeded, imported under a name of its own, checked; everything put back if it fails."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from gradscope.engine.recipe.code import put_modules
from gradscope.engine.recipe.fields import Source
from gradscope.engine.recipe.own_rules import OwnRule, collected
from gradscope.engine.recipe.recipe import Recipe
from gradscope.engine.surroundings.blame import carried_failure
from gradscope.engine.surroundings.error_parts import is_text, place_of_syntax_error, safely
from gradscope.engine.surroundings.randomness import MAX_SEED, RandomStates, seed_everything
from gradscope.engine.surroundings.torch_settings import TorchSettings
from gradscope.engine.surroundings.unwinding import is_interruption
from gradscope.engine.surroundings.usercode import LIBRARIES, cut_traceback, describe_error, last_user_line
from gradscope.engine.wording import with_article
from gradscope.protocol.failure import BadInput

_OWN_NAME = "gradscope_recipe_"
"""How a module's name begins where a file could not be imported under its own."""
_FOLDERS: dict[Path, frozenset[str]] = {}
"""That recipes have been loaded from, with the names of those of their modules that were there before."""


def load_recipe(path: str | os.PathLike[str], seed: int = 0) -> Recipe:
    """Seed the generators, import the file and call its `recipe()`.

    While the file is loaded, its folder is first on `sys.path`, so that modules beside it can be imported; they are
    imported anew each time. The folder stays on the path (the model may import later), the random states stay as
    `recipe()` left them.

    Raises BadInput with one sentence, and the user's own traceback lines, if the file cannot be read, does not compile,
    raises, has no `recipe()`, or if `recipe()` raises or returns something else than a Recipe. Then random states,
    `sys.path` and `sys.modules` are as before.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
        raise BadInput(f"The seed is {seed!r}; expected a whole number from 0 to {MAX_SEED}")
    file, content = _read(path, "a recipe file (Python)", "a recipe is a .py file with a function recipe()")
    with _undone_on_failure(file.parent), collected() as rules:
        seed_everything(seed)
        module = _import(file)
        found = _call(module, Source(path=file, sha256=hashlib.sha256(content).hexdigest(), seed=seed))
        return replace(found, rules=tuple(rules.values()))


@dataclass(frozen=True)
class LoadedAgain:
    """A recipe that was loaded beside one that is in use."""

    recipe: Recipe
    modules: dict[str, ModuleType]
    """The user's own that were imported for it, by name."""
    sets_torch: bool
    """It has set something for the whole process that was set otherwise."""

    @contextmanager
    def imported(self) -> Iterator[None]:
        """Inside, its modules are the ones that are found by their names: so is seen whose its classes are."""
        before = {name: sys.modules.get(name) for name in self.modules}
        sys.modules.update(self.modules)
        try:
            yield
        finally:
            put_modules(before)


def load_again(path: Path, seed: int) -> LoadedAgain:
    """As `load_recipe`, while another recipe is in use, perhaps of the same file: random states, torch's settings, `sys.path`
    and `sys.modules` are as before. Raises as `load_recipe` does."""
    states, settings = RandomStates.capture(), TorchSettings.capture()
    before, entries = dict(sys.modules), list(sys.path)
    try:
        recipe = load_recipe(path, seed)
        modules = {
            name: module
            for name, module in sys.modules.items()
            if before.get(name) is not module and _is_users(name, module, path.parent)
        }
        return LoadedAgain(recipe, modules, sets_torch=TorchSettings.capture() != settings)
    finally:
        _forget_imported(before, path.parent)
        sys.path[:] = entries
        settings.restore()
        states.restore()


def load_rules(path: str | os.PathLike[str]) -> tuple[OwnRule, ...]:
    """Import a file, and return what it declares with `@gradscope.finding`. Random states are as before.

    Raises BadInput as `load_recipe` does, and where there is no rule in it.
    """
    file, _ = _read(path, "a Python file with rules", "rules are functions with @gradscope.finding in a .py file")
    states = RandomStates.capture()
    with _undone_on_failure(file.parent), collected() as rules:
        _import(file)
        if not rules:
            raise BadInput(f"{file.name} declares no rule; expected a function with @gradscope.finding(...)")
    states.restore()
    return tuple(rules.values())


def _read(path: str | os.PathLike[str], expected: str, what_it_is: str) -> tuple[Path, bytes]:
    """The whole path of a Python file, and what is in it. Raises BadInput."""
    try:
        file = Path(path).expanduser().resolve()
        exists, is_folder = file.exists(), file.is_dir()
    except (OSError, ValueError, RuntimeError) as error:
        # Too long a name, a folder that must not be read, no such user ...
        raise BadInput(f"{path!s:.300} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not exists:
        raise BadInput(f"{file} does not exist; expected {expected}")
    if is_folder:
        raise BadInput(f"{file} is a folder; expected {expected}")
    if file.suffix != ".py":
        raise BadInput(f"{file.name} is no Python file; {what_it_is}")
    try:
        return file, file.read_bytes()
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror or error}") from error


def _import(file: Path) -> ModuleType:
    name = _module_name(file)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # dataclasses, pickle and DataLoader workers look a class's module up by name.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        if is_interruption(error):
            raise
        place = place_of_syntax_error(error)
        if place is None:
            what_failed = f"{file.name} failed while it was imported"
        else:
            what_failed = f"{Path(place[0]).name or file.name} cannot be compiled"
        raise BadInput(f"{what_failed}: {describe_error(error)}", traceback=cut_traceback(error)) from error
    return module


def _module_name(file: Path) -> str:
    """The file's own name where importing that finds this file: so do DataLoader workers that are spawned, not forked."""
    stem = file.stem
    if stem.isidentifier() and stem not in sys.modules:
        try:
            spec = importlib.util.find_spec(stem)
        except (ImportError, ValueError):
            spec = None
        if spec is not None and spec.origin is not None and Path(spec.origin).resolve() == file:
            return stem
    return _OWN_NAME + re.sub(r"\W", "_", stem)


def _call(module: ModuleType, source: Source) -> Recipe:
    file = source.path
    try:
        found = _made(module, file)
        return replace(found, name=found.name or file.stem, source=source)
    except BaseException as error:
        said = carried_failure(error)
        if is_interruption(error) or (said is not None and last_user_line(error) is None):
            raise
        if said is None:
            sentence = f"recipe() in {file.name} failed: {describe_error(error)}"
        else:
            # Of Recipe(...), which stands in their file.
            sentence = f"{file.name}: {said.sentence}"
        raise BadInput(sentence, traceback=cut_traceback(error)) from error


def _made(module: ModuleType, file: Path) -> Recipe:
    function = getattr(module, "recipe", None)
    if function is None:
        raise BadInput(f"{file.name} has no function recipe(); expected one that returns gradscope.Recipe(...)")
    if not callable(function):
        kind = with_article(type(function).__name__)
        raise BadInput(f"recipe in {file.name} is {kind}; expected a function without arguments")
    found = function()
    if not isinstance(found, Recipe):
        raise BadInput(
            f"recipe() in {file.name} returned {with_article(type(found).__name__)}; expected a gradscope.Recipe"
        )
    return found


@contextmanager
def _undone_on_failure(folder: Path) -> Iterator[None]:
    """Import from `folder` with its modules forgotten first, and those of folders before: their names may be those of others
    here. Put everything back if the block raises."""
    states = RandomStates.capture()
    path, modules = list(sys.path), dict(sys.modules)
    sys.path[:] = [str(folder), *(entry for entry in sys.path if entry != str(folder))]
    for name, module in modules.items():
        others = (other for other, before in _FOLDERS.items() if name not in before)
        if any(_is_beside(name, module, known) for known in (folder, *others)):
            del sys.modules[name]
    own = (name for name, module in modules.items() if _is_beside(name, module, folder))
    _FOLDERS.setdefault(folder, frozenset(own))
    # Python's cache misses an edit within the second that leaves the length as it was.
    writes_no_cache, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    except BaseException:
        states.restore()
        sys.path[:] = path
        _forget_imported(modules, folder)
        raise
    finally:
        sys.dont_write_bytecode = writes_no_cache


def _forget_imported(before: Mapping[str, ModuleType], folder: Path) -> None:
    """`sys.modules` as it was `before`; what a recipe in `folder` has imported of libraries since may stay."""
    for name in sys.modules.keys() - before.keys():
        if _is_users(name, sys.modules[name], folder):
            del sys.modules[name]
    sys.modules.update(before)


def _is_users(name: str, module: ModuleType, folder: Path) -> bool:
    """Of a recipe in that folder: itself, or a module beside it."""
    return str(name).startswith(_OWN_NAME) or _is_beside(name, module, folder)


def _is_beside(name: str, module: ModuleType, folder: Path) -> bool:
    """True for the user's own modules under the recipe's folder (not for an environment that lies inside it, nor for the
    script that loads the recipe)."""
    # What stands in sys.modules may be anything.
    file = safely(lambda: getattr(module, "__file__", None), None)
    if not is_text(file) or not file or not is_text(name):
        return False
    if name.partition(".")[0] in ("gradscope", "__main__", "__mp_main__"):
        return False
    path = Path(file)
    if not path.is_relative_to(folder) or {"site-packages", "dist-packages"} & set(path.parts):
        return False
    # The interpreter itself may live under the folder (a pyenv in the home directory).
    return not any(path.is_relative_to(library) for library in LIBRARIES)
