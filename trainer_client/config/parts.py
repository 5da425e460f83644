"""Parts of a training run's configuration. To add an option: a field here and its name in `config.SECTIONS`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import field_serializer, field_validator, model_validator

from schemas.edge.address import address_of
from trainer_client.config.option import REQUIRED, Options, option

DEFAULT_SAVE_EPOCHS = (1, 2, 5, 15, 30, 45, 60, 70, 100)
DEFAULT_SEEDS = (1, 2, 3)
MAX_WARMUP_STEPS = 100
EMA_DECAY = 0.999
Choice = Literal["auto", "on", "off"]


class ModelOptions(Options):
    """The model to start from."""

    base: str = option(
        REQUIRED,
        "Model to start from: a diffusers folder, hub name, .safetensors file, run or checkpoint.",
        decides=False,
    )
    base_config: str | None = option(
        None,
        "Diffusers folder of the same architecture; supplies the configuration that a single file lacks.",
        decides=False,
        shown="the hub's",
    )
    revision: str | None = option(None, "Revision of a hub model.", decides=False)
    resolution: int | None = option(None, "Side of the training images in pixels.", shown="the base model's", gt=0)


class StableDiffusionOptions(Options):
    """Options for Stable Diffusion (1.x, 2.x, XL). None and False keep the base's setting."""

    clip_skip: int | None = option(
        None,
        "Text encoder layer to read, counted from the end: 2 skips the last (NovelAI). Not for SDXL.",
        shown="the base's",
        ge=1,
    )
    max_tokens: int | None = option(
        None, "Caption tokens to read, in chunks of 75: 150, 225.", shown="the base's", ge=75, le=750
    )
    zero_terminal_snr: bool = option(
        False, "Rescale the noise schedule so that it ends in pure noise; for v-prediction models."
    )

    @field_validator("max_tokens")
    @classmethod
    def _whole_chunks(cls, tokens: int | None) -> int | None:
        if tokens is not None and tokens % 75:
            raise ValueError(f"{tokens} is not a multiple of 75")
        return tokens


class DataOptions(Options):
    """The training data."""

    snapshot: Path = option(
        REQUIRED,
        "Snapshot folder written by `curator snapshot`, or its URL: http://HOST/snapshots/DIGEST.",
        decides=False,
    )
    captions: str | None = option(
        None,
        "Caption track to train on, or a weighted mix: template:0.7,human:0.3.",
        shown="the snapshot's only track",
    )
    background: str = option("white", "Background colour of transparent images.")
    buckets: bool = option(
        False, "Train images near their own aspect ratio, at about as many pixels; samples stay square."
    )
    min_side: int | None = option(None, "Shortest side of a bucket in pixels.", shown="half of --resolution", gt=0)
    max_side: int | None = option(None, "Longest side of a bucket in pixels.", shown="twice --resolution", gt=0)

    @field_serializer("snapshot", when_used="json")
    def _as_given(self, snapshot: Path) -> str:
        return address_of(snapshot) or str(snapshot)

    @model_validator(mode="after")
    def _sides_of_buckets(self) -> DataOptions:
        for name in ("min_side", "max_side"):
            if getattr(self, name) is not None and not self.buckets:
                raise ValueError(f"--{name.replace('_', '-')} needs --buckets; without it images are square")
        return self


class AugmentationOptions(Options):
    """Variation of images and captions from epoch to epoch."""

    seed: int = option(0, "Seed of order, timesteps, noise, flips and dropout.", ge=0, lt=2**63)
    flip: bool = option(False, "Mirror half of the images, chosen anew each epoch.")
    caption_dropout: float = option(0.0, "Share of captions replaced by the empty caption.", ge=0, le=1)
    shuffle_tags: bool = option(False, "Shuffle the comma-separated parts of a caption, anew each epoch.")
    keep_tags: int = option(0, "Number of leading parts that --shuffle-tags keeps in place.", ge=0)

    @model_validator(mode="after")
    def _kept_of_shuffled(self) -> AugmentationOptions:
        if self.keep_tags and not self.shuffle_tags:
            raise ValueError("--keep-tags needs --shuffle-tags; without it no tag moves")
        return self


class LossOptions(Options):
    """Noise and loss weights."""

    min_snr_gamma: float | None = option(
        None, "Weight timesteps by min-SNR with this gamma (usually 5).", shown="off", gt=0
    )
    offset_noise: float = option(
        0.0, "Noise that shifts a whole channel, for dark and bright images (0.05 to 0.1).", ge=0, le=1
    )
    masked_loss: bool = option(False, "Weight the loss by the alpha channel: train on the opaque parts of images.")
    background_weight: float = option(0.0, "Weight of transparent parts in --masked-loss.", ge=0, le=1)

    @model_validator(mode="after")
    def _weight_of_masks(self) -> LossOptions:
        if self.background_weight and not self.masked_loss:
            raise ValueError("--background-weight needs --masked-loss; without it the whole image counts")
        return self


