"""A plain PyTorch script that comes to where a session stands, without gradscope, and prints the same loss."""

from __future__ import annotations

import ast
import hashlib
import sys
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from gradscope.engine.edits.journal import Journal, Place
from gradscope.engine.model.compiled import compiled_functions
from gradscope.engine.recipe.fields import Source
from gradscope.engine.recipe.recipe import Recipe
from gradscope.engine.reproduce.deeds import DeedLines
from gradscope.engine.reproduce.lines import Lines
from gradscope.engine.reproduce.loop import LoopWriter
from gradscope.engine.reproduce.settings import settings_of
from gradscope.engine.reproduce.validation import write_validation
from gradscope.engine.stepping.stepper import Stepper
from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages.edits import EditDropout, EditFile, EditMembership, EditMode, EditRequiresGrad
from gradscope.protocol.phases import INSIDE, Rest

_CANNOT = "A script cannot come here"
_KNOWN_OF_US = frozenset({"Recipe", "finding"})
"""What the stand-in for gradscope can have."""
_OF_LAYERS = (EditDropout, EditMembership, EditMode, EditRequiresGrad)


def write_script(stepper: Stepper, journal: Journal) -> str:
    """The text of the script. Raises BadInput, one sentence, where it cannot be written."""
    if any(isinstance(deed.edit, EditFile) for deed in journal.deeds):
        raise BadInput(f"{_CANNOT}: training has gone on with an edited file, and a script loads one file only")
    source = _checked_source(stepper.recipe)
    until, loss = _checked_place(stepper)
    settings = settings_of(stepper, journal)
    _check_data(stepper)
    is_compiled = _is_compiled(stepper)
    if is_compiled and any(isinstance(deed.edit, _OF_LAYERS) for deed in settings.deeds):
        raise BadInput(f"{_CANNOT}: a layer was edited, and torch.compile has given the layers other names")
    loop = LoopWriter(stepper, settings, DeedLines(stepper, settings), until)
    out = Lines()
    _write_head(out, stepper, source, until, loss)
    _write_recipe(out, stepper, source, is_compiled=is_compiled)
    if not loop.is_exact:
        out.add("END = object()  # Behind the last batch.", "")
    if stepper.device.type != "cpu":
        _write_moved(out)
    out.add("")
    with out.below("def train():"):
        out.add('"""The model, and the newest loss."""')
        _write_parts(out, stepper, loop)
        if loop.needs_closure:
            _write_loss_function(out, loop)
        if loop.metrics:
            write_validation(out, stepper, loop)
        loop.write(out)
    out.add("", "")
    with out.below('if __name__ == "__main__":'):
        out.add("model, loss = train()", "print(repr(loss))")
    return out.text()


# ------------------------------------------------------------------------------------------- what cannot be written


def _checked_source(recipe: Recipe) -> Source:
    source = recipe.source
    if source is None:
        raise BadInput(f"{_CANNOT}: the recipe was made in Python, and is in no file that a script could load")
    try:
        content = source.path.read_bytes()
    except OSError as error:
        raise BadInput(f"{_CANNOT}: {source.path} cannot be read: {error.strerror or error}") from error
    if hashlib.sha256(content).hexdigest() != source.sha256:
        raise BadInput(f"{_CANNOT}: {source.path} was changed since it was loaded; open it again first")
    for node in ast.walk(ast.parse(content)):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        ours = [name for name in modules if name.partition(".")[0] == "gradscope"]
        names = {alias.name for alias in node.names} if isinstance(node, ast.ImportFrom) and ours else set()
        if any("." in name for name in ours) or names - _KNOWN_OF_US:
            what = ", ".join(sorted(names - _KNOWN_OF_US)) or ours[0]
            raise BadInput(f"{_CANNOT} without gradscope: {source.path.name} imports more of it than Recipe ({what})")
    return source


