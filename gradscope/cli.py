"""The command line, and the only entry point. `--help`, `--version` and `samples` import neither Qt nor torch."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gradscope import assets, own_options, script_kind, standard_streams
from gradscope.arguments import check_parser, seed
from gradscope.engine.quantities.kernel.building import active_path, active_taps, gpu_path
from gradscope.engine.surroundings.allocator import reason_to_leave
from gradscope.version import __version__

if TYPE_CHECKING:
    from gradscope.engine.headless.check import CheckOptions

EXIT_BAD_INPUT, EXIT_INTERRUPTED = 2, 130
_CONNECT = "--connect"
"""Not for people: a process that runs already opens the window (`gradscope.watch`)."""
_HELP = {"-h", "--help", "--version"}
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

        is_script = _is_script(_split_run(given[1:]))
        # Of several processes of a script one is looked at; who has started the others watches them.
        if not is_script or os.environ.get("RANK", "0") == "0":
            say_end = begin(is_script=is_script)
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
    if given and given[0] == "check":
        return _check(given[1:])
    if given and given[0] == "compare":
        return _compare(given[1:])
    if given == [_CONNECT]:
        return _show(argparse.Namespace(python=None, seed=None, device=None, capture=None), connects=True)
    return _open(given)


def _open(given: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="gradscope",
        usage="gradscope [options] [FILE | SCRIPT.py ARGS... | NOTEBOOK.ipynb ARGS... | -m MODULE ARGS...]",
        description="A desktop debugger for the PyTorch training step.",
        epilog="A Python file that defines recipe() is a recipe; any other one is a training script, and what follows it is "
        "the script's. Commands: 'gradscope samples' lists the sample models; 'gradscope run SCRIPT.py ARGS...' and "
        "'gradscope run RECIPE --steps N' need no window ('gradscope run --help'); 'gradscope check RECIPE' says what is "
        "wrong with a training; 'gradscope compare A B' says where two runs part.",
    )
    parser.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        help="training script, notebook, recipe file, sample name or snapshot to open",
    )
    command = own_options.split(given, _own_options(parser))
    path = None if command.name is None or command.is_module else _find(command.name)
    if command.is_module or (path is not None and script_kind.is_script(path)):
        return _open_script(parser.parse_args(command.own), command)
    if command.name is not None and path is None and not _HELP & {*command.own, *command.rest}:
        # Before anything is said of what follows it.
        return _refuse(_unknown_file(command.name))
    options = parser.parse_args(given)
    return _show(options, file=None if path is None else str(path))


def _own_options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [
        parser.add_argument(
            "--python", metavar="PATH", help="interpreter that runs the engine (default: from the settings)"
        ),
        parser.add_argument("--seed", type=seed, help="seed of a recipe's session (default: from the settings)"),
        parser.add_argument("--device", help="of a recipe: cpu, cuda:0, mps ... (default: from the settings)"),
        parser.add_argument("--capture", metavar="LEVEL", help=f"{_CAPTURE_HELP} (default: from the settings)"),
        parser.add_argument("--version", action=_Version, nargs=0, help="say the version and which code is active"),
    ]


class _Version(argparse.Action):
    """What it says is looked up when it is asked for: libraries are loaded for it."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        ways = [f"summaries: {active_path()}", f"hooks: {active_taps()}"]
        if gpu_path():
            ways.append(f"on a GPU: {gpu_path()}")
        left = reason_to_leave()
        ways.append(f"large blocks of memory: {f'given back at once ({left})' if left else 'kept for the next step'}")
        try:
            print(f"gradscope {__version__} ({'; '.join(ways)})")
        except OSError as error:
            parser.exit(_refuse(standard_streams.unwritable(error)))
        parser.exit()


def _open_script(options: argparse.Namespace, command: own_options.Command) -> int:
    name = command.name or ""
    if not name:
        return _refuse("-m: expected the name of a module behind it")
    if options.seed is not None:
        return _refuse(f"--seed: The script sets its own seed; leave it out, or give it behind {name}")
    if options.device is not None:
        return _refuse(f"--device: The script chooses its own device; leave it out, or give it behind {name}")
    if not command.is_module:
        name = str(Path(name).expanduser())
    try:
        script = script_kind.script_of(name, command.rest, folder=str(Path.cwd()), is_module=command.is_module)
    except script_kind.BadInput as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"the working directory cannot be read: {error.strerror or error}")
    return _show(options, script=script)


