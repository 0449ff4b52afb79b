"""Rules of the user's own: what `@gradscope.finding` makes of a function, and to which training it belongs.

A rule that is declared while a recipe's file is loaded belongs to that recipe; one that is declared anywhere else (a script,
a notebook) to every training of the process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gradscope.engine.surroundings.error_parts import shortened
from gradscope.protocol.failure import BadInput
from gradscope.protocol.findings import Severity
from gradscope.protocol.subjects import SubjectKind

_F = TypeVar("_F", bound=Callable[..., Any])
_LONGEST_VALUE = 60


@dataclass(frozen=True, kw_only=True)
class OwnRule:
    """One rule of the user's; see `finding`."""

    id: str
    function: Callable[[Any], Any]
    needs: SubjectKind
    title: str
    severity: Severity
    why: str
    do: str

    @property
    def place(self) -> str:
        """ "my_rule() in recipe.py, line 12"."""
        code = getattr(self.function, "__code__", None)
        name = getattr(self.function, "__name__", type(self.function).__name__)
        return f"{name}()" if code is None else f"{name}() in {Path(code.co_filename).name}, line {code.co_firstlineno}"


_DECLARED: dict[str, OwnRule] = {}
"""Outside of a recipe's file. Declared again, as a cell of a notebook is, a rule takes the place of the older one."""
_COLLECTING: list[dict[str, OwnRule]] = []


def finding(
    *,
    id: str = "",
    needs: str = "grad",
    title: str = "",
    severity: str = "warning",
    why: str = "",
    do: str = "",
) -> Callable[[_F], _F]:
    """Make a rule of a function: it is called after every optimizer step, and says what is wrong.

    It is given a dict of name -> statistics of what it `needs`: "activation", "activation_grad" (by layer), "parameter",
    "grad", "clipped_grad", "update", "optimizer_state" (by parameter) or "buffer". Each has `l2`, `mean`, `std`, `min`,
    `max` (None where undefined), `zeros` (share), `nan`, `inf`, `count`, `shape`, `dtype`, and `tensor`, a copy.

    It returns None where all is well, else a text (the evidence), or a dict with any of "where" (a layer or parameter),
    "evidence" (a text, or a dict of name -> number or (number, threshold)), "do" and "why"; or a list of such::

        @gradscope.finding(id="embedding-too-large", needs="parameter", title="An embedding has grown too large")
        def embedding_norm(parameters):
            l2 = parameters["embedding.weight"].l2
            if l2 > 100:
                return {"where": "embedding.weight", "evidence": {"norm": (l2, 100)}, "do": "Add weight decay to it."}

    `id`: default is the function's name; a later rule of the same id replaces the earlier one. `severity`: "error", "warning"
    or "info". A rule that raises is left out for the rest of the run, and that is said once; training never notices: random
    generators are put back, and what a rule gets is a copy. The function itself stays as it is.

    Raises BadInput for an argument that is none of these.
    """
    kind = _one_of(SubjectKind, "needs", needs)
    level = _one_of(Severity, "severity", severity)
    for name, text in (("id", id), ("title", title), ("why", why), ("do", do)):
        if not isinstance(text, str):
            raise BadInput(f"finding({name}=...) is {shortened(repr(text), _LONGEST_VALUE)}; expected a text")

    def made(function: _F) -> _F:
        if not callable(function):
            raise BadInput(f"@finding stands on {shortened(repr(function), _LONGEST_VALUE)}; expected a function")
        name = getattr(function, "__name__", type(function).__name__)
        known = id or name.strip("_").replace("_", "-")
        rule = OwnRule(
            id=known,
            function=function,
            needs=kind,
            title=title or known.replace("-", " ").capitalize(),
            severity=level,
            why=why,
            do=do,
        )
        (_COLLECTING[-1] if _COLLECTING else _DECLARED)[rule.id] = rule
        return function

    return made


def declared() -> tuple[OwnRule, ...]:
    """Those of every training of this process."""
    return tuple(_DECLARED.values())


def declare(rules: Iterable[OwnRule]) -> None:
    """Make rules those of every training of this process."""
    _DECLARED.update({rule.id: rule for rule in rules})


@contextmanager
def collected() -> Iterator[dict[str, OwnRule]]:
    """Rules that are declared inside belong to whoever collects them, by their id."""
    rules: dict[str, OwnRule] = {}
    _COLLECTING.append(rules)
    try:
        yield rules
    finally:
        _COLLECTING.pop()


def _one_of(kinds: Any, name: str, value: object) -> Any:
    try:
        return kinds(value)
    except ValueError:
        expected = ", ".join(repr(kind.value) for kind in kinds)
        raise BadInput(
            f"finding({name}=...) is {shortened(repr(value), _LONGEST_VALUE)}; expected one of {expected}"
        ) from None
