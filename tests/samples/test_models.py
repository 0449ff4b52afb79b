"""What the docstrings of the larger models promise, seen through a `Session`."""

import importlib
import math
import runpy
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from gradscope import Session, load_recipe
from gradscope.engine.reports.report import PhaseReport, Subject
from gradscope.protocol.phases import Rest
from tests.samples.samples import SAMPLES, SEED, edited_session, load, mean, parameters, run, session, train


def found(report: PhaseReport, kind: str, name: str, call: int = 0, leaf: str = "") -> Subject:
    subject = report.get(kind, name, call, leaf)
    assert subject is not None, f"{kind} {name} was not seen"
    return subject


# ---------------------------------------------------------------------------------------------- accumulation


def test_accumulation_steps_once_in_four_batches(tmp_path: Path) -> None:
    with session("accumulation", tmp_path) as observed:
        rests, gradients = [], []
        for _ in range(4):
            observed.forward()
            gradients.append(found(observed.backward(), "grad", "1.weight").l2)
            rests.append(observed.position.rest)
        assert rests == [Rest.ACCUMULATING] * 3 + [Rest.BACKWARD]
        assert all(one < other for one, other in pairwise(gradients))
        run(observed, epochs=1)
        windows = [record.micro_batches for record in observed.history]
        losses = [record.loss for record in observed.history]
    assert windows == [4] * 18 + [3]
    assert mean(losses[-3:]) < 0.3 * losses[0]


def test_accumulation_is_one_large_batch_up_to_the_last_window(tmp_path: Path) -> None:
    small = session("accumulation", tmp_path / "small")
    large = session("accumulation", tmp_path / "large", MICRO_BATCH="96", ACCUMULATE="1")
    distances = []
    with small, large:
        while small.position.epoch < 1:
            small.next_batch()
            large.next_batch()
            one, other = (torch.cat([p.grad.flatten() for p in parameters(s.recipe).values()]) for s in (small, large))
            distances.append(((one - other).norm() / other.norm()).item())
        assert large.position.epoch == 1
    assert len(distances) == 19
    assert max(distances[:-1]) < 2e-6
    assert distances[-1] > 1e-3


# ------------------------------------------------------------------------------------------- mixed precision


def test_mixed_precision_skips_until_the_scale_fits(tmp_path: Path) -> None:
    with session("mixed_precision", tmp_path) as observed:
        forward, backward, step = observed.next_batch()
        types = {s.name: s.dtype for s in forward.subjects}
        assert types["1"] == types["3"] == "float16"
        assert {s.dtype for s in step.subjects if s.kind in ("parameter", "update")} == {"float32"}
        assert step.scale == 65_536
        assert step.is_skipped
        assert any(s.inf for s in backward.subjects if s.kind == "grad")
        assert all(s.zero == s.count for s in step.subjects if s.kind == "update")
        losses = run(observed, epochs=1)
        skipped = [record.step for record in observed.history if record.is_skipped]
        taken = [record for record in observed.history if not record.is_skipped]
    assert 2 <= sum(step < 4 for step in skipped) <= 3
    assert len(skipped) < 10
    assert all(math.isfinite(record.grad_l2) for record in taken)
    assert observed.history[0].loss == pytest.approx(32 * math.log(10), rel=0.03)
    assert mean([record.loss for record in taken[-5:]]) < 0.55 * losses[0]


def test_mixed_precision_in_bfloat16_needs_no_scale(tmp_path: Path) -> None:
    with session("mixed_precision", tmp_path, PRECISION='"bf16"') as observed:
        run(observed, epochs=1)
        assert not any(record.is_skipped or record.scale for record in observed.history)
        assert mean([record.loss for record in observed.history[-5:]]) < 0.6 * observed.history[0].loss


# ---------------------------------------------------------------------------------------------------- resnet