def _checked_place(stepper: Stepper) -> tuple[Place, float]:
    """Where it stands, and the newest loss."""
    position, loop = stepper.position, stepper.loop
    if stepper.is_broken:
        raise BadInput(f"{_CANNOT}: a phase that failed could not be undone")
    if position.rest in INSIDE.values():
        raise BadInput(f"{_CANNOT}: stopped {position.rest.value}; finish that phase first")
    place = Place.of(stepper)
    losses = loop.window.losses
    if position.rest is Rest.READY:
        loss = stepper.book.history[-1].loss if stepper.book.history else None
    elif position.rest is Rest.FORWARD:
        loss = loop.loss
    else:
        loss = losses[-1] if losses else None
    if loss is None:
        raise BadInput("There is no loss yet that a script could print; press Forward first")
    return place, loss


def _check_data(stepper: Stepper) -> None:
    """Every batch was trained on, one after the other: none was lost on the way."""
    history, several = stepper.book.history, len(stepper.training.turns)
    if [record.step for record in history] != list(range(stepper.position.step)):
        raise BadInput(f"{_CANNOT}: the steps before this one are not all known")
    batches = stepper.loop.batches
    if not batches.is_exact or batches.length is None:
        return
    done = 0
    for number, record in enumerate(history):
        done += record.micro_batches if number % several == several - 1 else 0
        last = done - 1 if number % several == several - 1 else done
        if (record.epoch, record.batch) != divmod(last, batches.length):
            raise BadInput(
                f"{_CANNOT}: a batch before step {record.step} was lost, or came again, when it could not be loaded"
            )


def _is_compiled(stepper: Stepper) -> bool:
    recipe = stepper.recipe
    steps = recipe.training_step if isinstance(recipe.training_step, dict) else {"": recipe.training_step}
    return bool(stepper.observer.eager.names or compiled_functions([("loss", recipe.loss), *steps.items()]))


# ------------------------------------------------------------------------------------------- the parts of the script


def _write_head(out: Lines, stepper: Stepper, source: Source, until: Place, loss: float) -> None:
    micro = f" of micro-batch {until.micro + 1}" if stepper.training.accumulate > 1 else ""
    if until.after is None:
        where = f"after {until.step} step{'s' if until.step != 1 else ''}"
    else:
        where = f"in step {until.step}, after the {until.after.value}{micro}"
    out.add(
        f'"""{_in_docstring(source.path.name)} in plain PyTorch, up to where a session of gradscope stood: {where}.',
        "",
        "It prints the loss that the session had, to the last digit, on the same machine with the same versions:",
        f"{loss!r} with torch {torch.__version__}, on {stepper.device}.",
        "",
        "The recipe's file imports its class Recipe from gradscope. A stand-in gives it a plain namespace instead, so that",
        "the file is loaded as it is, and gradscope need not be installed.",
        '"""',
        "",
    )


def _in_docstring(text: str) -> str:
    return ascii(text)[1:-1].replace('"', "'")


def _write_recipe(out: Lines, stepper: Stepper, source: Source, *, is_compiled: bool) -> None:
    folder = str(source.path.parent)
    for module in ("hashlib", "importlib.util", "pathlib", "random", "sys", "types"):
        out.add(f"import {module}")
    out.add("", "import numpy as np", "import torch", "")
    out.add(f"FILE = pathlib.Path({str(source.path)!r})")
    with out.below(f"if hashlib.sha256(FILE.read_bytes()).hexdigest() != {source.sha256!r}:"):
        out.add('sys.exit(f"{FILE} is not the file any more that was trained with")')
    out.add("", 'stand_in = types.ModuleType("gradscope")', "stand_in.Recipe = types.SimpleNamespace")
    if stepper.recipe.rules:
        out.add("stand_in.finding = lambda **rule: lambda function: function")
    out.add('sys.modules["gradscope"] = stand_in', "")
    out.add(f"torch.set_num_threads({torch.get_num_threads()})  # The last digits may depend on it.")
    if is_compiled:
        out.add('torch.compiler.set_stance("force_eager")  # As the session ran it.')
    if source.seed is not None:
        out.add(*(f"{function}({source.seed})" for function in ("random.seed", "np.random.seed", "torch.manual_seed")))
    name = source.path.stem
    name = name if name.isidentifier() and name not in sys.stdlib_module_names else "recipe_file"
    out.add(
        f"sys.path.insert(0, {folder!r})",
        f'spec = importlib.util.spec_from_file_location("{name}", FILE)',
        "module = importlib.util.module_from_spec(spec)",
        f'sys.modules["{name}"] = module',
        "spec.loader.exec_module(module)",
        "recipe = module.recipe()",
        "",
    )


