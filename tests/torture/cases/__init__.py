"""The corpus, by what goes wrong."""

from tests.torture.case import Case
from tests.torture.cases import (
    changing,
    eating,
    exiting,
    forking,
    hanging,
    odd_values,
    patching,
    printing,
    raising,
)

KINDS: dict[str, list[Case]] = {
    "raising": raising.CASES,
    "exiting": exiting.CASES,
    "hanging": hanging.CASES,
    "printing": printing.CASES,
    "forking": forking.CASES,
    "eating": eating.CASES,
    "patching": patching.CASES,
    "changing": changing.CASES,
    "odd values": odd_values.CASES,
}
CASES: dict[str, Case] = {case.name: case for cases in KINDS.values() for case in cases}
