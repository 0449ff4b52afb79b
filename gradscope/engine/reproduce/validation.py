"""The validation, where a scheduler goes by what comes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from gradscope.engine.reproduce.lines import Lines
from gradscope.engine.stepping.stepper import Stepper
from gradscope.protocol.messages import VALIDATION_LOSS

if TYPE_CHECKING:
    from gradscope.engine.reproduce.loop import LoopWriter


def write_validation(out: Lines, stepper: Stepper, loop: LoopWriter) -> None:
    """A function `validate(metric)`: the mean over the validation data, weighted by samples."""
    from gradscope.engine.reproduce.script import write_loader

    recipe = stepper.recipe
    write_loader(out, recipe, recipe.validation, "validation", "validation", seed=0, shuffle=False)
    out.add("")
    with out.below("def validate(metric):"):
        out.add('"""The training is afterwards as it was before."""')
        is_cuda = stepper.device.type == "cuda"
        out.add("states = random.getstate(), np.random.get_state(), torch.get_rng_state()")
        if is_cuda:
            out.add("of_devices = torch.cuda.get_rng_state_all()")
        if isinstance(recipe.model, nn.Module):
            out.add("modes = [(module, module.training) for module in model.modules()]", "model.eval()")
        out.add("total, samples = 0.0, 0")
        with out.below("with torch.no_grad():"), out.below("for batch in validation:"):
            if stepper.device.type != "cpu":
                out.add("batch = moved(batch, device)")
            _write_values(out, stepper, loop)
            out.add(
                "first = next(v for v in torch.utils._pytree.tree_leaves(batch) if torch.is_tensor(v))",
                "size = first.shape[0] if first.dim() else 1",
                "if torch.is_tensor(value):",
                "    value = value.detach().double()",
                "total, samples = total + value * size, samples + size",
            )
        if isinstance(recipe.model, nn.Module):
            with out.below("for module, mode in modes:"):
                out.add("module.training = mode")
        out.add("random.setstate(states[0])", "np.random.set_state(states[1])", "torch.set_rng_state(states[2])")
        if is_cuda:
            out.add("torch.cuda.set_rng_state_all(of_devices)")
        out.add("return float(total) / samples")
    out.add("")


def _write_values(out: Lines, stepper: Stepper, loop: LoopWriter) -> None:
    """`value`: the loss or the metric of one batch."""
    recipe = stepper.recipe
    own = recipe.validation_step is not None
    context = f"with torch.autocast({stepper.device.type!r}, {loop.dtype}):" if loop.dtype else ""
    lines = Lines()
    if own or recipe.training_step is not None:
        first = f"training_steps[{stepper.training.turns[0].name!r}]" if loop.is_several else "training_step"
        lines.add(f"found = {'recipe.validation_step' if own else first}(model, batch)")
        lines.add("loss, output = found if isinstance(found, tuple) else (found, None)")
        lines.add("y = batch[1] if isinstance(batch, (list, tuple)) and len(batch) == 2 else batch")
    else:
        lines.add("x, y = batch", "output = model(x)", "loss = loss_fn(output, y)")
    if context:
        with out.below(context):
            out.add(*lines.text().splitlines())
    else:
        out.add(*lines.text().splitlines())
    out.add(
        f"value = loss if metric == {VALIDATION_LOSS!r} else recipe.metrics[metric](output, y)"
        if recipe.metrics
        else "value = loss"
    )
