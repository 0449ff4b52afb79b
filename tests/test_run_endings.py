"""`gradscope run` says how it ended, also where it was ended from inside; and is a process like any other to its shell."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gradscope.engine.watched_run import describe_end
from tests.patience import patient
from tests.torch_python import engine_python

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody watches"),
    pytest.mark.timeout(120),
]

ROOT = Path(__file__).parents[1]
LIMIT_SECS = 120

BEGIN = """
import os, signal, sys, time
from gradscope.engine.watched_run import begin
end = begin()
"""
"""Without torch: what is said and passed on has nothing to do with it."""

RECIPE = """
import os, torch
from gradscope import Recipe

def loss(output, target):
    print("in the loss", flush=True)
    {ending}
    return output.sum()

def recipe():
    model = torch.nn.Linear(2, 1)
    return Recipe(model=model, dataset=[(torch.ones(2), torch.ones(1))] * 2, loss=loss, batch_size=1,
                  optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
"""


def start(code: str, **options: object) -> subprocess.Popen[str]:
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen([sys.executable, "-c", BEGIN + code], cwd=ROOT, text=True, **{**pipes, **options})  # type: ignore[call-overload,no-any-return]


def ended(code: str, sent: str = "") -> tuple[int, str, str]:
    """(exit code, standard output, standard error)"""
    process = start(code)
    out, err = process.communicate(sent, timeout=LIMIT_SECS)
    return process.returncode, out, err


def run_recipe(tmp_path: Path, ending: str) -> tuple[int, str, str]:
    recipe = tmp_path / "recipe.py"
    recipe.write_text(RECIPE.format(ending=ending))
    done = subprocess.run(
        [engine_python(), "-m", "gradscope", "run", str(recipe), "--steps", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECS,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_recipe_that_exits_by_itself(tmp_path: Path) -> None:
    code, out, err = run_recipe(tmp_path, "os._exit(7)")
    assert (code, out) == (7, "in the loss\n")
    assert err.startswith("gradscope: the run has ended with exit code 7 before it was done, and has not said why")
    assert err.endswith(". It was in the forward of step 0\n")
    assert err.count("\n") == 1


def test_a_recipe_that_crashes(tmp_path: Path) -> None:
    code, _, err = run_recipe(tmp_path, "import ctypes; ctypes.string_at(0)")
    assert code == -signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault" in err
    assert "recipe.py" in err, "the user's line is in what faulthandler writes"
    assert err.splitlines()[-1].startswith("gradscope: the run was killed by SIGSEGV (segmentation fault")


CRASHES = """
import ctypes, torch
from torch import nn
from gradscope import Recipe

class Crash(nn.Module):
    calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls == 3:
            ctypes.string_at(0)
        return x

def recipe():
    model = nn.Sequential(nn.Linear(2, 2), Crash(), nn.Linear(2, 1))
    return Recipe(model=model, dataset=[(torch.ones(2), torch.ones(1))] * 4, loss=nn.MSELoss(), batch_size=1,
                  optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
"""


def test_a_crash_in_a_layer_names_it(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.py"
    recipe.write_text(CRASHES)
    command = [engine_python(), "-m", "gradscope", "run", str(recipe), "--steps", "4"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_SECS)
    assert done.returncode == -signal.SIGSEGV
    assert done.stderr.splitlines()[-1].endswith("It was in the forward of step 2, in layer 1")


@pytest.mark.parametrize("code", [0, 1, 2, 70, 130])
def test_a_run_that_has_said_how_it_ended(code: int) -> None:
    assert ended(f"end({code}); sys.exit({code})") == (code, "", "")


@pytest.mark.parametrize(
    ("code", "status", "told"),
    [
        ("os._exit(0)", 0, "the run has ended with exit code 0 before it was done"),
        ("os.kill(os.getpid(), signal.SIGKILL)", -9, "the run was killed by SIGKILL (often the system's out-of-memory"),
        ("os.abort()", -6, "the run was killed by SIGABRT"),
        ("import atexit; atexit.register(os._exit, 9); end(0)", 9, "the run was done, and then ended with exit code 9"),
    ],
)
def test_every_other_end(code: str, status: int, told: str) -> None:
    returned, _, err = ended(code)
    assert returned == status
    assert told in err.splitlines()[-1]


def test_a_signal_late_in_the_end_is_none_of_it() -> None:
    assert describe_end(0, b"\x02\xff\x00\x02") is None


def test_standard_input_is_the_run_s() -> None:
    assert ended("print(input()); print(sys.stdin.read()); end(0)", "one\ntwo") == (0, "one\ntwo\n", "")


SLOW = """
import time
import torch
from torch import nn
from gradscope import Recipe

class Slow(nn.Linear):
    calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls == 3:
            print("up", flush=True)
        time.sleep(0.01)
        return super().forward(x)

def recipe():
    m, x = Slow(2, 1), torch.randn(8, 2)
    data = torch.utils.data.TensorDataset(x, x[:, :1])
    return Recipe(model=m, dataset=data, loss=nn.MSELoss(), optimizer=torch.optim.SGD(m.parameters(), 0.1))
"""
COUNTS = """
def count(*_):
    print("interrupted", flush=True)
signal.signal(signal.SIGINT, count)
print("up", flush=True)
# A signal that comes just before a read would be answered only when the read is over.
import select
while not select.select([0], [], [], 0.05)[0]:
    pass
input()
end(0)
"""


@pytest.mark.parametrize("to", ["process", "group"])
def test_an_interrupt_comes_once(to: str) -> None:
    process = start(COUNTS, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    for times in range(1, 4):
        if to == "process":
            os.kill(process.pid, signal.SIGINT)
        else:
            os.killpg(process.pid, signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n", times
        # What may come a second time would have come by then.
        time.sleep(0.2)
    out, err = process.communicate("\n", timeout=LIMIT_SECS)
    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.parametrize("pause", [0.0, 0.15, 0.4])
def test_an_interrupt_of_a_run_is_told_once(tmp_path: Path, pause: float) -> None:
    """As timeout(1) sends it: to the process, and to its group; also where the second one comes while Python is ending."""
    recipe = tmp_path / "recipe.py"
    recipe.write_text(SLOW, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "gradscope", "run", str(recipe), "--steps", "100000"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    os.kill(process.pid, signal.SIGINT)
    time.sleep(pause)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=LIMIT_SECS)
    assert process.returncode in (130, -signal.SIGINT)
    assert err == "gradscope: interrupted\n"


def test_ctrl_c_in_a_terminal_comes_once() -> None:
    master, slave = pty.openpty()
    code = f"os.setsid(); import fcntl, termios; fcntl.ioctl({slave}, termios.TIOCSCTTY, 0)"
    process = subprocess.Popen(
        [sys.executable, "-c", f"import os; {code}\n{BEGIN}{COUNTS}"],
        cwd=ROOT,
        stdin=slave,
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=[slave],
    )
    os.close(slave)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    os.write(master, b"\x03")
    assert process.stdout.readline() == "interrupted\n"
    time.sleep(0.2)
    os.write(master, b"\n")
    assert process.wait(LIMIT_SECS) == 0
    assert process.stdout.read() == ""
    process.stdout.close()
    os.close(master)


def test_a_request_to_end_is_passed_on_and_told() -> None:
    process = start("print('up', flush=True); time.sleep(600)")
    assert process.stdout is not None
    process.stdout.readline()
    process.terminate()
    _, err = process.communicate(timeout=LIMIT_SECS)
    assert process.returncode == -signal.SIGTERM
    assert err == "gradscope: the run was killed by SIGTERM (somebody asked it to end)\n"


def test_the_run_does_not_outlive_its_parent() -> None:
    process = start("print(os.getpid(), flush=True); time.sleep(600)")
    assert process.stdout is not None
    child = int(process.stdout.readline())
    assert child != process.pid
    process.kill()
    process.communicate(timeout=LIMIT_SECS)
    deadline = time.monotonic() + patient(LIMIT_SECS)
    while Path(f"/proc/{child}").exists() and ") Z " not in Path(f"/proc/{child}/stat").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("argument", ["--version", "samples"])
def test_python_m_gradscope_is_gradscope(argument: str) -> None:
    outputs = [
        subprocess.run([sys.executable, "-m", name, argument], cwd=ROOT, capture_output=True, text=True, check=True)
        for name in ("gradscope", "gradscope.cli")
    ]
    assert outputs[0].stdout == outputs[1].stdout != ""


SCRIPT = """
import ctypes, os, signal, sys
import torch
from torch import nn

class Ends(nn.Module):
    calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls == 3 and {in_layer}:
            {ending}
        return x

model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU(), Ends()), nn.Linear(2, 1))
optimizer = torch.optim.SGD(model.parameters(), 0.1)
for step in range(4):
    loss = model(torch.ones(3, 2)).sum()
    loss.backward()
    optimizer.step()
    print(step, flush=True)
    if step == 1 and not {in_layer}:
        {ending}
