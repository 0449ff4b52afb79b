"""The engine process: `python -m gradscope.engine`, or this file run by its path in an interpreter that has no gradscope.

Port and token come by environment. Says Hello before torch is imported, so that the app knows early whom it talks to.
This file is plain enough to be compiled by any Python 3, to be able to say that a Python is too old.
"""

import os
import sys

EXIT_UNFIT = 3


def _bootstrap():  # type: ignore[no-untyped-def]
    """Make `import gradscope` mean the package that this file belongs to, whatever the interpreter has installed."""
    if sys.version_info < (3, 11):
        _refuse(
            "This interpreter is Python %d.%d (%s); the gradscope engine needs Python 3.11 or newer"
            % (sys.version_info[0], sys.version_info[1], sys.executable)
        )
    if "gradscope" in sys.modules:
        return
    here = os.path.dirname(os.path.abspath(__file__))
    # Run by path, Python has put this folder first: its modules must not stand in the way of the user's.
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    import importlib.util

    package = os.path.dirname(here)
    spec = importlib.util.spec_from_file_location(
        "gradscope", os.path.join(package, "__init__.py"), submodule_search_locations=[package]
    )
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    sys.modules["gradscope"] = module
    spec.loader.exec_module(module)  # type: ignore[union-attr]


def _refuse(sentence):  # type: ignore[no-untyped-def]
    sys.stderr.write("gradscope engine: %s\n" % sentence)
    sys.stderr.flush()
    sys.exit(EXIT_UNFIT)


def _tell(kind, error, traceback):  # type: ignore[no-untyped-def]
    # Whoever interrupts an engine that has not begun does it on purpose, and its end is told by the signal.
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)


if __name__ == "__mp_main__":
    # A DataLoader worker that was spawned, not forked.
    _bootstrap()  # type: ignore[no-untyped-call]

if __name__ == "__main__":
    _bootstrap()  # type: ignore[no-untyped-call]
    # A line is one write, as in a terminal: unbuffered (-u), print() makes several, which those of workers come between.
    sys.stdout.reconfigure(line_buffering=True, write_through=False)  # type: ignore[union-attr]
    from gradscope.engine.serving import guard
    from gradscope.protocol.last_place import LastPlace

    # Both processes have it: the guard and the engine, in which alone it goes on here.
    last_place = LastPlace.of_environment()
    guard.begin(last_place)
    excepthook, sys.excepthook = sys.excepthook, _tell
    try:
        import numpy  # noqa: F401
    except ImportError:
        _refuse(  # type: ignore[no-untyped-call]
            "numpy is missing in %s; install it with: %s -m pip install numpy torch safetensors"
            % (sys.executable, sys.executable)
        )
    from gradscope.engine.serving.process import main

    sys.excepthook = excepthook
    sys.exit(main(last_place))
