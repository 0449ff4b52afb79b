"""Whose error it is: the door through which the user's code is called, and the net for what was raised anywhere else."""

from __future__ import annotations

from types import TracebackType

from gradscope.engine.surroundings.error_parts import frames_of, module_name
from gradscope.engine.surroundings.unwinding import is_interruption
from gradscope.engine.surroundings.usercode import cut_traceback, describe_error, is_our_file, is_users_file
from gradscope.protocol.failure import Failure, FailureKind, GradscopeError, UserCodeFailed


class users_code:  # noqa: N801  (reads as a statement: `with users_code("model.train()"):`)
    """Inside, something of the user's is called or read: whatever is raised is theirs, and comes out as UserCodeFailed,
    which says `what` failed and how. An interruption passes, and what gradscope has raised itself.

    A class and not a generator: it is entered in every step.
    """

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or is_interruption(error) or own_failure(error) is not None:
            return
        raise UserCodeFailed(users_failure(f"{self._what} failed", error)) from error


def users_failure(what_failed: str, error: BaseException, *, undone: str = "") -> Failure:
    """Their failure, told in one sentence that begins with `what_failed`."""
    return Failure(
        kind=FailureKind.USER_CODE,
        sentence=f"{what_failed}: {describe_error(error)}",
        traceback=cut_traceback(error),
        undone=undone,
    )


def own_failure(error: BaseException) -> Failure | None:
    """What an error of gradscope's carries, where gradscope has raised it; None for any other error.

    The user's code may raise ours, and derive classes from them, with anything or nothing in `failure`.
    """
    failure = carried_failure(error)
    return None if failure is None or is_users_error(error) else failure


def carried_failure(error: BaseException) -> Failure | None:
    """The same, whoever has raised it."""
    if not issubclass(type(error), GradscopeError) or not module_name(type(error)).startswith("gradscope."):
        return None
    failure = vars(error).get("failure")
    return failure if type(failure) is Failure else None


def is_users_error(error: BaseException) -> bool:
    """Whether it came out of the user's code: a frame of theirs was called by the innermost of ours, or had no caller
    among ours."""
    is_theirs = False
    for trace in frames_of(error):
        file = trace.tb_frame.f_code.co_filename
        if is_our_file(file):
            is_theirs = False
        elif is_users_file(file):
            is_theirs = True
    return is_theirs


def failure_of(error: BaseException) -> Failure:
    """Any error that has come through to where nothing more can be done: ours by what it carries, theirs by its traceback,
    and otherwise a bug of gradscope's. Never raises."""
    own = own_failure(error)
    if own is not None:
        return own
    if is_users_error(error):
        return users_failure("The recipe's code failed", error)
    return Failure(
        kind=FailureKind.OUR_BUG,
        sentence=f"gradscope itself failed: {describe_error(error)}",
        traceback=cut_traceback(error, only_users=False),
    )
