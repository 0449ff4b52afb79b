"""The command line, and the only entry point. `--help`, `--version` and `samples` import neither Qt nor torch."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from gradscope import assets, standard_streams
from gradscope.engine.quantities.kernel.building import active_path, gpu_path
from gradscope.version import __version__

EXIT_BAD_INPUT, EXIT_INTERRUPTED = 2, 130
_CAPTURE_HELP = "what to look at: full, layers:NAME,NAME... (with * and ?), norms (NaN, Inf, L2 norm only), or off"


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 the user's code failed, 2 bad input or an output that failed, 3 stopped at NaN or
    Inf, 70 gradscope itself failed, 130 interrupted."""
    standard_streams.make_whole()
    given = list(sys.argv[1:] if arguments is None else arguments)
    say_end: Callable[[int], None] = _nobody_asks
    if arguments is None and given[:1] == ["run"]:
        # As a command, and not as a function in somebody's process.
        from gradscope.engine.watched_run import begin

        say_end = begin()
    try:
        code = _command(given)
    except SystemExit as left:
        # --help, --version, or a flag that argparse refuses.
        code = int(left.code or 0)
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
        # It may come several times: to the process, and to its group.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        standard_streams.tell("interrupted")
        say_end(code)
        # Whoever asks once more while Python ends does not want to wait for that.
        signal.signal(signal.SIGINT, before if arguments is not None else signal.SIG_DFL)
    unwritten = standard_streams.flush()
    if unwritten is not None and code == 0:
        code = _refuse(unwritten)
    say_end(code)
    return code


def _command(given: list[str]) -> int:
    # `gradscope FILE` and `gradscope COMMAND` share a place; a file called "run" is reached as ./run.
    if given and given[0] == "samples":
        return _samples(given[1:])
    if given and given[0] == "run":
        return _run(given[1:])
    return _open(given)


def _open(given: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="gradscope",
        description="A desktop debugger for the PyTorch training step.",
        epilog="Commands: 'gradscope samples' lists the sample models; 'gradscope run FILE --steps N' steps without a "
        "window ('gradscope run --help').",
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help="recipe file, sample name or snapshot to open")
    parser.add_argument(
        "--python", metavar="PATH", help="interpreter that runs the engine (default: from the settings)"
    )
    parser.add_argument("--seed", type=_seed, help="seed of the session (default: from the settings)")
    parser.add_argument("--device", help="cpu, cuda:0, mps ... (default: from the settings)")
    parser.add_argument("--capture", metavar="LEVEL", help=f"{_CAPTURE_HELP} (default: from the settings)")
    ways = active_path() + (f"; on a GPU: {gpu_path()}" if gpu_path() else "")
    parser.add_argument("--version", action="version", version=f"gradscope {__version__} (summaries: {ways})")
    options = parser.parse_args(given)
    path = None
    if options.file is not None:
        path = _find(options.file)
        if path is None:
            return _refuse(_unknown_file(options.file))
    if options.python is not None and not Path(options.python).is_file():
        return _refuse(f"--python: {options.python} does not exist; expected the path of a Python interpreter")
    from gradscope import preflight

    problem = preflight.problem()
    if problem is not None:
        return _refuse(problem)
    try:
        from gradscope.ui import app
    except ImportError as error:
        return _refuse(f"the window cannot be imported in {sys.executable}: {error}")

    wanted = app.Options(
        file=str(path) if path is not None else None,
        python=options.python,
        seed=options.seed,
        device=options.device,
        capture=options.capture,
    )
    # What the protocol knows, the ui can say: before there is a window.
    problem = app.problem(wanted)
    return app.run(wanted) if problem is None else _refuse(problem)


def _samples(given: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="gradscope samples", description="List the sample models.")
    parser.parse_args(given)
    paths = assets.sample_paths()
    width = max((len(path.stem) for path in paths), default=0)
    lines = [f"{path.stem:<{width}}  {assets.sample_docs(path)[0]}" for path in paths]
    lines.append(f"\nOpen one with: gradscope {paths[0].stem}" if paths else "No samples are installed")
    try:
        print("\n".join(lines))
    except OSError as error:
        return _refuse(standard_streams.unwritable(error))
    return 0


def _run(given: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="gradscope run",
        description="Step a recipe without a window.",
        epilog="Exit code: 0 done, 1 the user's code failed, 2 bad input or an output that could not be written, "
        "3 stopped after the step in which the first NaN or Inf was found, its outputs written, 70 gradscope itself "
        "failed, 130 interrupted.",
    )
    parser.add_argument("file", metavar="FILE_OR_SAMPLE", help="recipe file, or the name of a sample")
    parser.add_argument("--steps", type=int, required=True, metavar="N", help="optimizer steps to make")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda:0, mps ...")
    parser.add_argument("--seed", type=_seed, default=0, help="seed of the session (default: 0)")
    parser.add_argument(
        "--jsonl", metavar="OUT", help="write one JSON object per phase to this file (- for standard output)"
    )
    parser.add_argument(
        "--export", metavar="NEW", help="write a snapshot of the last step: a new folder, or a .zip file"
    )
    parser.add_argument("--tensorboard", metavar="DIR", help="write event files for TensorBoard to this folder")
    parser.add_argument("--save-checkpoint", metavar="FILE", help="write a checkpoint after the last step")
    parser.add_argument(
        "--load-checkpoint", metavar="FILE", help="load a checkpoint before the first step, and go on from there"
    )
    parser.add_argument("--capture", default="full", metavar="LEVEL", help=_CAPTURE_HELP)
    parser.add_argument(
        "--keep-going", action="store_true", help="do not stop after the step in which the first NaN or Inf is found"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no summary")
    options = parser.parse_args(given)
    path = _find(options.file)
    if path is None:
        return _refuse(_unknown_file(options.file))
    try:
        from gradscope.engine.headless import RunOptions, run
    except ImportError as error:
        return _refuse(f"the engine cannot be imported in {sys.executable}: {error}")
    return run(
        RunOptions(
            path=path,
            steps=options.steps,
            device=options.device,
            seed=options.seed,
            jsonl=options.jsonl,
            export=options.export,
            tensorboard=options.tensorboard,
            quiet=options.quiet,
            save_checkpoint=options.save_checkpoint,
            load_checkpoint=options.load_checkpoint,
            capture=options.capture,
            keep_going=options.keep_going,
        )
    )


def _find(name: str) -> Path | None:
    """The recipe of that path or sample name; None if there is neither."""
    path = Path(name).expanduser()
    if path.exists():
        return path.resolve()
    return assets.sample_path(name)


def _unknown_file(name: str) -> str:
    known = ", ".join(path.stem for path in assets.sample_paths())
    return f"{name} is neither a file nor a sample; expected a recipe file, a snapshot, or one of: {known}"


def _seed(text: str) -> int:
    try:
        seed = int(text)
    except ValueError:
        seed = -1
    if not 0 <= seed < 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is no seed; expected a whole number from 0 to {2**32 - 1}")
    return seed


def _nobody_asks(_code: int) -> None:
    pass


def _refuse(sentence: str) -> int:
    standard_streams.tell(sentence)
    return EXIT_BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
