"""Two runs of the engine, compared by what they left behind: JSON lines and snapshots, in any combination."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from gradscope import Session, load_recipe
from gradscope.comparing import Comparison, compare
from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages.edits import EditOption
from gradscope.protocol.phases import SubStep
from gradscope.protocol.subjects import SubjectKey, SubjectKind
from gradscope.snapshots.format import saved_history
from gradscope.state.history import History
from tests.comparing.runs import run, write_recipe
from tests.snapshots import made

STEPS = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs: `same` and `again` are the same; `rate` has another rate, `clip` clips, `deeper` has a layer more."""
    folder = tmp_path_factory.mktemp("runs")
    for name, options in (
        ("same", {}),
        ("again", {}),
        ("rate", {"lr": 0.2}),
        ("clip", {"clip": 1e-3}),
        ("deeper", {"extra": "self.extra = nn.Dropout(0.0)", "through": "h = self.extra(h)"}),
    ):
        run(write_recipe(folder, name, **options), steps=STEPS, export=f"{name}.zip")  # type: ignore[arg-type]
    return folder


def differing(comparison: Comparison) -> dict[str, tuple[str | None, str | None]]:
    return {f"{fact.topic}: {fact.name}": (fact.ours, fact.theirs) for fact in comparison.facts if fact.differs}


@pytest.mark.parametrize(
    "pair", [("same.jsonl", "again.jsonl"), ("same.zip", "again.zip"), ("same.jsonl", "again.zip")]
)
def test_two_runs_that_are_the_same(folder: Path, pair: tuple[str, str]) -> None:
    comparison = compare(folder / pair[0], folder / pair[1])
    assert comparison.is_same
    assert comparison.divergence is None and not comparison.unmatched and not comparison.tensors
    assert comparison.steps == tuple(range(STEPS))
    # The files' names are no part of what is compared; their contents are the same.
    assert differing(comparison) == {}


@pytest.mark.parametrize("pair", [("same.jsonl", "rate.jsonl"), ("same.zip", "rate.zip"), ("same.zip", "rate.jsonl")])
def test_another_rate_parts_in_the_step(folder: Path, pair: tuple[str, str]) -> None:
    comparison = compare(folder / pair[0], folder / pair[1])
    divergence = comparison.divergence
    assert divergence is not None and not comparison.is_same
    assert (divergence.step, divergence.stage, divergence.name) == (0, SubStep.STEP, "learning rate")
    assert (divergence.ours, divergence.theirs) == (0.1, 0.2)
    assert divergence.agrees is not None and divergence.agrees.step == 0
    assert "recipe: sha256" in differing(comparison)
    rows = {row.name: row for row in comparison.rows if row.subject and row.subject.kind is SubjectKind.ACTIVATION}
    # Tanh of other weights: the first layer's output is another one as soon as they have moved.
    first_seen = 1 if pair[0].endswith("jsonl") else STEPS - 1
    assert rows["first"].first_step == first_seen and rows["first"].largest > 0


def test_clipping_is_named_before_the_step(folder: Path) -> None:
    comparison = compare(folder / "same.jsonl", folder / "clip.jsonl")
    assert comparison.divergence is not None
    # Nothing is clipped in the first run, and so it is the update that both have.
    assert comparison.divergence.stage is SubStep.STEP
    assert comparison.divergence.agrees is not None and comparison.divergence.agrees.stage is SubStep.BACKWARD
    assert differing(comparison)["settings: clipped to the norm"] == ("none", "0.001")
    assert any(one.subject.kind is SubjectKind.CLIPPED_GRAD and one.ours is None for one in comparison.unmatched)


def test_two_runs_of_different_structure_are_aligned_by_name(folder: Path) -> None:
    comparison = compare(folder / "same.jsonl", folder / "deeper.jsonl")
    alone = {one.subject for one in comparison.unmatched}
    assert alone == {
        SubjectKey(SubjectKind.ACTIVATION, "extra"),
        SubjectKey(SubjectKind.ACTIVATION_GRAD, "extra"),
    }
    assert all(one.ours is None and one.theirs == "(4, 6) float32" for one in comparison.unmatched)
    assert comparison.divergence is None, "a dropout of nothing changes no number"
    assert not comparison.is_same


def test_a_run_that_goes_on_longer_is_not_the_same(folder: Path) -> None:
    longer = run(write_recipe(folder, "longer"), steps=STEPS + 2)
    comparison = compare(folder / "same.jsonl", longer)
    assert comparison.divergence is None and not comparison.is_same
    assert (comparison.ours.last_step, comparison.theirs.last_step) == (STEPS - 1, STEPS + 1)