def _show(
    options: argparse.Namespace,
    *,
    file: str | None = None,
    script: script_kind.Script | None = None,
    connects: bool = False,
) -> int:
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
        file=file,
        script=script,
        connects=connects,
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
    parser = _run_parser()
    command = _split_run(given)
    if _is_script(command):
        return _run_script(parser.parse_args([*command.own, command.name or "MODULE"]), command)
    options = parser.parse_args(given)
    path = _find(options.file)
    if path is None:
        return _refuse(_unknown_file(options.file))
    if path.is_dir() and not (path / "manifest.json").exists():
        return _refuse(
            f"{options.file} is a folder; expected a training script, a recipe file, or the name of a sample"
        )
    for name, value in (("--then", options.then), ("--on-failure", options.on_failure), ("--python", options.python)):
        if value is not None:
            return _refuse(f"{name}: that is for scripts, and {options.file} is a recipe")
    if options.stop_at_nan:
        return _refuse("--stop-at-nan: that is for scripts; a recipe stops there by itself")
    if options.steps is None:
        return _refuse("--steps: expected how many optimizer steps a recipe is to make")
    try:
        from gradscope.engine.headless.recipe import RunOptions, run
    except ImportError as error:
        return _refuse(f"the engine cannot be imported in {sys.executable}: {error}")
    return run(
        RunOptions(
            path=path,
            steps=options.steps,
            device=options.device or "cpu",
            seed=options.seed or 0,
            jsonl=options.jsonl,
            export=options.export,
            tensorboard=options.tensorboard,
            quiet=options.quiet,
            save_checkpoint=options.save_checkpoint,
            load_checkpoint=options.load_checkpoint,
            go_to=options.go_to,
            timeline=options.timeline,
            timeline_mb=options.timeline_mb,
            reproduce=options.reproduce,
            capture=options.capture,
            keep_going=options.keep_going,
            finds=options.findings or options.rules is not None,
            rules=options.rules,
            breaks=tuple(options.breaks),
        )
    )


def _compare(given: list[str]) -> int:
    from gradscope.comparing.arguments import compare_parser

    options = compare_parser().parse_args(given)
    from gradscope.comparing.command import CompareOptions, run_compare

    return run_compare(CompareOptions(**vars(options)))


def _check(given: list[str]) -> int:
    parser = check_parser()
    command = own_options.split(given, parser._actions)
    is_script = _is_script(command)
    options = parser.parse_args([*command.own, command.name or "MODULE"] if is_script else given)
    path = None if command.is_module else _find(options.file)
    if path is None and not command.is_module:
        return _refuse(_unknown_file(options.file))
    if path is not None and path.is_dir():
        return _refuse(
            f"{options.file} is a folder; expected a training script, a recipe file, or the name of a sample"
        )
    for name, value in (("--seed", options.seed), ("--seeds", options.seeds), ("--device", options.device)):
        if is_script and value is not None:
            return _refuse(f"{name}: that is for recipes; a script sets its own seed and device")
    try:
        from gradscope.engine.headless.check import CheckOptions, check
    except ImportError as error:
        return _refuse(f"the engine cannot be imported in {sys.executable}: {error}")
    wanted = CheckOptions(
        path=path or Path(command.name or ""),
        steps=options.steps,
        device=options.device or "cpu",
        seed=options.seed or 0,
        seeds=1 if options.seeds is None else options.seeds,
        has_experiments=not options.no_experiments,
        only=tuple(filter(None, (options.only or "").split(","))),
        json=options.json,
        jsonl=options.jsonl,
        quiet=options.quiet,
        rules=options.rules,
        pages=assets.pages_dir(),
    )
    return _check_script(command, wanted) if is_script else check(wanted)


