"""Who is trained: layers that no gradient reaches, layers that no optimizer has, layers that never run."""

from __future__ import annotations

from collections.abc import Iterator

from gradscope.engine.findings.draft import RULES, Draft, Rule
from gradscope.engine.findings.record import WINDOW, ParameterFacts, Record
from gradscope.engine.findings.telling import SOME_STEPS, listed, need_steps, number, place_of, seen, tops
from gradscope.protocol.findings import Evidence, Severity
from gradscope.protocol.phases import Phase

_MEANT = ("no_grad", "detach")
"""What is written to cut a gradient on purpose; `.data`, numpy and functions without a derivative cut it by accident."""
_STUCK = 0.9
"""Of what always saying the same gets: above it, nothing has been learnt."""
_CHECKS = 3
_SEEN_RATE = 1e-5
"""Steps of it are not rounded away, neither Adam's nor those of usual gradients."""
_LONG = 40
"""Steps before nothing learnt is more than a beginning."""


def _without(record: Record) -> list[ParameterFacts]:
    """Trained parameters that no backward has given a gradient."""
    found = [p for p in record.parameters.values() if p.requires_grad and p.is_trained and not p.grads]
    return [p for p in found if p.missing >= SOME_STEPS]


def _whole(record: Record, parameters: list[ParameterFacts]) -> list[str]:
    """The layers all of whose trained parameters are among them."""
    named = {p.name for p in parameters}
    mine: dict[str, list[str]] = {}
    for p in record.parameters.values():
        if p.requires_grad:
            mine.setdefault(p.layer, []).append(p.name)
    return [layer for layer, names in mine.items() if set(names) <= named]


def _not_reached(record: Record) -> Iterator[Draft]:
    need_steps(record, SOME_STEPS)
    without = _without(record)
    cut = [layer for layer in _whole(record, without) if record.layers[layer].calls and layer in record.cuts]
    for top in tops(record, cut):
        inside = [layer for layer in cut if layer == top or layer.startswith(f"{top}.")]
        how = record.cuts[max(inside, key=lambda layer: place_of(record, layer))]
        parameters = [p for p in without if p.layer in inside]
        yield Draft(
            id="not-reached",
            where=top,
            severity=_severity_of_cut(record, how, parameters),
            phase=Phase.BACKWARD,
            near=tuple(layer for layer in inside if layer != top),
            evidence=(
                seen("backwards without a gradient", min(p.missing for p in parameters), 0, "steps"),
                seen("calls", record.layers[inside[-1]].calls),
                seen("cut off by", None, text=f"{how}; what comes of it is used in the forward"),
            ),
            do=f"Look for {_written(how)} behind {top}; if it is to be frozen, say requires_grad_(False).",
            instead="Its output is used: it is no head that the loss leaves out.",
        )


def _all_zero(record: Record) -> Iterator[Draft]:
    """Every gradient of an optimizer's parameters is 0, in each step: none of them ever moves, whatever the rate."""
    need_steps(record, WINDOW)
    for turn in record.optimizers:
        own = [p for p in record.parameters.values() if p.is_trained and p.turn == turn and p.requires_grad and p.grads]
        if not own or any(norm != 0.0 for p in own for _, norm in p.grads) or min(len(p.grads) for p in own) < WINDOW:
            continue
        places = tops(record, list(dict.fromkeys(p.layer for p in own)))
        at_zero = [p.name for p in own if p.start_l2 == 0.0]
        yield Draft(
            id="not-reached",
            where=places[0],
            phase=Phase.BACKWARD,
            near=tuple(places[1:]),
            evidence=(
                seen("steps in which all gradients are exactly 0", max(len(p.grads) for p in own), WINDOW, "steps"),
                seen("parameters that are trained", len(own), None, text=listed((p.name for p in own), 6)),
            ),
            why="All that is trained gets gradients of exactly 0: nothing ever moves.",
            do=f"Start one factor of each product other than 0: {listed(at_zero)} start at 0."
            if len(at_zero) > 1
            else "Look at what the loss is multiplied by (float16 rounds small gradients to 0: use a GradScaler), and at the "
            "last activations and masks before it.",
            instead="No rate, clip or schedule has anything to do with it: the gradients themselves are 0.",
        )


def _gone(record: Record) -> Iterator[Draft]:
    """Backward leaves gradients, and the steps of a rate that would be seen change no weight by a single bit."""
    need_steps(record, WINDOW)
    for turn in record.optimizers:
        own = [p for p in record.parameters.values() if p.is_trained and p.turn == turn and p.requires_grad]
        steps = [step for step in record.steps if step.turn == turn and not step.is_skipped]
        rates = [rate for step in steps for rate in step.rates]
        came = [p for p in own if len(p.grads) >= WINDOW and all(norm > 0 for _, norm in p.grads)]
        stays = all(not norm for p in own for _, norm in p.updates) and all(len(p.updates) >= WINDOW for p in came)
        if not came or not stays or len(steps) < WINDOW or min(rates, default=0.0) < _SEEN_RATE:
            continue
        places = tops(record, list(dict.fromkeys(p.layer for p in came)))
        yield Draft(
            id="not-reached",
            where=places[0],
            phase=Phase.STEP,
            near=tuple(places[1:]),
            evidence=(
                seen("steps that have changed nothing", len(steps), WINDOW, "steps"),
                seen("parameters with a gradient", len(came), None, text=listed((p.name for p in came), 6)),
            ),
            why="Backward leaves gradients, and they are gone when the optimizer steps: nothing ever moves.",
            do="Look for zero_grad() between backward() and step(): it belongs before backward(), or after step().",
            instead=f"The rate is {number(min(rates))}, and the gradients are not 0.",
        )