def _write_parts(out: Lines, stepper: Stepper, loop: LoopWriter) -> None:
    """The objects of the recipe, by the names that the loop has for them."""
    recipe = stepper.recipe
    out.add("model = recipe.model")
    if loop.is_several:
        out.add("optimizers = dict(recipe.optimizer)")
        if loop.has_schedulers:
            out.add("schedulers = dict(recipe.scheduler)" if recipe.scheduler is not None else "schedulers = {}")
    else:
        out.add("optimizer = recipe.optimizer")
        if loop.has_schedulers:
            out.add("scheduler = recipe.scheduler" if recipe.scheduler is not None else "scheduler = None")
    if recipe.training_step is None:
        out.add("loss_fn = recipe.loss")
    else:
        is_each = isinstance(recipe.training_step, dict)
        out.add(f"training_step{'s' if is_each else ''} = recipe.training_step")
    if stepper.device.type != "cpu":
        _write_move(out, stepper)
    if isinstance(recipe.model, nn.Module):
        out.add("model.train()")
    write_loader(out, recipe, recipe.dataset, "loader", "dataset", seed=stepper.seed, shuffle=recipe.shuffle)


def write_loader(out: Lines, recipe: Recipe, dataset: Any, name: str, field: str, *, seed: int, shuffle: bool) -> None:
    """The loader of a dataset, as the contract makes it."""
    if isinstance(dataset, DataLoader):
        out.add(f"{name} = recipe.{field}")
        return
    data, order = f"recipe.{field}", f", shuffle={shuffle}"
    if isinstance(dataset, IterableDataset):
        order = ""
    elif not hasattr(dataset, "__getitem__"):
        order, data = "", f"Samples(recipe.{field})"
        with out.below("class Samples(torch.utils.data.IterableDataset):"):
            with out.below("def __init__(self, samples):"):
                out.add("self.samples = samples")
            with out.below("def __iter__(self):"):
                out.add("return iter(self.samples)")
    collate = ", collate_fn=recipe.collate" if recipe.collate is not None else ""
    out.add(
        f"{name} = torch.utils.data.DataLoader(",
        f"    {data}, {recipe.batch_size}{order}{collate}, generator=torch.Generator().manual_seed({seed})",
        ")",
    )


def _write_move(out: Lines, stepper: Stepper) -> None:
    device = repr(str(stepper.device))
    if isinstance(stepper.recipe.model, nn.Module):
        out.add(f"model.to({device})")
    else:
        with out.below("for tensor in model.values():"):
            out.add(f"tensor.data = tensor.data.to({device})")
    each = "optimizers.values()" if len(stepper.training.turns) > 1 else "[optimizer]"
    with out.below(f"for one in {each}:"), out.below("for parameter, state in one.state.items():"):
        out.add(f"state.update({{k: v.to({device}) for k, v in state.items() if torch.is_tensor(v) and k != 'step'}})")
    if isinstance(stepper.recipe.loss, nn.Module):
        out.add(f"loss_fn.to({device})")
    out.add(f"device = {device}")


def _write_moved(out: Lines) -> None:
    with out.below("def moved(value, device):"):
        out.add('"""A batch with its tensors on the device."""')
        out.add("return torch.utils._pytree.tree_map(lambda v: v.to(device) if hasattr(v, 'to') else v, value)")
    out.add("")


def _write_loss_function(out: Lines, loop: LoopWriter) -> None:
    out.add("")
    with out.below("def loss_of(batch):"):
        loop.write_loss(out, "batch")
        out.add("return loss")
    out.add("")
