"""Why something could not be seen, in the words that reports, JSON lines and the app share."""

from __future__ import annotations

COMPILED = "compiled"
"""The kind of an absence that is no subject: the compiled form of a layer, which ran eagerly instead."""
RUN_EAGERLY = (
    "compiled by torch.compile: here it runs eagerly, so that its layers can be seen; compiled code is faster, and may "
    "round differently"
)

NEVER_CALLED = (
    "never called in this forward: not used, or used without a call (through .forward, inside a compiled function, or by "
    "its parent, which takes its parameters), which no hook sees"
)
USED_WITHOUT_CALL = (
    "used without a call, so its output was not seen: a gradient has reached its parameters, so it ran through .forward or "
    "inside a compiled function, or something else computed with its parameters"
)
NOT_USED = "never called in this forward, and no gradient has reached its parameters: not used, as far as can be seen"
OTHER_MODEL = "not called in this forward: the script calls another of its models there"
LAYERS_CALLED = (
    "not called itself, although layers inside it were (one by one, or through its .forward or another method), so its own "
    "output was not seen"
)
HAS_NO_FORWARD = "it has no forward: it cannot be called, what uses it takes its parameters"
NEW_LAYER = "it came into the model during this forward: it is seen from the next one on"
COMPILED_IN_SCRIPT = "compiled by torch.compile: a script's stay compiled, and only their outermost calls are seen"
COMPILED_SINCE = (
    "compiled by torch.compile since the session began: if it ran, it ran compiled, which no hook sees; from the next "
    "forward on it runs eagerly"
)
RAISED = "it was entered and not left (its forward raised an error, and the model went on): there is no output"
NO_TENSOR = "its output holds no tensor"
FUSED = (
    "torch may run this encoder layer (eval mode, no gradient) as one fused kernel, which hooks inside would switch off: its "
    "layers are not looked into"
)

NO_GRADIENT = "no gradient reached it"
OTHERS_TURN = "no gradient reached it in this turn: it belongs to another optimizer, whose turn comes by itself"
LEFT_OVER = "no gradient reached it in this turn (its .grad is of another optimizer's)"
NO_GRADIENT_OF_VIEW = (
    "no gradient reached it: it is a view, and the model used the tensor behind it, or changed that in place, or nothing "
    "used it"
)
INNER_GRADIENT = (
    "no gradient of the loss reached it in this backward; one was taken inside the forward, which is not the loss's"
)
SEEN_LATE = (
    "not known: that torch.autograd.grad is the backward here was seen only by the step that followed, and the script has "
    "not kept this gradient; from the next one on it is looked at as it comes"
)
WHICH_CALL = "a checkpoint ran it again, and it was called more than once: which call this is cannot be known"
FROZEN = "frozen (requires_grad is False)"
NOT_DIFFERENTIABLE = "whole numbers and truth values have no gradient"
WITHOUT_GRAPH = "it was computed under no_grad or in inference mode: there is no gradient"
NEEDS_NO_GRADIENT = (
    "it has no graph behind it (it was detached, computed under no_grad, or depends on nothing that requires a gradient): "
    "there is no gradient"
)

REPLACED = "another tensor, or one of another form, took its place in this step: there is nothing to compare it with"

IN_SCRIPT = "which is TorchScript: it runs without Python, and hooks in it do not"


def scripted(outer: str) -> str:
    """Why a module inside a scripted one cannot be seen."""
    return f"inside {outer or 'the model'}, {IN_SCRIPT}"