"""


def run_script(tmp_path: Path, ending: str, *options: str, in_layer: bool = True) -> tuple[int, str, str]:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT.format(ending=ending, in_layer=in_layer), encoding="utf-8")
    command = [engine_python(), "-m", "gradscope", "run", "--quiet", *options, str(script)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_SECS)
    assert done.stdout == "0\n1\n"
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("ending", "number", "name"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", signal.SIGKILL, "SIGKILL (often the system's out-of-memory"),
        ("ctypes.string_at(0)", signal.SIGSEGV, "SIGSEGV (segmentation fault"),
        ("os.abort()", signal.SIGABRT, "SIGABRT"),
    ],
)
def test_a_script_that_is_killed_in_a_layer(tmp_path: Path, ending: str, number: int, name: str) -> None:
    code, _, err = run_script(tmp_path, ending)
    assert code == -number
    assert err.startswith(f"gradscope: the script was killed by {name}")
    assert err.endswith(". It was in the forward of step 2, in layer model.1.1\n")
    assert err.count("\n") == 1


def test_a_script_that_is_killed_between_two_steps(tmp_path: Path) -> None:
    code, _, err = run_script(tmp_path, "os.kill(os.getpid(), signal.SIGTERM)", "--capture", "off", in_layer=False)
    assert (code, err) == (-15, "gradscope: the script was killed by SIGTERM (somebody asked it to end)\n")


@pytest.mark.parametrize(
    ("ending", "code"), [("os._exit(7)", 7), ("sys.exit(3)", 3), ("os.execv('/bin/true', ['true'])", 0)]
)
def test_a_script_that_ends_by_itself_is_its_own_affair(tmp_path: Path, ending: str, code: int) -> None:
    assert run_script(tmp_path, ending, in_layer=False) == (code, "0\n1\n", "")