def _stepped(record: Record) -> Iterator[Draft]:
    """Some layers' gradients are all 0, since what they put out is rounded, or only its sign is taken."""
    need_steps(record, WINDOW)
    zero = [
        p
        for p in record.parameters.values()
        if p.requires_grad and p.is_trained and len(p.grads) >= WINDOW and not any(norm for _, norm in p.grads)
    ]
    layers = [layer for layer in _whole(record, zero) if layer in record.flattened and record.layers[layer].calls]
    if record.stands_still:
        return  # told of the whole model
    for top in tops(record, layers):
        inside = [layer for layer in layers if layer == top or layer.startswith(f"{top}.")]
        parameters, how = [p for p in zero if p.layer in inside], record.flattened[inside[-1]]
        yield Draft(
            id="not-reached",
            where=top,
            phase=Phase.BACKWARD,
            near=tuple(layer for layer in inside if layer != top),
            evidence=(
                seen("steps with a gradient of exactly 0", min(len(p.grads) for p in parameters), 0, "steps"),
                seen("on its way to the loss", None, text=f"{how}(), whose derivative is 0 everywhere"),
            ),
            why="What it puts out is used, but no gradient passes the step behind it: it never learns.",
            do=f"Let the gradient pass {how}() (straight through): y + ({how}(y) - y).detach().",
            instead="All that lies behind the step does get gradients.",
        )


def _sampled(record: Record) -> Iterator[Draft]:
    """A layer learns nothing from what is made of its draws."""
    found: dict[tuple[str, str, str], list[int]] = {}
    for draw in record.sampled:
        found.setdefault((draw.source, draw.layer, draw.kind), []).append(draw.step)
    for (source, layer, kind), steps in found.items():
        if len(set(steps)) < min(_CHECKS, len(record.checked)):
            continue
        yield Draft(
            id="gradient-cut",
            where=source or layer,
            near=(layer,) if source else (),
            phase=Phase.FORWARD,
            first_step=steps[0],
            step=steps[-1],
            evidence=(
                seen("draws without a gradient", len(steps), 0, text=f"{kind}.sample(), which {layer} is then given"),
            ),
            why=f"What {layer} does with the draw teaches nothing to what the {kind} was made of.",
            do="Call rsample() in place of sample(): it draws the same, and keeps the gradient.",
            instead="Nobody takes the draw's log-probability, or detaches what comes of it.",
        )


def _severity_of_cut(record: Record, how: str, parameters: list[ParameterFacts]) -> Severity | None:
    """None: as in the catalogue. A teacher, an average of weights, or frozen features are cut off on purpose."""
    if any(_moves_by_itself(p) or _has_twin(record, p) for p in parameters):
        return Severity.INFO
    if how not in _MEANT:
        return None
    # Features may be frozen in this way; they are no fault as long as the rest learns from them.
    return None if len(record.steps) >= _LONG and _has_learnt_nothing(record) else Severity.INFO


def _has_learnt_nothing(record: Record) -> bool:
    return record.is_plain and record.baseline is not None and record.end > _STUCK * record.baseline.value


def _moves_by_itself(p: ParameterFacts) -> bool:
    """It changes without a gradient: an average of other weights."""
    return any(abs(norm - p.start_l2) > 1e-6 * (p.start_l2 + 1e-12) for _, norm in p.norms[-1:])


def _has_twin(record: Record, p: ParameterFacts) -> bool:
    """Another one that is trained began with the same values: this is its copy."""
    return p.start_l2 > 0 and any(
        other.name != p.name and other.shape == p.shape and other.start_l2 == p.start_l2 and other.grads
        for other in record.parameters.values()
    )


def _written(how: str) -> str:
    return {"data": ".data", "detach": ".detach()", "no_grad": "torch.no_grad()", "numpy": ".numpy()"}.get(how, how)


def _never_used(record: Record) -> Iterator[Draft]:
    need_steps(record, SOME_STEPS)
    without = _without(record)
    whole = _whole(record, without)
    for layer in dict.fromkeys(p.layer for p in without):
        if record.layers[layer].calls and not (layer in whole and layer in record.cuts):
            names, is_lost = [p.name for p in without if p.layer == layer], layer in record.thrown_away
            yield Draft(
                id="never-used",
                where=layer,
                severity=Severity.WARNING if is_lost else None,
                phase=Phase.BACKWARD,
                evidence=(seen("parameters without a gradient", len(names), text=listed(names)),),
                why="It is computed in each step and thrown away: no result is made of it." if is_lost else "",
                do=f"Use what {layer} puts out in the forward around it; was another variable taken in its place?"
                if is_lost
                else "",
                instead="It is no head whose answer is returned, and left out by the loss." if is_lost else "",
            )


