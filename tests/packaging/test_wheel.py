"""What the wheel and the source distribution carry, and that an installed wheel finds it from anywhere."""

import ast
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from gradscope import assets
from tests.patience import patient

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
FOREIGN_FOLDER = Path(ROOT.anchor)


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | (env or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        timeout=patient(120),
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def build(source: Path, *, target: str, into: Path) -> Path:
    """Builds without isolation, so without the network."""
    run(sys.executable, "-m", "hatchling", "build", "-t", target, "-d", into, cwd=source)
    (product,) = into.iterdir()
    return product


def files_below(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pt"
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, target="wheel", into=tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, target="sdist", into=tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the installed wheel and nothing else."""
    target = tmp_path_factory.mktemp("installed")
    offline = ("--no-deps", "--no-index", "--disable-pip-version-check", "--quiet")
    run(sys.executable, "-m", "pip", "install", *offline, "--target", target, wheel, cwd=target)
    return target


def run_installed(installed: Path, code: str) -> str:
    """Runs `code` from the root folder with the standard library and the wheel, and nothing else."""
    return run(sys.executable, "-B", "-S", "-c", code, cwd=FOREIGN_FOLDER, env={"PYTHONPATH": str(installed)})


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.mark.parametrize("folder", ["docs/findings", "resources", "sample_models"])
def test_wheel_holds_every_file_of(folder: str, wheel: Path) -> None:
    prefix = f"gradscope/_bundled/{folder}/"
    bundled = {name.removeprefix(prefix) for name in names_in(wheel) if name.startswith(prefix)}
    assert bundled == files_below(ROOT / folder)
    assert bundled


def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    top_level = {name.partition("/")[0] for name in names_in(wheel)}
    version = wheel.name.split("-")[1]
    assert top_level == {"gradscope", f"gradscope_debugger-{version}.dist-info"}
    modules = {name for name in names_in(wheel) if name.endswith(".py") and "/_bundled/" not in name}
    assert modules == {path.relative_to(ROOT).as_posix() for path in (ROOT / "gradscope").rglob("*.py")}


def test_sdist_holds_what_its_tests_need(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for expected in (
        ".ci/run",
        "CONTRIBUTING.md",
        "LICENSE",
        "pyproject.toml",
        "gradscope/assets.py",
        "tests/conftest.py",
    ):
        assert expected in names
    for folder in ("docs", "resources", "sample_models"):
        assert {f"{folder}/{name}" for name in files_below(ROOT / folder)} <= names


def test_wheel_built_from_the_sdist_is_the_same(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        # 3.11.2, which Debian 12 has, knows no filters; from 3.12 on, leaving the choice open is deprecated.
        archive.extractall(tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    (source,) = tmp_path.glob("gradscope_debugger-*")
    rebuilt = build(source, target="wheel", into=tmp_path / "rebuilt")
    assert names_in(rebuilt) == names_in(wheel)


def test_installed_wheel_finds_its_own_files(installed: Path) -> None:
    printed = run_installed(
        installed,
        "from gradscope import assets\n"
        "print([str(assets.resources_dir()), [str(path) for path in assets.sample_paths()]])",
    )
    resources, samples = ast.literal_eval(printed)
    bundled = installed.resolve() / "gradscope" / "_bundled"
    assert Path(resources) == bundled / "resources"
    assert [Path(sample).relative_to(bundled / "sample_models").name for sample in samples] == [
        path.name for path in assets.sample_paths()
    ]


def test_installed_command_says_its_version(installed: Path, wheel: Path) -> None:
    printed = run_installed(
        installed,
        "import sys\nfrom gradscope.cli import main\nsys.argv = ['gradscope', '--version']\nsys.exit(main())",
    )
    assert wheel.name.split("-")[1] in printed


APP = """
import sys, time
import gradscope
from gradscope.assets import sample_path
from gradscope.protocol.phases import Verb
from gradscope.ui.app import build, make_application
from gradscope.ui.look.settings import Settings

app = make_application()
window = build(app, Settings())
window.show()
controller, state = window.controller, window.controller.state
controller.start_engine()
window.commands.open_file(str(sample_path("digits_mlp")))

def wait(condition):
    end = time.monotonic() + 540
    while not condition():
        assert time.monotonic() < end, (state.engine, state.failure)
        app.processEvents()
        time.sleep(0.005)

wait(lambda: state.session is not None and state.opening is None)
controller.go(Verb.NEXT_BATCH)
wait(lambda: state.position.step == 1)
print(gradscope.__file__, state.session.path, sep="\\n")
controller.client.shut_down()
"""


def test_installed_wheel_opens_its_window_and_steps_a_sample(installed: Path) -> None:
    """gradscope from the wheel, everything else from the environment of the tests, started from another folder."""
    env = {"PYTHONPATH": str(installed), "QT_LOGGING_RULES": "*=false"}
    printed = run(sys.executable, "-c", APP, cwd=FOREIGN_FOLDER, env=env)
    package, sample = printed.splitlines()[-2:]
    assert Path(package).is_relative_to(installed)
    assert Path(sample).is_relative_to(installed)
    run(sys.executable, "-m", "gradscope.cli", "run", "digits_mlp", "--steps", "2", cwd=FOREIGN_FOLDER, env=env)


def test_editable_install_copies_nothing(tmp_path: Path) -> None:
    """A copy would go stale, and would be a second `gradscope` to tools that read site-packages."""
    code = f"from hatchling.build import build_editable; build_editable({str(tmp_path)!r})"
    run(sys.executable, "-c", code, cwd=ROOT)
    (editable,) = tmp_path.iterdir()
    assert not [name for name in names_in(editable) if name.startswith("gradscope/")]


def test_checkout_is_found_from_a_foreign_folder() -> None:
    printed = run(
        sys.executable,
        "-c",
        "from gradscope import assets; print(assets.resources_dir(), assets.sample_models_dir(), sep='\\n')",
        cwd=FOREIGN_FOLDER,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert printed.splitlines() == [str(ROOT / "resources"), str(ROOT / "sample_models")]
