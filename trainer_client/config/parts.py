"""The parts of a training run's configuration, each with the options that are used together.

The options of methods are in methods.py. To add an option: a field here and its name in `config.SECTIONS`.
"""

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
        "Model to start from: a diffusers folder, a hub name, a .safetensors file, a run or a checkpoint of one.",
        decides=False,
    )
    base_config: str | None = option(
        None,
        "Folder of the same architecture, for the configuration that a single file lacks.",
        decides=False,
        shown="the hub's",
    )
    revision: str | None = option(None, "Revision of a hub model.", decides=False)
    resolution: int | None = option(None, "Side of the training pictures in pixels.", shown="the base model's", gt=0)


class StableDiffusionOptions(Options):
    """How a Stable Diffusion model (1.x, 2.x, XL) is used; None and False leave what the base says."""

    clip_skip: int | None = option(
        None,
        "Layer of the text encoder that is read, from the end: 2 leaves the last out (NovelAI). Not for SDXL.",
        shown="the base's",
        ge=1,
    )
    max_tokens: int | None = option(
        None, "Tokens of a caption that are read, in chunks of 75: 150, 225.", shown="the base's", ge=75, le=750
    )
    zero_terminal_snr: bool = option(
        False, "Rescale the noise schedule so that it ends in noise alone; for a base that predicts v."
    )

    @field_validator("max_tokens")
    @classmethod
    def _whole_chunks(cls, tokens: int | None) -> int | None:
        if tokens is not None and tokens % 75:
            raise ValueError(f"{tokens} is no multiple of 75")
        return tokens


class DataOptions(Options):
    """What is trained on."""

    snapshot: Path = option(
        REQUIRED, "Folder that `curator snapshot` wrote, or its address: http://HOST/snapshots/DIGEST.", decides=False
    )
    captions: str | None = option(
        None,
        "Caption track to train on, or several by weight: template:0.7,human:0.3.",
        shown="the snapshot's only track",
    )
    background: str = option("white", "Colour put behind transparent pictures.")
    buckets: bool = option(
        False, "Train pictures in a shape near their own, of about as many pixels; they are drawn square."
    )
    min_side: int | None = option(None, "Shortest side of a bucket in pixels.", shown="half of --resolution", gt=0)
    max_side: int | None = option(None, "Longest side of a bucket.", shown="twice --resolution", gt=0)

    @field_serializer("snapshot", when_used="json")
    def _as_given(self, snapshot: Path) -> str:
        return address_of(snapshot) or str(snapshot)

    @model_validator(mode="after")
    def _sides_of_buckets(self) -> DataOptions:
        for name in ("min_side", "max_side"):
            if getattr(self, name) is not None and not self.buckets:
                raise ValueError(f"--{name.replace('_', '-')} belongs to --buckets; without it pictures are square")
        return self


class AugmentationOptions(Options):
    """What changes from epoch to epoch about an image and its caption."""

    seed: int = option(0, "Seed of order, timesteps, noise, flips and dropout.", ge=0, lt=2**63)
    flip: bool = option(False, "Mirror half of the images, drawn anew each epoch.")
    caption_dropout: float = option(0.0, "Share of captions left empty in training.", ge=0, le=1)
    shuffle_tags: bool = option(
        False, "Bring the parts of a caption between commas into an order drawn anew each epoch."
    )
    keep_tags: int = option(0, "How many of the first parts stay in their places.", ge=0)

    @model_validator(mode="after")
    def _kept_of_shuffled(self) -> AugmentationOptions:
        if self.keep_tags and not self.shuffle_tags:
            raise ValueError("--keep-tags belongs to --shuffle-tags; without it every tag stays in its place")
        return self


class LossOptions(Options):
    """Noise and weights of the loss."""

    min_snr_gamma: float | None = option(None, "Weigh timesteps by min-SNR (5 is usual).", shown="off", gt=0)
    offset_noise: float = option(
        0.0, "Noise that shifts a channel as a whole, for dark and bright pictures (0.05 to 0.1).", ge=0, le=1
    )
    masked_loss: bool = option(False, "Learn what is opaque in pictures with an alpha channel.")
    background_weight: float = option(0.0, "What the transparent parts count in --masked-loss.", ge=0, le=1)

    @model_validator(mode="after")
    def _weight_of_masks(self) -> LossOptions:
        if self.background_weight and not self.masked_loss:
            raise ValueError("--background-weight belongs to --masked-loss; without it the whole picture counts")
        return self


