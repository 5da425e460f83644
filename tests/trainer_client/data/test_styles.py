"""What changes what is learnt of a picture: tag order, offset noise, masks, zero terminal SNR; how that is kept."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from schemas.errors import BadOption
from tests.trainer_client.conftest import write_snapshot
from tests.trainer_client.methods.runs import varied
from tests.trainer_client.train.test_learning import learn, prepared
from trainer_client import load_model
from trainer_client.data.batches import epoch_steps, make_batch, shuffle_tags
from trainer_client.models.conventions import FILE, Conventions

EVERYTHING = list(range(12))


@pytest.fixture(scope="module")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot whose captions are lists of tags."""

    def caption(split: str, number: int) -> dict[str, str | None]:
        return {"template": f"drawing, red fox, in the snow, {number}", "human": "a wolf"}

    return write_snapshot(tmp_path_factory.mktemp("tagged"), caption=caption)


def test_tags_are_shuffled_by_image_and_epoch_and_the_first_are_kept() -> None:
    caption = ", ".join("abcdefgh")
    drawn = [shuffle_tags(caption, 2, 0, epoch, "image") for epoch in range(1, 20)]
    assert all(one.startswith("a, b, ") and sorted(one.split(", ")) == list("abcdefgh") for one in drawn)
    assert len(set(drawn)) > 15
    assert shuffle_tags(caption, 2, 0, 1, "image") == drawn[0] != shuffle_tags(caption, 2, 0, 1, "other")
    assert shuffle_tags(caption, 8, 0, 1, "image") == caption
    assert shuffle_tags("", 0, 0, 1, "image") == ""
    for written in ("1girl,solo,1,000 trees", " 1girl ,solo, 1,000 trees,"):  # With or without spaces.
        assert sorted(shuffle_tags(written, 0, 0, 1, "image").split(", ")) == ["1,000 trees", "1girl", "solo"]
    assert shuffle_tags("no tags  at all ", 0, 0, 1, "image") == "no tags  at all "


def test_a_step_trains_on_the_shuffled_words(tagged: Path, base: Path, tmp_path: Path) -> None:
    values: dict[str, Any] = {"captions": "template", "shuffle_tags": True, "keep_tags": 1, "caption_dropout": 0.3}
    run = prepared(tagged, base, tmp_path, **values)
    plain = make_batch(run.family, varied(run, shuffle_tags=False), 1, EVERYTHING)
    drawn = make_batch(run.family, run.data, 1, EVERYTHING)
    backwards = make_batch(run.family, run.data, 1, EVERYTHING[::-1])
    assert torch.equal(drawn.captions_B, backwards.captions_B.flip(0))  # By image, wherever it stands.
    dropped_B = plain.captions_B == 0
    assert 0 < int(dropped_B.sum()) < 12
    assert torch.equal(drawn.captions_B[dropped_B], run.family.tokenise([""]).expand(int(dropped_B.sum()), -1))
    place = int((~dropped_B).nonzero()[0])
    words = shuffle_tags(run.data.caption_texts[int(plain.captions_B[place])], 1, 0, 1, run.data.sha256s[place])
    wanted_1TD = run.family.encode_text(run.family.tokenise([words]))
    torch.testing.assert_close(run.data.embedded(run.family, drawn.captions_B[[place]]), wanted_1TD)
    assert torch.equal(drawn.noisy_BCHW, plain.noisy_BCHW)
    _, losses = learn(run, epochs=2)
    assert all(loss > 0 for loss in losses)


def test_offset_noise_shifts_a_channel_as_a_whole(snapshot: Path, base: Path, tmp_path: Path) -> None:
    run = prepared(snapshot, base, tmp_path)
    plain = make_batch(run.family, run.data, 1, EVERYTHING)
    shifted = make_batch(run.family, varied(run, offset_noise=0.5), 1, EVERYTHING)
    shift_BCHW = shifted.target_BCHW - plain.target_BCHW
    assert torch.allclose(shift_BCHW, shift_BCHW[:, :, :1, :1], atol=1e-5)
    assert 0.3 < float(shift_BCHW[:, :, 0, 0].std()) < 0.7
    assert torch.equal(shifted.timesteps_B, plain.timesteps_B)


def test_a_masked_loss_sees_what_is_opaque(snapshot: Path, base: Path, tmp_path: Path) -> None:
    run = prepared(snapshot, base, tmp_path, masked_loss=True, background_weight=0.25, flip=True)
    drawn = make_batch(run.family, run.data, 1, EVERYTHING)
    assert drawn.mask_B1HW is not None
    assert drawn.mask_B1HW.shape == (12, 1, 8, 8)
    torch.testing.assert_close(drawn.mask_B1HW.mean(dim=(1, 2, 3)), torch.ones(12))
    least, most = drawn.mask_B1HW.amin(dim=(1, 2, 3)), drawn.mask_B1HW.amax(dim=(1, 2, 3))
    torch.testing.assert_close(least / most, torch.full((12,), 0.25))  # Each has opaque and transparent places.
    unflipped = make_batch(run.family, varied(run, flip=False), 1, EVERYTHING)
    assert unflipped.mask_B1HW is not None
    turned_B = (drawn.noisy_BCHW != unflipped.noisy_BCHW).flatten(1).any(dim=1)
    torch.testing.assert_close(drawn.mask_B1HW[turned_B], unflipped.mask_B1HW[turned_B].flip(3))
    torch.testing.assert_close(drawn.mask_B1HW[~turned_B], unflipped.mask_B1HW[~turned_B])


