"""The optimizer's parameter groups and the layers of the model as tables of a report page."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

from gradscope.protocol.messages import ModuleInfo, ParameterInfo, SessionInfo
from gradscope.snapshots.page.markup import Markup, clipped, element, joined
from gradscope.snapshots.page.numbers import counted, number, shape

MAX_ROWS = 1000
MAX_GROUPS = 100
_OPEN_ROWS = 30
_MAX_TEXT = 200


def optimizer_table(session: SessionInfo, manifest: Mapping[str, Any]) -> Markup:
    """A row for each parameter group: its options, with the rate of this moment."""
    groups = session.groups[:MAX_GROUPS]
    if not groups:
        return Markup("")
    options = list(dict.fromkeys(option for group in groups for option in group.options))
    rates = manifest.get("rates")
    now = list(rates) if isinstance(rates, Sequence) and not isinstance(rates, str) else []
    rows = []
    for i, group in enumerate(groups):
        values = group.options | ({"lr": number(now[i])} if i < len(now) else {})
        cells = [element("td", clipped(values.get(option, "–"), _MAX_TEXT), class_="num") for option in options]
        name = joined(f"{i}", f" {clipped(group.optimizer, _MAX_TEXT)}" if group.optimizer else "")
        members = element("td", _parameter_names(group.parameters), class_="name")
        rows.append(element("tr", element("td", name, class_="num"), members, cells))
    head = ["group", "parameters", *options]
    title = joined("Parameter groups ", element("span", f"– {counted(len(session.groups), 'group')}", class_="muted"))
    return _folding(title, head, rows, left_out=len(session.groups) - len(groups), numbers={0, *range(2, len(head))})


def _parameter_names(names: Sequence[str]) -> Markup:
    shown = [element("code", clipped(name, _MAX_TEXT)) for name in names[:3]]
    listed = joined(*(joined(", " if i else "", name) for i, name in enumerate(shown)))
    return joined(f"{len(names):,}: ", listed, ", …" if len(names) > 3 else "") if names else Markup("0")


def model_table(session: SessionInfo) -> Markup:
    """A row for each module; then the parameters by module."""
    by_module: dict[str, list[ParameterInfo]] = {}
    for parameter in session.parameters:
        by_module.setdefault(parameter.name.rpartition(".")[0], []).append(parameter)
    names = {module.name for module in session.modules}
    modules = list(session.modules)
    # Parameters that belong to no module: a model that is a plain mapping of tensors.
    modules += [ModuleInfo(name=name, type="", description="") for name in by_module if name not in names]
    rows = [_module_row(module, by_module.get(module.name, [])) for module in modules[:MAX_ROWS]]
    if not rows:
        return Markup("")
    elements = sum(_elements(parameter) for parameter in session.parameters)
    trained = sum(_elements(parameter) for parameter in session.parameters if parameter.requires_grad)
    about = f"– {counted(len(session.modules), 'module')}, " if session.modules else "– "
    about += f"{elements:,} parameters"
    about += "" if trained == elements else f", {elements - trained:,} of them frozen"
    title = joined("Layers ", element("span", about, class_="muted"))
    head = ["name", "type", "parameters", "elements", "notes"]
    return _folding(title, head, rows, left_out=len(modules) - len(rows), numbers=(3,))


def _elements(parameter: ParameterInfo) -> int:
    count = 1
    for size in parameter.shape:
        count *= size
    return 0 if parameter.dtype == "uninitialised" else count


def _module_row(module: ModuleInfo, parameters: Sequence[ParameterInfo]) -> Markup:
    kind = f"{module.type}({module.description})" if module.description else module.type
    listed = [
        joined(
            element("code", clipped(parameter.name.rpartition(".")[2], _MAX_TEXT)),
            f" {shape(parameter.shape)} {parameter.dtype}{_flags(parameter)}",
        )
        for parameter in parameters[:20]
    ]
    if len(parameters) > 20:
        listed.append(joined(f"and {len(parameters) - 20:,} more"))
    notes = [] if module.training else ["eval mode"]
    notes += [f"also called {', '.join(module.aliases)}"] if module.aliases else []
    return element(
        "tr",
        element("td", element("code", clipped(module.name or "(model)", _MAX_TEXT)), class_="name"),
        element("td", clipped(kind, _MAX_TEXT), class_="mono"),
        element("td", (element("div", line) for line in listed), class_="mono"),
        element("td", f"{sum(map(_elements, parameters)):,}" if parameters else "", class_="num"),
        element("td", clipped("; ".join(notes), _MAX_TEXT)),
    )


def _flags(parameter: ParameterInfo) -> str:
    flags = [] if parameter.requires_grad else ["frozen"]
    flags += ["not in the optimizer"] if parameter.group is None and parameter.requires_grad else []
    flags += [f"also called {', '.join(parameter.aliases)}"] if parameter.aliases else []
    return clipped(f" ({'; '.join(flags)})", _MAX_TEXT) if flags else ""


def _folding(
    title: Markup, head: Sequence[str], rows: Sequence[Markup], *, left_out: int, numbers: Container[int]
) -> Markup:
    """A section that folds; the columns `numbers` have their heading at the right, above their numbers."""
    cells = [element("th", name, class_="num" if i in numbers else None) for i, name in enumerate(head)]
    table = element("table", element("thead", element("tr", cells)), element("tbody", rows), class_="full")
    rest = element("p", f"{left_out:,} more rows are not shown here.", class_="muted small") if left_out else ""
    return element(
        "details",
        element("summary", title),
        element("div", table, class_="scroll"),
        rest,
        open="" if len(rows) <= _OPEN_ROWS else None,
    )