def _check_script(command: own_options.Command, wanted: CheckOptions) -> int:
    if not command.name:
        return _refuse("-m: expected the name of a module behind it")
    from gradscope.engine.headless.check_script import check_script
    from gradscope.engine.script.launching.launch import forget_own_path

    name = command.name if command.is_module else str(Path(command.name).expanduser())
    try:
        script = script_kind.script_of(name, command.rest, folder="", is_module=command.is_module)
    except script_kind.BadInput as error:
        return _refuse(str(error))
    forget_own_path()
    standard_streams.as_python_has_them()
    return check_script(script, wanted)


def _run_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gradscope run",
        usage="gradscope run [options] [SCRIPT.py ARGS... | NOTEBOOK.ipynb ARGS... | -m MODULE ARGS... | RECIPE]",
        description="Run a training script as it is, or step a recipe, without a window.",
        epilog="Options come before a script: what follows it is its own. Exit code of a script: its own, 0 where --steps "
        "ended it, 2 bad input or an output that could not be written, 3 if --break or --stop-at-nan ended it. Of a recipe: "
        "0 done, 1 the user's code failed, 2 bad input or an output that could not be written, 3 stopped at a --break, or "
        "after the step in which the first NaN or Inf was found, its outputs written, 70 gradscope itself failed, 130 "
        "interrupted.",
    )
    parser.add_argument("file", metavar="FILE", help="training script, notebook, recipe file, or the name of a sample")
    parser.add_argument(
        "--steps", type=int, metavar="N", help="optimizer steps to make; a script is ended then (default: its own end)"
    )
    parser.add_argument(
        "--then", choices=("end", "run"), help="what becomes of a script after --steps: 'run' goes on unobserved"
    )
    parser.add_argument(
        "--python", metavar="PATH", help="of a script: the interpreter that runs it (default: this one)"
    )
    parser.add_argument("--device", help="of a recipe: cpu (default), cuda:0, mps ...")
    parser.add_argument("--seed", type=seed, help="of a recipe's session (default: 0)")
    _add_outputs(parser)
    parser.add_argument("--capture", default="full", metavar="LEVEL", help=_CAPTURE_HELP)
    parser.add_argument(
        "--findings", action="store_true", help="say at the end what is wrong with the training, by what was seen"
    )
    parser.add_argument(
        "--rules", metavar="FILE", help="a Python file with rules of your own (@gradscope.finding); with --findings"
    )
    parser.add_argument(
        "--break",
        action="append",
        default=[],
        dest="breaks",
        metavar="STOP",
        help="stop there: a place such as 'backward', or a condition such as 'grad.l2 > 10' (docs/stops.md); can be repeated",
    )
    parser.add_argument("--keep-going", action="store_true", help="a recipe does not stop where NaN or Inf is found")
    parser.add_argument("--stop-at-nan", action="store_true", help="a script is ended where NaN or Inf is found")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no summary, no notes")
    return parser


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    """The files that a run writes, and the one that it begins with."""
    parser.add_argument(
        "--jsonl", metavar="OUT", help="write one JSON object per phase to this file (- for standard output)"
    )
    parser.add_argument(
        "--export", metavar="NEW", help="write a snapshot of the last step: a new folder, or a .zip file"
    )
    parser.add_argument(
        "--on-failure",
        metavar="NEW",
        help="write a snapshot where a script ends by an exception, or makes its first NaN or Inf",
    )
    parser.add_argument("--tensorboard", metavar="DIR", help="write event files for TensorBoard to this folder")
    parser.add_argument("--save-checkpoint", metavar="FILE", help="of a recipe: write a checkpoint after the last step")
    parser.add_argument(
        "--load-checkpoint",
        "--load",
        metavar="PATH",
        help="of a recipe: go on from this checkpoint, or from the newest one (or --go-to STEP) of a timeline's folder",
    )
    parser.add_argument(
        "--go-to",
        type=int,
        metavar="STEP",
        help="of a recipe: make the steps before this one in silence, or those since the nearest checkpoint of a timeline",
    )
    parser.add_argument(
        "--timeline", metavar="DIR", help="of a recipe: keep checkpoints in this new folder as the training goes"
    )
    parser.add_argument("--timeline-mb", type=int, metavar="MB", help="MiB that they may take (default: 1024)")
    parser.add_argument(
        "--reproduce", metavar="OUT", help="of a recipe: write a plain PyTorch script that comes to the same"
    )