def test_another_seed_is_another_order_of_the_data(folder: Path) -> None:
    other = run(write_recipe(folder, "seeded"), steps=STEPS, options=("--seed", "3"))
    comparison = compare(folder / "same.jsonl", other)
    assert comparison.divergence is not None and comparison.divergence.stage is SubStep.BATCH
    assert differing(comparison)["recipe: seed"] == ("0", "3")
    assert "data: first batch" in differing(comparison)
    assert not any(name.startswith("initial weights") for name in differing(comparison)), "recipe() seeds the weights"


def test_micro_batches_are_moments_of_their_own(folder: Path) -> None:
    lines = run(write_recipe(folder, "window", accumulate=3), steps=2)
    told = [json.loads(line) for line in lines.read_text("utf-8").splitlines()]
    changed = next(line for line in told if (line["step"], line["phase"], line["micro"]) == (1, "backward", 1))
    changed["subjects"][0]["l2"] += 1.0
    other = folder / "window_changed.jsonl"
    other.write_text("".join(f"{json.dumps(line)}\n" for line in told), "utf-8")
    comparison = compare(lines, other)
    divergence = comparison.divergence
    assert divergence is not None
    assert (divergence.step, divergence.stage, divergence.micro) == (1, SubStep.BACKWARD, 1)
    assert divergence.when == "step 1, backward of micro-batch 2"
    assert divergence.agrees is not None
    assert (divergence.agrees.stage, divergence.agrees.micro) == (SubStep.LOSS, 1)


def test_initial_weights_are_named(folder: Path) -> None:
    lines = (folder / "same.jsonl").read_text("utf-8").splitlines()
    first = json.loads(lines[0])
    first["run"]["initial"][0]["l2"] *= 2
    other = folder / "initial.jsonl"
    other.write_text("\n".join([json.dumps(first), *lines[1:]]) + "\n", "utf-8")
    assert list(differing(compare(folder / "same.jsonl", other))) == ["initial weights: first.weight: l2"]


def test_tolerance_is_by_share_of_the_larger_number(folder: Path) -> None:
    assert not compare(folder / "same.jsonl", folder / "rate.jsonl", rtol=0.01).is_same
    assert compare(folder / "same.jsonl", folder / "rate.jsonl", rtol=1.0).divergence is None


def test_elements_of_two_snapshots_are_compared(folder: Path) -> None:
    found = compare(folder / "same.zip", folder / "rate.zip").tensors
    assert ("parameters.safetensors", "first.weight") in {(one.file, one.name) for one in found}
    assert all(0 < one.differing <= one.count for one in found)


def test_lines_of_an_earlier_version_say_less(folder: Path) -> None:
    lines = (folder / "same.jsonl").read_text("utf-8").splitlines()
    first = json.loads(lines[0])
    del first["run"], first["data"]
    other = folder / "earlier.jsonl"
    other.write_text("\n".join([json.dumps(first), *lines[1:]]) + "\n", "utf-8")
    comparison = compare(other, folder / "same.jsonl")
    assert comparison.is_same
    assert any("does not say with which versions" in note for note in comparison.notes)


def test_a_last_line_that_is_cut_off_is_left_out(folder: Path) -> None:
    text = (folder / "same.jsonl").read_text("utf-8")
    other = folder / "cut.jsonl"
    other.write_text(text[:-200], "utf-8")
    comparison = compare(folder / "same.jsonl", other)
    assert any("the last line is cut off" in note for note in comparison.notes)
    assert comparison.divergence is None


