"""`gradscope check`: a recipe is trained for some steps with its monitors, then checked up; what was found is told."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from gradscope.engine.findings.catalogue import CATALOGUE
from gradscope.engine.headless.findings_form import checked_content, content_of, finding_content, line
from gradscope.engine.headless.findings_text import block, list_line, summary
from gradscope.engine.headless.outputs import (
    EXIT_BAD_INPUT,
    EXIT_DONE,
    EXIT_NONFINITE,
    EXIT_OUR_BUG,
    EXIT_USER_CODE,
    opened,
    say,
    tell_failure,
    write_line,
)
from gradscope.engine.headless.preflight import first_lines
from gradscope.engine.headless.progress import Progress
from gradscope.engine.headless.several_seeds import Several, merged
from gradscope.engine.recipe.loading import load_recipe, load_rules
from gradscope.engine.recipe.own_rules import OwnRule, declared
from gradscope.engine.session import Session
from gradscope.engine.surroundings.blame import failure_of
from gradscope.engine.surroundings.randomness import MAX_SEED
from gradscope.engine.surroundings.unwinding import ctrl_c_told_apart, is_interruption
from gradscope.protocol import findings as protocol
from gradscope.protocol.failure import BadInput, FailureKind, GradscopeError
from gradscope.protocol.findings import Findings
from gradscope.protocol.numbers import number
from gradscope.standard_streams import tell

EXIT_FOUND = EXIT_NONFINITE
"""Errors or warnings were found."""
_EXIT_CODES = {FailureKind.USER_CODE: EXIT_USER_CODE, FailureKind.BAD_INPUT: EXIT_BAD_INPUT}


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """What the command line asks for. `json` and `jsonl` "-" are standard output."""

    path: Path
    steps: int = 100
    """0: the list before a training, of one batch."""
    device: str = "cpu"
    seed: int = 0
    seeds: int = 1
    """So many trainings, with this seed and those that follow it."""
    has_experiments: bool = True
    only: tuple[str, ...] = ()
    """These ids of findings; empty: all."""
    json: str | None = None
    jsonl: str | None = None
    quiet: bool = False
    rules: str | None = None
    """A file with rules of the user's own."""
    pages: Path | None = None
    """The folder of the documentation's pages."""

    @property
    def says(self) -> bool:
        """Whether there is text for a person on standard output."""
        return not self.quiet and "-" not in (self.json, self.jsonl)


def check(options: CheckOptions) -> int:
    """The exit code: 0 nothing above an info, 1 the user's code failed, 2 bad input, 3 errors or warnings were found.

    Sentences go to standard error. Raises KeyboardInterrupt.
    """
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(ctrl_c_told_apart())
            check_options(options)
            stdout = sys.stdout
            if "-" in (options.json, options.jsonl):
                # What the user's code prints must not end up between the lines of JSON.
                stack.enter_context(contextlib.redirect_stdout(sys.stderr))
            out = stack.enter_context(opened(options.jsonl, stdout))
            whole = stack.enter_context(opened(options.json, stdout, option="--json"))
            return _checked(options, out, whole)
    except BaseException as error:
        # BaseException: the user's code may have called sys.exit().
        if is_interruption(error):
            raise
        return _failed(error)


def _failed(error: BaseException) -> int:
    failure = failure_of(error)
    tell_failure(failure)
    return _EXIT_CODES.get(failure.kind, EXIT_OUR_BUG)


def _checked(options: CheckOptions, out: TextIO | None, whole: TextIO | None) -> int:
    outcomes: list[Findings] = []
    failed: GradscopeError | None = None
    name = options.path.stem
    for seed in range(options.seed, options.seed + options.seeds):
        try:
            name, found = _one_training(options, seed, outcomes)
        except GradscopeError as error:
            failed = error
            break
        outcomes.append(found)
    several = merged([only_of(found, options.only) for found in outcomes])
    write_found(options, several, out, whole)
    if options.says and outcomes:
        say_found(options, name, several, is_broken_off=failed is not None)
    if failed is not None:
        return _failed(failed)
    return EXIT_FOUND if several.findings.counted else EXIT_DONE