def test_resnet_blocks_start_as_if_they_were_not_there(tmp_path: Path) -> None:
    convolutions = [f"blocks.{block}.conv{i}.weight" for block in range(3) for i in (1, 2)]
    with session("resnet", tmp_path) as observed:
        forward = observed.forward()
        given = observed.values(found(forward, "activation", "blocks.0.shortcut").key)
        assert torch.equal(observed.values(found(forward, "activation", "blocks.0").key), given)
        for block in range(3):
            norm = found(forward, "activation", f"blocks.{block}.norm2")
            assert norm.zero == norm.count
        backward = observed.backward()
        for block in range(3):
            one, other = (found(backward, "activation_grad", f"blocks.{block}.{n}") for n in ("norm2", "shortcut"))
            assert torch.equal(observed.values(one.key), observed.values(other.key))
            assert one.l2 > 0
            assert found(backward, "grad", f"blocks.{block}.norm2.weight").l2 > 0
        assert all(found(backward, "grad", name).l2 == 0 for name in convolutions)
        observed.step()
        observed.forward()
        backward = observed.backward()
        assert all(found(backward, "grad", name).l2 > 0 for name in convolutions)


def test_resnet_learns() -> None:
    (losses,) = train(load("resnet"), epoch_count=1)
    assert mean(losses[:3]) > 2
    assert mean(losses[-10:]) < 0.4


# ------------------------------------------------------------------------------------------ U-Net segmentation


@pytest.fixture
def unet(tmp_path: Path) -> Path:
    """The sample in a folder of its own, where it finds no checkpoint."""
    return Path(shutil.copy(SAMPLES / "unet_segmentation.py", tmp_path))


def test_unet_goes_down_and_up_again(unet: Path) -> None:
    with Session(load_recipe(unet, SEED)) as observed:
        forward, backward = observed.forward(), observed.backward()
        channels = {s.name: s.shape[1] for s in forward.subjects if s.kind == "activation" and len(s.shape) == 4}
        model = observed.recipe.model
        for up, grown in (("up2", "grow2"), ("up1", "grow1")):
            assert getattr(model, up)[0].in_channels == 2 * channels[grown]
        assert found(backward, "grad", "down1.0.weight").l2 > 0


def test_unet_learns(unet: Path) -> None:
    recipe = load_recipe(unet, SEED)
    losses = train(recipe, epoch_count=3)
    scores = []
    with Session(recipe) as observed:
        scores.append(observed.validate().metrics)
        for _ in range(16):
            observed.next_batch()
        scores += [validation.metrics for validation in observed.validations]
        assert all(score["iou"] < score["dice"] for score in scores)
        assert observed.best is not None
        assert observed.best.value == max(score["dice"] for score in scores) > 0.8
    assert mean(losses[2][-4:]) < 0.5 * losses[0][0]


def test_unet_validates_every_epoch(tmp_path: Path) -> None:
    with edited_session("unet_segmentation", tmp_path, {"shapes(256, seed=1)": "shapes(32, seed=1)"}) as observed:
        run(observed, epochs=2)
        assert [(v.step, v.epoch, v.samples) for v in observed.validations] == [(1, 0, 64), (3, 1, 64)]


def test_unet_metrics_by_hand(unet: Path) -> None:
    recipe = load_recipe(unet, SEED)
    logits = torch.tensor([1.0, 1.0, -1.0, -1.0])
    masks = torch.tensor([1.0, 0.0, 1.0, 0.0])
    assert recipe.metrics["dice"](logits, masks) == pytest.approx(2 * 1 / (2 + 2))
    assert recipe.metrics["iou"](logits, masks) == pytest.approx(1 / 3)


