"""What the entries of torch's optimizer states are, in words. The names are those of `optimizer.state[parameter]`."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication

from gradscope.ui.words.translation import QT_TRANSLATE_NOOP

_CONTEXT = "OptimizerStates"
_MEANINGS = {
    "exp_avg": QT_TRANSLATE_NOOP("OptimizerStates", "Running mean of the gradients"),
    "exp_avg_sq": QT_TRANSLATE_NOOP("OptimizerStates", "Running mean of the squared gradients"),
    "max_exp_avg_sq": QT_TRANSLATE_NOOP("OptimizerStates", "Largest running mean of the squared gradients so far"),
    "exp_inf": QT_TRANSLATE_NOOP("OptimizerStates", "Running maximum of the gradients' magnitudes"),
    "momentum_buffer": QT_TRANSLATE_NOOP("OptimizerStates", "Momentum: decaying sum of the directions so far"),
    "square_avg": QT_TRANSLATE_NOOP("OptimizerStates", "Running mean of the squared gradients"),
    "grad_avg": QT_TRANSLATE_NOOP("OptimizerStates", "Running mean of the gradients"),
    "acc_delta": QT_TRANSLATE_NOOP("OptimizerStates", "Running mean of the squared changes"),
    "sum": QT_TRANSLATE_NOOP("OptimizerStates", "Sum of the squared gradients so far"),
    "ax": QT_TRANSLATE_NOOP("OptimizerStates", "Average of the parameter over the steps"),
    "prev": QT_TRANSLATE_NOOP("OptimizerStates", "Gradient of the step before"),
    "step_size": QT_TRANSLATE_NOOP("OptimizerStates", "Step size of each element"),
    "row_var": QT_TRANSLATE_NOOP("OptimizerStates", "Running mean of the squared gradients of each row"),
    "col_var": QT_TRANSLATE_NOOP("OptimizerStates", "Running mean of the squared gradients of each column"),
    "variance": QT_TRANSLATE_NOOP("OptimizerStates", "Running mean of the squared gradients"),
    "d": QT_TRANSLATE_NOOP("OptimizerStates", "Direction of the newest step"),
    "prev_flat_grad": QT_TRANSLATE_NOOP("OptimizerStates", "Gradient of the step before, of all parameters in a row"),
}


def name_of(leaf: str) -> str:
    """ ".exp_avg" is shown as "exp_avg"."""
    return leaf.removeprefix(".")


def meaning_of(leaf: str) -> str:
    """A short phrase; "" for an entry that is not known."""
    found = _MEANINGS.get(name_of(leaf))
    return "" if found is None else QCoreApplication.translate(_CONTEXT, found)