def _split_run(given: list[str]) -> own_options.Command:
    return own_options.split(given, _run_parser()._actions)


def _is_script(command: own_options.Command) -> bool:
    if command.name is None or command.is_module:
        return command.is_module
    path = _find(command.name)
    return path is not None and script_kind.is_script(path)


def _run_script(options: argparse.Namespace, command: own_options.Command) -> int:
    if not command.name:
        return _refuse("-m: expected the name of a module behind it")
    refused = {
        "--seed": (options.seed, "the script sets its own seed"),
        "--device": (options.device, "the script chooses its own device"),
        "--save-checkpoint": (options.save_checkpoint, "the script saves its own"),
        "--load-checkpoint": (options.load_checkpoint, "the script loads its own"),
        "--go-to": (options.go_to, "the script goes from its beginning; --break 'step N' stops it there"),
        "--timeline": (options.timeline, "the state of a script is its own; it saves what it wants to go back to"),
        "--timeline-mb": (options.timeline_mb, "that goes with --timeline, which is for recipes"),
        "--reproduce": (options.reproduce, "the script itself is what comes to its last step"),
    }
    if options.keep_going:
        return _refuse("--keep-going: a script goes on by itself; that is for recipes")
    for name, (value, reason) in refused.items():
        if value is not None:
            return _refuse(f"{name}: {reason}")
    if options.python is not None and not _is_this_python(options.python):
        module = ["-m"] if command.is_module else []
        return _run_elsewhere(options.python, [*command.own, *module, command.name, *command.rest])
    from gradscope.engine.headless.script import ScriptOptions, run_script
    from gradscope.engine.script.launching.launch import forget_own_path

    name = command.name if command.is_module else str(Path(command.name).expanduser())
    try:
        script = script_kind.script_of(name, command.rest, folder="", is_module=command.is_module)
    except script_kind.BadInput as error:
        return _refuse(str(error))
    forget_own_path()
    standard_streams.as_python_has_them()
    return run_script(
        ScriptOptions(
            script=script,
            steps=options.steps,
            runs_on=options.then == "run",
            jsonl=options.jsonl,
            export=options.export,
            on_failure=options.on_failure,
            tensorboard=options.tensorboard,
            quiet=options.quiet,
            capture=options.capture,
            stops_at_nonfinite=options.stop_at_nan,
            finds=options.findings or options.rules is not None,
            rules=options.rules,
            breaks=tuple(options.breaks),
        )
    )


def _is_this_python(path: str) -> bool:
    return Path(path).absolute() == Path(sys.executable).absolute()


def _run_elsewhere(python: str, given: list[str]) -> int:
    """By this very gradscope, which need not be installed there. The process becomes that interpreter's."""
    if not Path(python).is_file():
        return _refuse(f"--python: {python} does not exist; expected the path of a Python interpreter")
    itself = str(Path(__file__).parent / "__main__.py")
    # The option is given along, so that it is the interpreter that it asks for.
    command = [str(Path(python).absolute()), itself, "run", *given]
    standard_streams.flush()
    try:
        os.execv(command[0], command)
    except OSError as error:
        return _refuse(f"--python: {python} cannot be started: {error.strerror or error}")


def _find(name: str) -> Path | None:
    """The recipe of that path or sample name; None if there is neither."""
    path = Path(name).expanduser()
    if path.exists():
        return path.resolve()
    return assets.sample_path(name)


def _unknown_file(name: str) -> str:
    known = ", ".join(path.stem for path in assets.sample_paths())
    return (
        f"{name} is neither a file nor a sample; expected a training script, a recipe file, a snapshot, "
        f"or one of: {known}"
    )


def _nobody_asks(_code: int) -> None:
    pass


def _refuse(sentence: str) -> int:
    standard_streams.tell(sentence)
    return EXIT_BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