def test_unet_as_a_script_saves_what_the_recipe_starts_from(unet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = unet.read_text("utf-8").replace("EPOCHS = 10", "EPOCHS = 2").replace("shapes(256", "shapes(64")
    unet.write_text(text, encoding="utf-8")
    checkpoint = unet.with_suffix(".pt")
    runpy.run_path(str(unet), run_name="__main__")
    printed = capsys.readouterr().out
    assert printed.count("validation Dice") == 2
    assert f"saved {checkpoint}" in printed
    saved = torch.load(checkpoint, weights_only=True)
    assert list(saved) == ["state_dict", "optimizer"]
    with Session(load_recipe(unet, SEED)) as observed:
        for name, tensor in observed.recipe.model.state_dict().items():
            assert torch.equal(tensor, saved["state_dict"][name])
        steps = [state["step"].item() for state in observed.recipe.optimizer.state.values()]
        assert set(steps) == {8}
        pretrained = observed.forward().loss
    checkpoint.unlink()
    with Session(load_recipe(unet, SEED)) as observed:
        assert pretrained < 0.95 * observed.forward().loss


# ------------------------------------------------------------------------------------------------------ LSTM


def test_lstm_computes_no_padding(tmp_path: Path) -> None:
    with session("lstm", tmp_path) as observed:
        forward = observed.forward()
        letters, lengths = observed.batch
        # Of n letters with their two ends, each but the last one is read.
        rows = int((lengths - 1).sum())
        assert rows < letters[:, :-1].numel()
        assert found(forward, "activation", "embedding").shape == (rows, 64)
        assert found(forward, "activation", "lstm", leaf="[0].data").shape == (rows, 64)
        packed = observed.values(found(forward, "activation", "lstm", leaf="[0].data").key)
        last = observed.values(found(forward, "activation", "lstm", leaf="[1][0]").key)
        assert last.shape == (1, len(lengths), 64)
        assert all((packed == state).all(dim=1).any() for state in last[0])
        observed.backward()
        gradients = {name: p.grad for name, p in parameters(observed.recipe).items()}
        torch.testing.assert_close(gradients["lstm.bias_ih_l0"], gradients["lstm.bias_hh_l0"])
        observed.step()
        assert observed.forward().get("activation", "embedding").shape != (rows, 64)


def test_lstm_learns_to_spell() -> None:
    losses = train(load("lstm"), epoch_count=3)
    assert losses[0][0] == pytest.approx(math.log(28), abs=0.1)
    assert mean(losses[-1]) < 2.2


def test_lstm_reads_every_word_of_the_sonnets() -> None:
    lstm = importlib.import_module("lstm")
    words = ["".join(lstm.ALPHABET[i] for i in word) for word in lstm.words()]
    assert words[:3] == [".from.", ".fairest.", ".creatures."]
    assert len(words) > 1300


# ------------------------------------------------------------------------------------------------------- GAN


def test_gan_moves_only_the_network_whose_turn_it_is(tmp_path: Path) -> None:
    with session("gan", tmp_path) as observed:
        reports = observed.next_batch()
        for name, other, backward, step in (
            ("discriminator", "generator", *reports[1:3]),
            ("generator", "discriminator", *reports[4:6]),
        ):
            assert step.optimizer == name
            updates = {s.name: s.l2 for s in step.subjects if s.kind == "update"}
            assert all((l2 > 0) == parameter.startswith(name) for parameter, l2 in updates.items())
            reached = {s.name.partition(".")[0] for s in backward.subjects if s.kind == "grad"}
            assert reached == ({name} if name == "discriminator" else {name, other})
        assert reports[0].loss == pytest.approx(math.log(2), abs=0.1)
        observed.forward()
        # The gradients of the generator's turn are gone.
        assert all(p.grad is None for p in observed.recipe.model["discriminator"].parameters())


def test_gan_learns_the_circle() -> None:
    recipe = load("gan")
    model, points = recipe.model, recipe.dataset.tensors[0]
    noise = torch.randn(1000, 2, generator=torch.Generator().manual_seed(1))
    spreads = []
    for _ in range(6):
        for batch in DataLoader(recipe.dataset, recipe.batch_size, shuffle=True):
            for name, optimizer in recipe.optimizer.items():
                optimizer.zero_grad()
                returned = recipe.training_step[name](model, batch)
                (returned[0] if isinstance(returned, tuple) else returned).backward()
                optimizer.step()
            with torch.no_grad():
                generated = model["generator"](noise)
            spreads.append(generated.std().item())
    assert spreads[0] < 0.2
    assert max(spreads) > 2
    assert mean(spreads[-16:]) == pytest.approx(points.std().item(), abs=0.2)
    assert (points.norm(dim=1) - 2).abs().mean() < 0.1
    assert (generated.norm(dim=1) - 2).abs().mean() < 0.7


def test_edits_that_fit_nowhere_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="is 0 times in gan"):
        edited_session("gan", tmp_path, {"no such line": ""})
    with pytest.raises(AssertionError, match="NO_SUCH"):
        session("gan", tmp_path, NO_SUCH="1")
