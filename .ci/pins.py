"""Prints what pyproject.toml says about versions, for `.ci/run`.

pythons     the supported versions of Python, oldest first
newest      what the tests without torch need, for pip to take the newest versions
lowest      the same, with each dependency at the lowest version that is allowed
frameworks  what the training scripts of tests/scripts are written with
"""

import re
import sys
import tomllib
from pathlib import Path

TOOLS = ("hypothesis", "pytest", "tensorboard")
"""Of the development tools, those whose names begin so."""

project = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]
dependencies = [pin for pin in project["dependencies"] if not pin.startswith("torch")]
tools = [pin for pin in project["optional-dependencies"]["dev"] if pin.startswith(TOOLS)]

frameworks = project["optional-dependencies"]["dev-frameworks"]

match sys.argv[1]:
    case "pythons":
        print(*re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"])))
    case "newest":
        print(*dependencies, *tools, sep="\n")
    case "lowest":
        print(*(re.sub(r">=([^,]+).*", r"==\1", pin) for pin in dependencies), *tools, sep="\n")
    case "frameworks":
        print(*frameworks, sep="\n")