LINE = '{"step": 0, "phase": "forward", "micro": 0, "loss": 1.0, "lr": [], "subjects": []}'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "tells of no step"),
        ("\n\n", "tells of no step"),
        ("hello\n", "line 1 is no line of a run (it is not JSON"),
        ("[1, 2]\n", "line 1 is no line of a run (it is no JSON object)"),
        ('{"a": 1}\n', "line 1 is no line of a run (it has no phase)"),
        (f"{LINE}\n{LINE[:-2]}\n", "line 2 is no line of a run"),
        ('{"step": -1, "phase": "step", "subjects": []}\n', "its step is no whole number from 0"),
        ('{"step": 1, "phase": "step"}\n', "it has no list of subjects"),
        ('{"step": 1, "phase": "step", "subjects": [{"kind": "grad", "name": "a"}]}\n', "'a' has no count"),
        ('{"step": 1, "phase": "step", "subjects": [], "loss": NaN}\n', "NaN is no JSON number"),
        ('{"step": 1, "phase": "step", "subjects": [], "lr": ["much"]}\n', "its lr is no number"),
        ("\N{SNOWMAN}\n", "it is not JSON"),
    ],
)
def test_what_is_no_run_is_said_in_a_sentence(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "lines.jsonl"
    file.write_text(content, "utf-8")
    with pytest.raises(BadInput) as refused:
        compare(file, file)
    assert said in str(refused.value) and str(file) in str(refused.value)


def test_a_damaged_snapshot_is_said_in_a_sentence(folder: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes((folder / "same.zip").read_bytes()[:5000])
    with pytest.raises(BadInput, match=r"damaged\.zip"):
        compare(damaged, folder / "same.zip")


def with_history(recipe: Path, target: Path, steps: int, *, rate: str = "", at: int = 0) -> Path:
    """A snapshot as the app writes it: with every summary that it has seen, in float32."""
    with Session(load_recipe(recipe)) as session:
        history = History()
        for step in range(steps):
            if rate and step == at:
                session.edit(EditOption(group=0, option="lr", value=rate))
            for _ in range(3):
                report = session.advance()
                history.rows = session.observer.tables.subjects.rows
                history.add_report(report.raw)
        files = saved_history.encode(history.saved())
        made.save(session, target, attachments=[made.attachment(name, data) for name, data in files.items()])
    return target


def test_the_app_s_history_knows_every_step(folder: Path, tmp_path: Path) -> None:
    recipe = folder / "same.py"
    ours = with_history(recipe, tmp_path / "ours.zip", STEPS)
    same = compare(ours, folder / "same.jsonl")
    assert same.divergence is None and same.is_same
    assert any("float32" in note for note in same.notes)
    theirs = with_history(recipe, tmp_path / "theirs", STEPS, rate="0.3", at=2)
    divergence = compare(ours, theirs).divergence
    assert divergence is not None
    assert (divergence.step, divergence.stage, divergence.name) == (2, SubStep.STEP, "learning rate")
    assert divergence.agrees is not None and divergence.agrees.sentence == "step 2, backward"
    assert differing(compare(ours, theirs)) == {"edits: by hand": ("none", "step 2: Learning rate: 0.1 → 0.3")}
    mixed = compare(folder / "same.jsonl", theirs).divergence
    assert mixed is not None and (mixed.step, mixed.stage) == (2, SubStep.STEP)


def test_two_different_programs_have_nothing_to_compare(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text((folder / "same.jsonl").read_text("utf-8").replace('"name":"', '"name":"other_'), "utf-8")
    with pytest.raises(BadInput, match="are of different programs"):
        compare(folder / "same.jsonl", other)


def test_two_runs_without_a_step_in_common(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text((folder / "same.jsonl").read_text("utf-8").replace('"step":', '"step":9'), "utf-8")
    with pytest.raises(BadInput, match=r"steps 0 to 3.*steps 90 to 93.*at least one step that both have"):
        compare(folder / "same.jsonl", other)


def test_a_digest_says_whether_two_runs_began_with_the_same_weights(folder: Path, tmp_path: Path) -> None:
    other = run(write_recipe(tmp_path, "seeded"), steps=3, export="seeded.zip")
    text = (tmp_path / "seeded.py").read_text(encoding="utf-8").replace("manual_seed(1)", "manual_seed(2)")
    (tmp_path / "again.py").write_text(text, encoding="utf-8")
    run(tmp_path / "again.py", steps=3, export="again.zip")

    def digests(ours: Path, theirs: Path) -> tuple[str | None, str | None]:
        fact = next(fact for fact in compare(ours, theirs).facts if fact.name == "digest")
        return fact.ours, fact.theirs

    # A snapshot and JSON lines, too, have the same, though the snapshot was written after three steps.
    for same in (digests(folder / "same.zip", tmp_path / "seeded.zip"), digests(other, folder / "same.zip")):
        assert same[0] == same[1] is not None
    ours, theirs = digests(tmp_path / "seeded.zip", tmp_path / "again.zip")
    assert ours is not None and theirs is not None and ours != theirs


def test_a_snapshot_without_a_digest_opens_and_nothing_is_known_of_its_weights(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(folder / "same.zip") as whole:
        whole.extractall(tmp_path / "old")
    manifest = tmp_path / "old" / "manifest.json"
    content = json.loads(manifest.read_text(encoding="utf-8"))
    del content["first_weights"]
    manifest.write_text(json.dumps(content), encoding="utf-8")
    comparison = compare(tmp_path / "old", folder / "same.zip")
    fact = next(fact for fact in comparison.facts if fact.name == "digest")
    assert fact.ours is None and fact.theirs is not None and not fact.differs and comparison.is_same