def test_the_background_teaches_nothing_unless_it_counts(snapshot: Path, base: Path, tmp_path: Path) -> None:
    """Targets changed where nothing is opaque leave the loss as it is."""
    for weight in (0.0, 0.5):
        run = prepared(snapshot, base, tmp_path, masked_loss=True, background_weight=weight)
        drawn = make_batch(run.family, run.data, 1, EVERYTHING)
        hidden_B1HW = run.data.latents.opacity(torch.arange(12), torch.zeros(12), torch.device("cpu")) == 0
        losses = []
        for target_BCHW in (drawn.target_BCHW, torch.where(hidden_B1HW, 100.0, drawn.target_BCHW)):
            drawn = type(drawn)(**{**drawn.tensors(), "target_BCHW": target_BCHW})
            learner, _ = learn(run, epochs=0)
            text_BTD = run.data.embedded(run.family, drawn.captions_B)
            losses.append(float(learner._backward(drawn, text_BTD).sum()))
        assert (losses[0] == pytest.approx(losses[1])) is (weight == 0)


def test_masks_without_effect_are_refused(base: Path, snapshot: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--background-weight needs --masked-loss"):
        prepared(snapshot, base, tmp_path, background_weight=0.5)
    with pytest.raises(ValueError, match="--ema-decay needs --ema"):
        prepared(snapshot, base, tmp_path, ema_decay=0.5)
    with pytest.raises(ValueError, match="--keep-tags needs --shuffle-tags"):
        prepared(snapshot, base, tmp_path, keep_tags=1)


@pytest.mark.slow
def test_a_schedule_that_ends_in_noise(snapshot: Path, v_base: Path, tmp_path: Path) -> None:
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    run = prepared(snapshot, v_base, tmp_path, zero_terminal_snr=True)
    family: Any = run.family
    assert float(family.schedule.signal_S[-1]) == float(family.schedule.snr_S[-1]) == 0
    plain: Any = load_model.load(str(v_base))
    assert float(plain.schedule.signal_S[-1]) > 0
    assert float(family.schedule.signal_S[0]) == pytest.approx(float(plain.schedule.signal_S[0]))
    learn(run)
    folder = tmp_path / "saved"
    run.method.save(folder, torch.float32, {}, None)
    assert Conventions.read(folder / FILE).zero_terminal_snr
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    assert isinstance(pipeline.scheduler, DDIMScheduler)
    assert pipeline.scheduler.config.rescale_betas_zero_snr
    assert pipeline.scheduler.config.timestep_spacing == "trailing"
    (folder / FILE).unlink()  # The scheduler says enough.
    loaded: Any = load_model.load(str(folder))
    assert torch.equal(loaded.schedule.signal_S, family.schedule.signal_S)
    steps = loaded.schedule.solver(4).timesteps.tolist()
    assert steps[0] == 999
    text_BTD, noise_BCHW = loaded.encode_text(loaded.tokenise(["a fox", ""])), torch.randn(1, *loaded.latent_shape)
    pictures = [
        one.sample(partial(one.predict, one.denoiser), text_BTD[:1], text_BTD[1:], noise_BCHW, 4, 5.0)
        for one in (loaded, family)
    ]
    assert torch.equal(*pictures)


def test_an_epsilon_base_is_refused_a_schedule_that_ends_in_noise(snapshot: Path, base: Path, tmp_path: Path) -> None:
    with pytest.raises(BadOption, match=r"--zero-terminal-snr: .* predicts epsilon.* use a v-prediction base"):
        prepared(snapshot, base, tmp_path, zero_terminal_snr=True)


def test_a_lora_keeps_the_schedule_it_was_trained_with(snapshot: Path, v_base: Path, tmp_path: Path) -> None:
    run = prepared(snapshot, v_base, tmp_path, zero_terminal_snr=True, method="lora", rank=2)
    metadata = {"amatl.run": "run", "amatl.epoch": "1"}
    run.method.save(tmp_path / "saved", torch.float32, metadata, None)
    assert json.loads((tmp_path / "saved" / FILE).read_bytes())["zero_terminal_snr"] is True
    loaded = load_model.load(str(tmp_path / "saved"))
    assert loaded.conventions == run.family.conventions


def test_what_is_off_changes_nothing(snapshot: Path, base: Path, tmp_path: Path) -> None:
    run = prepared(snapshot, base, tmp_path)
    run.method.save(tmp_path / "saved", torch.float32, {}, None)
    assert not (tmp_path / "saved" / FILE).exists()
    (drawn, *_) = epoch_steps(run.family, run.data, run.plan, 1)
    assert drawn.mask_B1HW is None
    assert drawn.captions_B.ndim == 1
    assert run.family.conventions.non_defaults() == {}
