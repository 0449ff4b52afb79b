"""`python -m gradscope` is `gradscope`; also run by its path, in an interpreter that has no gradscope."""

import sys


def _bootstrap() -> None:
    """Make `import gradscope` mean the package that this file belongs to, whatever the interpreter has installed."""
    import importlib.util
    from pathlib import Path

    package = Path(__file__).resolve().parent
    spec = importlib.util.spec_from_file_location(
        "gradscope", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gradscope"] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    if __package__ is None:
        _bootstrap()
    from gradscope.cli import main

    sys.exit(main())