class OptimiserOptions(Options):
    """AdamW, its batches and the moving average. The learning rate is an option of the method."""

    batch_size: int = option(8, "Images that go through the model at once.", ge=1)
    accumulation: int = option(1, "Batches whose gradients make one step.", ge=1)
    auto_batch: bool = option(
        False,
        "Where memory is too small, send a step's images through in smaller batches; the step stays the same.",
        decides=False,
    )
    weight_decay: float = option(0.01, "Of AdamW.", ge=0)
    beta1: float = option(0.9, "Of AdamW.", ge=0, lt=1)
    beta2: float = option(0.999, "Of AdamW.", ge=0, lt=1)
    epsilon: float = option(1e-8, "Of AdamW.", gt=0)
    clip_norm: float = option(1.0, "Largest norm of a step's gradient; 0 for no limit.", ge=0)
    ema: bool = option(False, "Save, draw and measure a moving average of the weights.")
    ema_decay: float = option(EMA_DECAY, "Of the moving average, once it has warmed up.", ge=0, lt=1)

    @model_validator(mode="after")
    def _decay_of_average(self) -> OptimiserOptions:
        if self.ema_decay != EMA_DECAY and not self.ema:
            raise ValueError("--ema-decay belongs to --ema; without it no average is kept")
        return self


class ScheduleOptions(Options):
    """How long to train, when to save, and how the learning rate changes."""

    epochs: int = option(45, "Passes over the training images.", ge=1, le=100_000)
    save_epochs: tuple[int, ...] | None = option(
        None,
        "Epochs to save, draw and measure; 0 (the base) and the last are always among them.",
        shown=f"{','.join(map(str, DEFAULT_SAVE_EPOCHS))}, up to --epochs",
    )
    lr_schedule: Literal["constant", "cosine", "linear"] = option(
        "constant", "After the warm-up. A falling rate confounds epoch with schedule."
    )
    warmup_steps: int | None = option(
        None,
        "Steps over which the rate rises to its value.",
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
        """Return the epochs saved, sampled and measured, in order: the base, those asked for, the last."""
        asked = self.save_epochs if self.save_epochs is not None else DEFAULT_SAVE_EPOCHS
        return tuple(sorted({0, self.epochs, *(epoch for epoch in asked if epoch <= self.epochs)}))


class SamplingOptions(Options):
    """What is sampled at each checkpoint."""

    prompts: Path | None = option(
        None,
        "Text file of prompts, one a line, `[role] text` or just text.",
        decides=False,
        shown="a suite made from the snapshot, the same for all its runs",
    )
    seeds: tuple[int, ...] = option(DEFAULT_SEEDS, "Seeds drawn for every prompt.")
    sample_steps: int = option(20, "Denoising steps a picture.", ge=1, le=1000)
    guidance_scale: float = option(7.5, "Classifier-free guidance; 1 is none.", ge=0)
    sample_batch_size: int = option(16, "Pictures drawn at once.", decides=False, ge=1)

    @field_validator("seeds")
    @classmethod
    def _seeds_distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if not seeds or any(not 0 <= seed < 2**63 for seed in seeds):
            raise ValueError("give at least one seed, none negative")
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed is given twice")
        return seeds


class EvaluationOptions(Options):
    """What is measured at each checkpoint."""

    eval_images: int = option(64, "Held-out images, and training images, to measure losses on at most.", ge=0)
    patience: int | None = option(
        None, "Stop when so many checkpoints in a row bring no clear gain in held-out loss.", shown="never", ge=1
    )
    eval_timesteps: int = option(4, "Fixed timesteps a loss is the mean of.", ge=1, le=1000)
    eval_batch_size: int = option(64, "Images measured at once.", decides=False, ge=1)


class HardwareOptions(Options):
    """The device, and how its time is used and paid for."""

    device: str = option("auto", "auto, cpu, cuda or cuda:N.", decides=False)
    precision: Literal["auto", "bf16", "fp32"] = option(
        "auto", "Arithmetic of the passes; weights are kept in fp32. auto: bf16 on a GPU, fp32 on the CPU."
    )
    bf16_copy: Choice = option(
        "auto", "Train through a bf16 copy of the fp32 weights; auto: on a GPU with room for it.", decides=False
    )
    compile: Choice = option(
        "auto", "Compile the denoiser's blocks; auto: on a GPU, where the run earns it back.", decides=False
    )
    cuda_graph: Choice = option(
        "auto", "Replay recorded kernels on a GPU; auto: of small models and of compiled ones.", decides=False
    )
    price_per_hour: float | None = option(None, "What the machine costs an hour, to report cost.", decides=False, ge=0)


class OutputOptions(Options):
    """Where files and figures go."""

    out: Path = option(
        REQUIRED, "The run's folder; its last part names the run. An interrupted run goes on.", decides=False
    )
    save_dtype: Literal["fp16", "fp32"] = option("fp16", "Number format of saved models.")
    state_every_seconds: float = option(300.0, "How often the resume state is saved.", decides=False, ge=0)
    cache: Path | None = option(
        None,
        "Folder of cached latents and text embeddings.",
        decides=False,
        shown="$AMATL_CACHE, else ~/.cache/amatl",
    )
    tracker: Literal["tensorboard", "wandb", "mlflow", "trackio", "none"] = option(
        "tensorboard",
        "Where figures, and pictures (not mlflow, trackio), go as the run goes on, beside its own run.json.",
        decides=False,
    )
