"""Damaged snapshots by the thousand: `python tests/fuzz/snapshots.py --count 20000 --seed 1`.

Valid snapshots of several levels of capture and formats, as folders and as zips, are damaged at random (bytes, lengths, JSON
values, CSV cells, the headers of tensor files), opened, looked at from all sides and compared with themselves. Whatever
they hold, a person is told a sentence, in bounded time and memory. `--window N` also shows every N-th one that opens in the
real window. The fixed corpus of the test suite is seed 0.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import math
import os
import random
import resource
import shutil
import struct
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from gradscope.client.snapshot_source import Reopened, reopen
from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages import FetchHistogram, FetchPage, FetchPicture
from gradscope.snapshots.against import difference, our_values
from gradscope.snapshots.format.reading import Reading
from gradscope.snapshots.looking import look
from gradscope.snapshots.snapshot import Snapshot
from tests.snapshots import made

MOST_SECONDS = 5.0
"""Of the processor, for one of these small snapshots."""
MOST_BYTES = 256 * 1024**2
"""By which the process may grow over all of them."""

Files = dict[str, bytes]
_JSON = (".json",)
_ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, 2**31, 2**53, 2**63, 2**64, 10**400, "", "x", "nan", "-inf", [], {}, [[]], [None]),
    *({"$": 0}, "\u2603" * 50, "a" + ".b" * 300, [0] * 50, {"": {}}, "..", "/", "\x00"),
)
_CELLS = (
    "",
    "nan",
    "inf",
    "-1",
    "1e999",
    "x",
    '"',
    "9" * 40,
    "0x10",
    "1_0",
    "\u00b2",
    "\u2603",
    ",",
    "\r\n",
    "1e-320",
    "-0",
)


def originals(folder: Path) -> list[Files]:
    """The files of valid snapshots, by name."""
    found = []
    for number, (phases, capture) in enumerate(((0, "full"), (5, "full"), (4, "norms"), (7, "full"))):
        path = folder / f"{number}"
        with made.session(phases=phases, capture=capture) as session:
            from gradscope.engine.export.snapshot import write_snapshot

            write_snapshot(session, path, attachments=[made.attachment("plots/loss.png")])
        found.append(files_of(path))
    from tests.snapshots.test_reader import version1

    found.append(files_of(version1(folder / "1", folder / "old")))
    found.append({**found[1], **_history(folder / "1")})
    return found


def files_of(path: Path) -> Files:
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def _history(path: Path) -> Files:
    """The history that the app would have added."""
    from gradscope.snapshots.format import saved_history
    from gradscope.snapshots.reader import open_snapshot
    from gradscope.state.reopened import state_of

    return saved_history.encode(state_of(open_snapshot(path)).history.saved())


# ------------------------------------------------------------------------------------------------ damage


def damaged(files: Files, chance: random.Random) -> Files:
    """A copy with one to four things wrong; the manifest mostly tells the sizes that there are."""
    found = dict(files)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        name = chance.choice(sorted(found))
        change = chance.choice((*_CHANGES.get(Path(name).suffix, ()), _flipped, _cut, _grown))
        found[name] = change(found[name], chance)
        if chance.random() < 0.03:
            del found[name]
    return _told(found) if chance.random() < 0.9 else found


def _told(files: Files) -> Files:
    try:
        manifest = json.loads(files["manifest.json"])
        sizes = {name: len(data) for name, data in files.items() if name != "manifest.json"}
        if isinstance(manifest.get("files"), dict):
            manifest["files"] |= {name: size for name, size in sizes.items() if name in manifest["files"]}
        return {**files, "manifest.json": json.dumps(manifest).encode()}
    except (KeyError, ValueError, AttributeError, RecursionError):
        return files


def _flipped(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 8, 64)) if data else 0):
        changed[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(changed)


def _cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _grown(data: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(data) + 1)
    return data[:place] + chance.choice((bytes(chance.randrange(1, 64)), data[:200], b"[" * 500, b'"')) + data[place:]


def _json_changed(data: bytes, chance: random.Random) -> bytes:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return data
    for _ in range(chance.choice((1, 1, 3))):
        places = list(_places(value))
        if not places:
            return data
        holder, key = chance.choice(places)
        _change_place(holder, key, chance)
    return json.dumps(value).encode()


def _change_place(holder: Any, key: Any, chance: random.Random) -> None:
    match chance.randrange(5):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, list):
            holder.extend(copy.deepcopy([holder[key]] * chance.choice((1, 3, 1000))))
        case 1:
            holder[str(chance.choice(_ODD))[:40]] = copy.deepcopy(holder[key])
        case 2 if type(holder[key]) in (int, float) and abs(holder[key]) < 1e300:
            holder[key] = holder[key] * chance.choice((-1, 2, 10**6, 0.5)) + chance.choice((-1, 0, 1))
        case _:
            # A copy: what is put in may be changed by the next change.
            holder[key] = copy.deepcopy(chance.choice(_ODD))


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, (dict, list)):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def _csv_changed(data: bytes, chance: random.Random) -> bytes:
    lines = [line.split(",") for line in data.decode("utf-8", "replace").splitlines()]
    for _ in range(chance.choice((1, 1, 3))):
        line = chance.choice(lines) if lines else []
        match chance.randrange(4):
            case 0 if line:
                line[chance.randrange(len(line))] = chance.choice(_CELLS)
            case 1 if line:
                del line[chance.randrange(len(line))]
            case 2:
                lines.insert(chance.randrange(len(lines) + 1), list(line))
            case _:
                line.append(chance.choice(_CELLS))
    return "\r\n".join(",".join(line) for line in lines).encode("utf-8", "replace")


def _header_changed(data: bytes, chance: random.Random) -> bytes:
    """What a tensor file says of itself."""
    if len(data) < 8:
        return data
    (length,) = struct.unpack("<Q", data[:8])
    header, rest = data[8 : 8 + length], data[8 + length :]
    changed = _json_changed(header, chance)
    told = chance.choice((len(changed), len(changed), len(changed), 0, 2**32, 2**63, len(changed) + 1))
    return struct.pack("<Q", told) + changed + rest


_CHANGES: dict[str, tuple[Callable[[bytes, random.Random], bytes], ...]] = {
    ".json": (_json_changed, _json_changed, _json_changed),
    ".csv": (_csv_changed, _csv_changed),
    ".safetensors": (_header_changed, _header_changed),
}


def written(files: Files, path: Path, chance: random.Random) -> Path:
    """As a folder, as a zip, or as a zip whose own bytes are damaged."""
    form = chance.randrange(4)
    if form == 0:
        for name, data in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
        return path
    path = path.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED if form == 1 else zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    if form == 3:
        path.write_bytes(chance.choice((_flipped, _cut, _grown))(path.read_bytes(), chance))
    return path


# ---------------------------------------------------------------------------------------------------- use


@dataclass
class Found:
    opened: int = 0
    refused: int = 0
    slowest: float = 0.0
    sentences: Counter[str] = field(default_factory=Counter)


def use(path: Path) -> Reopened | BadInput:
    """Everything that a window would ask for; anything but BadInput is a defect."""
    reopened = reopen(str(path), Reading())
    assert reopened is not None
    if isinstance(reopened, BadInput):
        sentence = str(reopened)
        assert str(path) in sentence and "\n" not in sentence and len(sentence) < 800, sentence
        return reopened
    snapshot, state = reopened.snapshot, reopened.state
    state.history.saved()
    for row in snapshot.rows[:40]:
        for request in (
            FetchPage(subject=row.key, index=(9, -1), row=1, rows=9, columns=9),
            FetchPicture(subject=row.key, side=16),
            FetchHistogram(subject=row.key, bins=20),
        ):
            look(snapshot, request)
        difference(row.key, our_values(snapshot), snapshot)
    _read_pictures(snapshot)
    return reopened


def _read_pictures(snapshot: Snapshot) -> None:
    for name in snapshot.pictures:
        with contextlib.suppress(BadInput):
            snapshot.picture(name)


class Window:
    """The real window, offscreen."""

    def __init__(self) -> None:
        from gradscope.ui.app import build, make_application
        from gradscope.ui.look.settings import Settings

        self._app = make_application()
        self._window = build(self._app, Settings())
        self._window.resize(1200, 800)
        self._window.show()

    def show(self, path: Path) -> None:
        controller, workspace = self._window.controller, self._window.workspace
        controller.open_snapshot(str(path))
        end = time.monotonic() + 60
        while controller.state.opening is not None and time.monotonic() < end:
            self._turn()
        assert controller.state.opening is None, f"{path} did not open"
        for index in range(workspace.count()):
            workspace.setCurrentIndex(index)
            for _ in range(3):
                self._turn()
        controller.close_snapshot()
        self._turn()

    def close(self) -> None:
        self._window.close()
        self._window.controller.shut_down()

    def _turn(self) -> None:
        self._app.processEvents()
        time.sleep(0.002)


def run(
    sources: list[Files],
    folder: Path,
    *,
    count: int,
    seed: int,
    window: Callable[[Path], None] | None = None,
    seconds: float = math.inf,
) -> Found:
    """Damage, open, look, compare, at most for so many seconds; `window` shows one of those that open."""
    end = time.monotonic() + seconds
    chance, found = random.Random(seed), Found()
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(count):
        if time.monotonic() > end:
            break
        path = written(damaged(chance.choice(sources), chance), folder / f"s{number}", chance)
        begun = time.process_time()
        try:
            answer = use(path)
        except BaseException:
            print(f"number {number} of seed {seed}: {path}", file=sys.stderr)
            raise
        spent = time.process_time() - begun
        assert spent < MOST_SECONDS, f"{path} took {spent:.1f} s"
        found.slowest = max(found.slowest, spent)
        if isinstance(answer, BadInput):
            found.refused += 1
            found.sentences[str(answer).replace(str(path), "").partition(":")[2][:40]] += 1
        else:
            found.opened += 1
            if window is not None:
                window(path)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start)
    assert grown < MOST_BYTES, f"The process grew by {grown} bytes"
    return found


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--count", type=int, default=20_000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument(
        "--window", type=int, default=0, metavar="N", help="show every N-th that opens in the real window"
    )
    options.add_argument("--seconds", type=float, default=math.inf, help="stop after so long")
    chosen = options.parse_args()
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    window = None
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CONFIG_HOME"] = folder
        show = None
        if chosen.window:
            window, seen = Window(), Counter[str]()

            def show(path: Path, window: Window = window) -> None:
                seen["opened"] += 1
                if seen["opened"] % chosen.window == 0:
                    window.show(path)

        started = time.monotonic()
        found = run(
            originals(Path(folder)),
            Path(folder),
            count=chosen.count,
            seed=chosen.seed,
            window=show,
            seconds=chosen.seconds,
        )
        if window is not None:
            window.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    total = found.opened + found.refused
    print(f"{total} snapshots, seed {chosen.seed}: {found.opened} opened, {found.refused} refused; slowest ", end="")
    print(f"{found.slowest:.2f} s, peak {peak:.0f} MB, {time.monotonic() - started:.0f} s in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