def _never_called(record: Record) -> Iterator[Draft]:
    need_steps(record, SOME_STEPS)
    idle = [layer for layer in dict.fromkeys(p.layer for p in _without(record)) if not record.layers[layer].calls]
    # A module may use the parameters of another one without calling it: what gets gradients is not idle.
    for top in tops(record, idle):
        yield Draft(
            id="never-called",
            where=top,
            phase=Phase.FORWARD,
            near=tuple(layer for layer in idle if layer.startswith(f"{top}.")),
            evidence=(seen("calls", 0, None, text=f"in {len(record.steps)} steps"),),
        )


def _not_in_optimizer(record: Record) -> Iterator[Draft]:
    need_steps(record, SOME_STEPS)
    out = [p for p in record.parameters.values() if p.requires_grad and not p.is_trained and _gets_gradients(p)]
    layers = [
        layer
        for layer in _whole(record, out)
        if any(len(record.parameters[n].shape) > 1 for n in _names(record, layer))
    ]
    if not layers:
        return
    strays = _strays(record)
    severity, why_not = _severity_of_absence(record, layers, strays)
    for top in tops(record, layers):
        inside = [layer for layer in layers if layer == top or layer.startswith(f"{top}.")]
        parameters = [p for p in out if p.layer in inside]
        evidence: list[Evidence] = [
            seen("steps with a gradient", max(len(p.grads) for p in parameters), 0, "steps"),
            seen("parameters in no optimizer", len(parameters), 0, text=listed(p.name for p in parameters)),
        ]
        if strays:
            evidence.append(seen("tensors of the optimizer that are not in the model", strays, 0))
        yield Draft(
            id="not-in-optimizer",
            where=top,
            severity=severity,
            phase=Phase.STEP,
            near=tuple(layer for layer in inside if layer != top),
            evidence=tuple(evidence),
            do=f"Make the optimizer after {top} is in place, of all of model.parameters()." if strays else "",
            instead=why_not,
        )


def _names(record: Record, layer: str) -> list[str]:
    return [p.name for p in record.parameters.values() if p.layer == layer]


def _gets_gradients(p: ParameterFacts) -> bool:
    return any(norm > 0 for _, norm in p.grads)


def _strays(record: Record) -> int:
    """Tensors that an optimizer was given, that are not in the model and never got a gradient: of a model that was."""
    known = {id(p.tensor) for p in record.parameters.values()}
    groups = [group for optimizer in record.optimizers.values() for group in optimizer.param_groups]
    return sum(id(p) not in known and p.grad is None for group in groups for p in group["params"])


def _severity_of_absence(record: Record, layers: list[str], strays: int) -> tuple[Severity | None, str]:
    """Who gives an optimizer the head, or adapters, alone, freezes the rest on purpose. What cannot be meant: the optimizer
    has tensors of another model; or the layer next to the loss is left out, while most of the others are trained."""
    if strays:
        return None, "The optimizer holds tensors that the model does not have any more."
    weighty = [p for p in record.parameters.values() if len(p.shape) > 1 and place_of(record, p.layer) >= 0]
    trained = [p for p in weighty if p.is_trained]
    size, all_size = sum(_size(p) for p in trained), sum(_size(p) for p in weighty)
    if not trained:
        return Severity.INFO, ""
    last = max(place_of(record, p.layer) for p in weighty)
    misses_last = any(place_of(record, layer) == last for layer in layers)
    is_between = any(
        min(place_of(record, p.layer) for p in trained)
        < place_of(record, layer)
        < max(place_of(record, p.layer) for p in trained)
        for layer in layers
    )
    if size >= all_size / 2 and (misses_last or is_between):
        return None, "Most of the model is trained: this is no frozen part with a head or adapters on it."
    # Otherwise only where nothing has been learnt at all.
    if record.baseline is not None and len(record.steps) >= _LONG and _has_learnt_nothing(record):
        chance = number(record.baseline.value)
        return None, f"Nothing has been learnt so far: {number(record.end)}, and always saying the same gets {chance}."
    return Severity.INFO, ""


def _size(p: ParameterFacts) -> int:
    return p.tensor.numel()


RULES.append(Rule(ids=("not-reached",), judge=_not_reached))
RULES.append(Rule(ids=("not-reached",), judge=_all_zero))
RULES.append(Rule(ids=("not-reached",), judge=_gone))
RULES.append(Rule(ids=("not-reached",), judge=_stepped))
RULES.append(Rule(ids=("gradient-cut",), judge=_sampled))
RULES.append(Rule(ids=("not-in-optimizer",), judge=_not_in_optimizer))
RULES.append(Rule(ids=("never-called",), judge=_never_called))
RULES.append(Rule(ids=("never-used",), judge=_never_used))