def _one_training(options: CheckOptions, seed: int, outcomes: list[Findings]) -> tuple[str, Findings]:
    """What it is called, and what was found. Where the user's code fails, what was found before goes into `outcomes`."""
    recipe = load_recipe(options.path, seed)
    if options.rules is not None:
        recipe = replace(recipe, rules=(*recipe.rules, *load_rules(options.rules)))
    check_ids(options.only, (*recipe.rules, *declared()))
    with Session(recipe, options.device, findings=True) as session:
        # A rule of the user's may ask for any tensor.
        session.keeper.keeps_all = bool(recipe.rules or declared())
        shows = not options.quiet and sys.stderr.isatty()
        try:
            _train(session, max(1, options.steps), shows=shows)
        except GradscopeError:
            outcomes.append(session.findings())
            raise
        found = _check_up(session, options.only, shows=shows) if options.has_experiments else session.findings()
        if options.steps == 0 and options.has_experiments and not options.only:
            for text in first_lines(session) if options.says else ():
                say(text)
        for text in session.observer.errors:
            tell(text)
        return session.info.name, found


def _train(session: Session, steps: int, *, shows: bool) -> None:
    progress = Progress(steps, shown=shows)
    try:
        for step in range(steps):
            session.next_batch()
            progress.show(step + 1, f"loss {number(session.history[-1].loss, digits=5)}")
    finally:
        progress.close()


def _check_up(session: Session, only: Sequence[str], *, shows: bool) -> Findings:
    bar = Progress(1, shown=shows, unit="forwards")

    def show(progress: protocol.Progress) -> bool:
        bar.show(progress.done, progress.title, planned=progress.planned)
        return True

    try:
        return session.check_up(only or None, show)
    finally:
        bar.close()


def only_of(found: Findings, ids: Sequence[str]) -> Findings:
    """What is of these ids; all, where there are none."""
    if not ids:
        return found
    return replace(
        found,
        findings=tuple(finding for finding in found.findings if finding.id in ids),
        checks=tuple(check for check in found.checks if check.id in ids),
    )


# ------------------------------------------------------------------------------------------ what is told


def write_found(options: CheckOptions, several: Several, out: TextIO | None, whole: TextIO | None) -> None:
    findings = several.findings
    for finding in findings.findings:
        write_line(out, line("finding", {**finding_content(finding), **several.seen_content(finding)}))
    write_line(out, line("checked", {**checked_content(findings), **several.content}))
    if whole is not None:
        content = content_of(findings)
        for written, finding in zip(content["findings"], findings.findings, strict=True):
            written.update(several.seen_content(finding))
        write_line(whole, json.dumps({**content, **several.content}, allow_nan=False, indent=1))


def say_found(options: CheckOptions, name: str, several: Several, *, is_broken_off: bool = False) -> None:
    findings = several.findings
    if options.steps == 0 and not is_broken_off:
        for check_ in findings.checks:
            say(list_line(check_, findings.findings))
        say("")
    for finding in findings.findings:
        for text in block(finding, pages=options.pages, seen=several.seen_text(finding)):
            say(text)
        say("")
    looked_at = "one batch" if options.steps == 0 else f"{findings.steps // max(1, several.seeds)} steps"
    if several.seeds > 1:
        looked_at += f" with {several.seeds} seeds"
    say(f"{name}, {looked_at}: {summary(findings.checks)}")


def check_options(options: CheckOptions) -> None:
    """Raises BadInput."""
    if options.steps < 0:
        raise BadInput(f"--steps is {options.steps}; expected a whole number from 0")
    if options.seeds < 1:
        raise BadInput(f"--seeds is {options.seeds}; expected a whole number from 1")
    if options.seed + options.seeds - 1 > MAX_SEED:
        raise BadInput(f"--seed is {options.seed} and --seeds {options.seeds}; the last one would lie above {MAX_SEED}")
    if options.json is not None and options.json == options.jsonl:
        raise BadInput(f"--json and --jsonl are both {options.json}; expected two different names")


def check_ids(ids: Sequence[str], rules: Iterable[OwnRule]) -> None:
    own = [rule.id for rule in rules]
    for id_ in ids:
        if id_ not in CATALOGUE and id_ not in own:
            raise BadInput(f"--only: {id_!r:.60} is the id of no finding; {_close_to(id_)}")


def _close_to(id_: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(id_, CATALOGUE, n=3)
    return f"did you mean {' or '.join(near)}?" if near else f"one is {next(iter(CATALOGUE))}"