class OptimiserOptions(Options):
    """AdamW, batches, moving average. The learning rate belongs to the method."""

    batch_size: int = option(8, "Images per batch.", ge=1)
    accumulation: int = option(1, "Batches per train step (gradient accumulation).", ge=1)
    auto_batch: bool = option(
        False,
        "If memory runs out, split a train step into smaller batches; the result stays the same.",
        decides=False,
    )
    weight_decay: float = option(0.01, "Weight decay of AdamW.", ge=0)
    beta1: float = option(0.9, "Beta 1 of AdamW.", ge=0, lt=1)
    beta2: float = option(0.999, "Beta 2 of AdamW.", ge=0, lt=1)
    epsilon: float = option(1e-8, "Epsilon of AdamW.", gt=0)
    clip_norm: float = option(1.0, "Maximum gradient norm of a train step; 0 for no limit.", ge=0)
    ema: bool = option(False, "Save, sample and evaluate a moving average of the weights.")
    ema_decay: float = option(EMA_DECAY, "Decay of the moving average after its warm-up.", ge=0, lt=1)

    @model_validator(mode="after")
    def _decay_of_average(self) -> OptimiserOptions:
        if self.ema_decay != EMA_DECAY and not self.ema:
            raise ValueError("--ema-decay needs --ema; without it there is no moving average")
        return self


class ScheduleOptions(Options):
    """Training length, checkpoints and the learning rate schedule."""

    epochs: int = option(45, "Passes over the training images.", ge=1, le=100_000)
    save_epochs: tuple[int, ...] | None = option(
        None,
        "Epochs to save, sample and evaluate; always includes 0 (the base) and the last.",
        shown=f"{','.join(map(str, DEFAULT_SAVE_EPOCHS))}, up to --epochs",
    )
    lr_schedule: Literal["constant", "cosine", "linear"] = option(
        "constant", "Learning rate after the warm-up. A falling rate confounds epoch with schedule."
    )
    warmup_steps: int | None = option(
        None,
        "Steps over which the learning rate rises to its value.",
        shown=f"one epoch, at most {MAX_WARMUP_STEPS}",
        ge=0,
    )

    @model_validator(mode="after")
    def _save_epochs_within(self) -> ScheduleOptions:
        late = [epoch for epoch in self.save_epochs or () if not 0 <= epoch <= self.epochs]
        if late:
            raise ValueError(f"--save-epochs {late[0]} is not between 0 and --epochs {self.epochs}")
        return self

    def checkpoint_epochs(self) -> tuple[int, ...]:
        """Return the epochs to save, in order: 0 (the base), those asked for, the last."""
        asked = self.save_epochs if self.save_epochs is not None else DEFAULT_SAVE_EPOCHS
        return tuple(sorted({0, self.epochs, *(epoch for epoch in asked if epoch <= self.epochs)}))


class SamplingOptions(Options):
    """Samples at each checkpoint."""

    prompts: Path | None = option(
        None,
        "Text file of prompts, one per line: `[role] text` or just text.",
        decides=False,
        shown="a suite from the snapshot, the same for all its runs",
    )
    seeds: tuple[int, ...] = option(DEFAULT_SEEDS, "Seeds to sample for every prompt.")
    sample_steps: int = option(20, "Denoising steps per sample.", ge=1, le=1000)
    guidance_scale: float = option(7.5, "Classifier-free guidance scale; 1 for none.", ge=0)
    sample_batch_size: int = option(16, "Samples per batch.", decides=False, ge=1)

    @field_validator("seeds")
    @classmethod
    def _seeds_distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if not seeds or any(not 0 <= seed < 2**63 for seed in seeds):
            raise ValueError("give at least one seed, none negative")
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed is given twice")
        return seeds


class EvaluationOptions(Options):
    """Losses at each checkpoint."""

    eval_images: int = option(
        64, "Largest number of held-out images, and of training images, to measure losses on.", ge=0
    )
    patience: int | None = option(
        None, "Stop after this many checkpoints in a row without a clear gain in held-out loss.", shown="never", ge=1
    )
    eval_timesteps: int = option(4, "Fixed timesteps to average each loss over.", ge=1, le=1000)
    eval_batch_size: int = option(64, "Images per batch in evaluation.", decides=False, ge=1)


class HardwareOptions(Options):
    """Device, speed and price."""

    device: str = option("auto", "Device: auto, cpu, cuda or cuda:N.", decides=False)
    precision: Literal["auto", "bf16", "fp32"] = option(
        "auto", "Precision of forward and backward passes; weights stay fp32. auto: bf16 on a GPU, fp32 on the CPU."
    )
    bf16_copy: Choice = option(
        "auto", "Train through a bf16 copy of the fp32 weights; auto: on a GPU with enough free memory.", decides=False
    )
    compile: Choice = option(
        "auto", "Compile the denoiser's blocks; auto: on a GPU, if the run is long enough to save time.", decides=False
    )
    cuda_graph: Choice = option(
        "auto", "Replay recorded kernels (CUDA graphs); auto: for small or compiled models on a GPU.", decides=False
    )
    price_per_hour: float | None = option(
        None, "Price of the machine per hour, to report the run's cost.", decides=False, ge=0
    )


class OutputOptions(Options):
    """Files and metrics."""

    out: Path = option(
        REQUIRED, "Run folder; its last part names the run. An interrupted run is resumed.", decides=False
    )
    save_dtype: Literal["fp16", "fp32"] = option("fp16", "Number format of saved models.")
    state_every_seconds: float = option(300.0, "Seconds between saves of the resume state.", decides=False, ge=0)
    cache: Path | None = option(
        None,
        "Folder of cached latents and text embeddings.",
        decides=False,
        shown="$AMATL_CACHE, else ~/.cache/amatl",
    )
    tracker: Literal["tensorboard", "wandb", "mlflow", "trackio", "none"] = option(
        "tensorboard",
        "Tracker for metrics and samples (mlflow, trackio: metrics only) during the run, besides run.json.",
        decides=False,
    )
