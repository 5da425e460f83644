"""Everything a training run can be told, typed: the one source of `trainer train`'s options, defaults and help.

A field's `group` is its section in `--help`. `decides` says whether it changes what is learned, drawn or measured:
those fields make the config digest, and a run is only gone on with where they are equal. The others (folders, device,
price) may change between a kill and the resume.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_serializer, field_validator, model_validator

from schemas.edge.address import address_of
from trainer_client.config.methods import OPTIONS, defaults_of, filled_in

DEFAULT_SAVE_EPOCHS = (1, 2, 5, 15, 30, 45, 60, 70, 100)
DEFAULT_SEEDS = (1, 2, 3)
MAX_WARMUP_STEPS = 100
EMA_DECAY = 0.999
DATA, LENGTH, PICTURES, LEARNING, LORA, SUBJECT, WORD, MEASURES, RUN = (
    "Data and model",
    "Length",
    "Pictures",
    "Learning",
    "LoRA",
    "A subject (dreambooth, lora)",
    "A new word (textual-inversion)",
    "Measures",
    "Run",
)


def _option(
    default: Any, group: str, help: str, *, decides: bool = True, shown: str | None = None, **limits: Any
) -> Any:
    """A field that is also a command-line option; `shown` is what `--help` says of a default that isn't a value."""
    extra: dict[str, Any] = {"group": group, "decides": decides, "shown": shown}
    return Field(default, description=help, json_schema_extra=extra, **limits)


def _by_method(name: str, group: str, help: str, **limits: Any) -> Any:
    """A field that only some methods have, or whose default each method sets (see `config.methods`)."""
    values = defaults_of(name)
    on = {method: value for method, value in values.items() if value not in (None, False)}
    shown = {method: f"{value:g}" if isinstance(value, float) else str(value) for method, value in on.items()}
    alike = len(set(shown.values())) == 1 and len(on) == len(values)
    text = next(iter(shown.values())) if alike else ", ".join(f"{value} ({method})" for method, value in shown.items())
    extra: dict[str, Any] = {"group": group, "decides": True, "shown": text or None}
    return Field(None, description=help, json_schema_extra=extra, **limits)


class TrainConfig(BaseModel):
    """One training run, as asked for. Paths are as given, relative to the working folder."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    snapshot: Path = Field(
        description="Folder that `curator snapshot` wrote, or its address: http://HOST/snapshots/DIGEST.",
        json_schema_extra={"group": DATA, "decides": False, "argument": True},
    )
    method: Literal["full", "lora", "dreambooth", "textual-inversion"] = _option("full", DATA, "How to train.")
    captions: str | None = _option(
        None,
        DATA,
        "Caption track to train on, or several by weight: template:0.7,human:0.3.",
        shown="the snapshot's only track",
    )
    base: str = _option(
        ...,
        DATA,
        "Model to start from: a diffusers folder, a hub name, a .safetensors file, a run or a checkpoint of one.",
        decides=False,
    )
    base_config: str | None = _option(
        None,
        DATA,
        "Folder of the same architecture, for the configuration that a single file lacks.",
        decides=False,
        shown="the hub's",
    )
    revision: str | None = _option(None, DATA, "Revision of a hub model.", decides=False)
    background: str = _option("white", DATA, "Colour put behind transparent pictures.")
    resolution: int | None = _option(
        None, DATA, "Side of the training pictures in pixels.", shown="the base model's", gt=0
    )
    buckets: bool = _option(
        False, DATA, "Train pictures in a shape near their own, of about as many pixels; they are drawn square."
    )
    min_side: int | None = _option(
        None, DATA, "Shortest side of a bucket in pixels.", shown="half of --resolution", gt=0
    )
    max_side: int | None = _option(None, DATA, "Longest side of a bucket.", shown="twice --resolution", gt=0)
    clip_skip: int | None = _option(
        None,
        DATA,
        "Layer of the text encoder that is read, from the end: 2 leaves the last out (NovelAI). Not for SDXL.",
        shown="the base's",
        ge=1,
    )
    max_tokens: int | None = _option(
        None, DATA, "Tokens of a caption that are read, in chunks of 75: 150, 225.", shown="the base's", ge=75, le=750
    )
    train_text_encoder: bool = _by_method("train_text_encoder", DATA, "Train the text encoder as well as the denoiser.")

    epochs: int = _option(45, LENGTH, "Passes over the training images.", ge=1, le=100_000)
    save_epochs: tuple[int, ...] | None = _option(
        None,
        LENGTH,
        "Epochs to save, draw and measure; 0 (the base) and the last are always among them.",
        shown=f"{','.join(map(str, DEFAULT_SAVE_EPOCHS))}, up to --epochs",
    )

    prompts: Path | None = _option(
        None,
        PICTURES,
        "Text file of prompts, one a line, `[role] text` or just text.",
        decides=False,
        shown="a suite made from the snapshot, the same for all its runs",
    )
    seeds: tuple[int, ...] = _option(DEFAULT_SEEDS, PICTURES, "Seeds drawn for every prompt.")
    sample_steps: int = _option(20, PICTURES, "Denoising steps a picture.", ge=1, le=1000)
    guidance_scale: float = _option(7.5, PICTURES, "Classifier-free guidance; 1 is none.", ge=0)
    sample_batch_size: int = _option(16, PICTURES, "Pictures drawn at once.", decides=False, ge=1)

    batch_size: int = _option(8, LEARNING, "Images that go through the model at once.", ge=1)
    accumulation: int = _option(1, LEARNING, "Batches whose gradients make one step.", ge=1)
    auto_batch: bool = _option(
        False,
        LEARNING,
        "Where memory is too small, send a step's images through in smaller batches; the step stays the same.",
        decides=False,
    )
    learning_rate: float = _by_method(
        "learning_rate",
        LEARNING,
        "Of AdamW. The defaults suit Stable Diffusion 1.5; full wants 1e-4 on the mini model.",
        gt=0,
    )
    lr_schedule: Literal["constant", "cosine", "linear"] = _option(
        "constant", LEARNING, "After the warm-up. A falling rate confounds epoch with schedule."
    )
    warmup_steps: int | None = _option(
        None,
        LEARNING,
        "Steps over which the rate rises to its value.",
        shown=f"one epoch, at most {MAX_WARMUP_STEPS}",
        ge=0,
    )
    weight_decay: float = _option(0.01, LEARNING, "Of AdamW.", ge=0)
    beta1: float = _option(0.9, LEARNING, "Of AdamW.", ge=0, lt=1)
    beta2: float = _option(0.999, LEARNING, "Of AdamW.", ge=0, lt=1)
    epsilon: float = _option(1e-8, LEARNING, "Of AdamW.", gt=0)
    clip_norm: float = _option(1.0, LEARNING, "Largest norm of a step's gradient; 0 for no limit.", ge=0)
    min_snr_gamma: float | None = _option(None, LEARNING, "Weigh timesteps by min-SNR (5 is usual).", shown="off", gt=0)
    caption_dropout: float = _option(0.0, LEARNING, "Share of captions left empty in training.", ge=0, le=1)
    shuffle_tags: bool = _option(
        False, LEARNING, "Bring the parts of a caption between commas into an order drawn anew each epoch."
    )
    keep_tags: int = _option(0, LEARNING, "How many of the first parts stay in their places.", ge=0)
    flip: bool = _option(False, LEARNING, "Mirror half of the images, drawn anew each epoch.")
    offset_noise: float = _option(
        0.0, LEARNING, "Noise that shifts a channel as a whole, for dark and bright pictures (0.05 to 0.1).", ge=0, le=1
    )
    zero_terminal_snr: bool = _option(
        False, LEARNING, "Rescale the noise schedule so that it ends in noise alone; for a base that predicts v."
    )
    masked_loss: bool = _option(False, LEARNING, "Learn what is opaque in pictures with an alpha channel.")
    background_weight: float = _option(0.0, LEARNING, "What the transparent parts count in --masked-loss.", ge=0, le=1)
    ema: bool = _option(False, LEARNING, "Save, draw and measure a moving average of the weights.")
    ema_decay: float = _option(EMA_DECAY, LEARNING, "Of the moving average, once it has warmed up.", ge=0, lt=1)
    seed: int = _option(0, LEARNING, "Seed of order, timesteps, noise, flips and dropout.", ge=0, lt=2**63)

    rank: int | None = _by_method("rank", LORA, "Rank of the update.", ge=1)
    alpha: float | None = _by_method("alpha", LORA, "The update counts alpha / rank.  [default: the rank]", gt=0)
    targets: Literal["attention", "transformer"] | None = _by_method(
        "targets", LORA, "Layers that get an update: those of attention, or all linear ones of a transformer block."
    )

    instance_prompt: str | None = _by_method(
        "instance_prompt", SUBJECT, "What every picture is called, with {caption} for its own caption."
    )
    class_prompt: str | None = _by_method(
        "class_prompt", SUBJECT, "What the subject is one of; the base draws pictures of it to keep what it knows."
    )
    class_images: int | None = _by_method("class_images", SUBJECT, "How many pictures of the class it draws.", ge=0)
    prior_weight: float | None = _by_method("prior_weight", SUBJECT, "Weight of their loss; 0 for none.", ge=0)

    token: str | None = _by_method("token", WORD, "The word to learn; one that the model doesn't know.")
    vectors: int | None = _by_method("vectors", WORD, "How many vectors it has.", ge=1, le=64)
    initialiser: str | None = _by_method(
        "initialiser", WORD, "Words to begin with, of at most a token a vector.  [default: the mean of all words]"
    )

    eval_images: int = _option(
        64, MEASURES, "Held-out images, and training images, to measure losses on at most.", ge=0
    )
    patience: int | None = _option(
        None,
        MEASURES,
        "Stop when so many checkpoints in a row bring no clear gain in held-out loss.",
        shown="never",
        ge=1,
    )
    eval_timesteps: int = _option(4, MEASURES, "Fixed timesteps a loss is the mean of.", ge=1, le=1000)
    eval_batch_size: int = _option(64, MEASURES, "Images measured at once.", decides=False, ge=1)

    out: Path = _option(
        ..., RUN, "The run's folder; its last part names the run. An interrupted run goes on.", decides=False
    )
    save_dtype: Literal["fp16", "fp32"] = _option("fp16", RUN, "Number format of saved models.")
    state_every_seconds: float = _option(300.0, RUN, "How often the resume state is saved.", decides=False, ge=0)
    device: str = _option("auto", RUN, "auto, cpu, cuda or cuda:N.", decides=False)
    precision: Literal["auto", "bf16", "fp32"] = _option(
        "auto", RUN, "Arithmetic of the passes; weights are kept in fp32. auto: bf16 on a GPU, fp32 on the CPU."
    )
    bf16_copy: Literal["auto", "on", "off"] = _option(
        "auto", RUN, "Train through a bf16 copy of the fp32 weights; auto: on a GPU with room for it.", decides=False
    )
    compile: Literal["auto", "on", "off"] = _option(
        "auto", RUN, "Compile the denoiser's blocks; auto: on a GPU, where the run earns it back.", decides=False
    )
    cuda_graph: Literal["auto", "on", "off"] = _option(
        "auto", RUN, "Replay recorded kernels on a GPU; auto: of small models and of compiled ones.", decides=False
    )
    cache: Path | None = _option(
        None,
        RUN,
        "Folder of cached latents and text embeddings.",
        decides=False,
        shown="$AMATL_CACHE, else ~/.cache/amatl",
    )
    tracker: Literal["tensorboard", "wandb", "mlflow", "trackio", "none"] = _option(
        "tensorboard",
        RUN,
        "Where figures, and pictures (not mlflow, trackio), go as the run goes on, beside its own run.json.",
        decides=False,
    )
    price_per_hour: float | None = _option(
        None, RUN, "What the machine costs an hour, to report cost.", decides=False, ge=0
    )

    @field_serializer("snapshot", when_used="json")
    def _as_given(self, snapshot: Path) -> str:
        return address_of(snapshot) or str(snapshot)

    @model_validator(mode="before")
    @classmethod
    def _as_the_method_has_it(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Fills in what depends on the method; refuses what belongs to others."""
        return values | _method_values(values)

    @field_validator("seeds")
    @classmethod
    def _seeds_distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if not seeds or any(not 0 <= seed < 2**63 for seed in seeds):
            raise ValueError("give at least one seed, none negative")
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed is given twice")
        return seeds

    @model_validator(mode="after")
    def _save_epochs_within(self) -> TrainConfig:
        late = [epoch for epoch in self.save_epochs or () if not 0 <= epoch <= self.epochs]
        if late:
            raise ValueError(f"--save-epochs {late[0]} is not between 0 and --epochs {self.epochs}")
        return self

    @field_validator("max_tokens")
    @classmethod
    def _whole_chunks(cls, tokens: int | None) -> int | None:
        if tokens is not None and tokens % 75:
            raise ValueError(f"{tokens} is no multiple of 75")
        return tokens

    @model_validator(mode="after")
    def _none_without_effect(self) -> TrainConfig:
        for name in ("min_side", "max_side"):
            if getattr(self, name) is not None and not self.buckets:
                raise ValueError(f"--{name.replace('_', '-')} belongs to --buckets; without it pictures are square")
        if self.keep_tags and not self.shuffle_tags:
            raise ValueError("--keep-tags belongs to --shuffle-tags; without it every tag stays in its place")
        if self.ema_decay != EMA_DECAY and not self.ema:
            raise ValueError("--ema-decay belongs to --ema; without it no average is kept")
        if self.background_weight and not self.masked_loss:
            raise ValueError("--background-weight belongs to --masked-loss; without it the whole picture counts")
        return self

    def checkpoint_epochs(self) -> tuple[int, ...]:
        """The epochs saved, drawn and measured, in order: the base, those asked for, the last."""
        asked = self.save_epochs if self.save_epochs is not None else DEFAULT_SAVE_EPOCHS
        return tuple(sorted({0, self.epochs, *(epoch for epoch in asked if epoch <= self.epochs)}))


def _method_values(values: dict[str, Any]) -> dict[str, Any]:
    method = values.get("method") or "full"
    return filled_in(method, values) if method in OPTIONS else {}


def as_resolved_now(config: dict[str, Any]) -> dict[str, Any]:
    """A report's configuration with what options that didn't exist yet amounted to: today's defaults."""
    there = {name: config[name] for name in config if name in TrainConfig.model_fields}
    fields = TrainConfig.model_fields.items()
    fresh = {name: field.default for name, field in fields if name not in there and not field.is_required()}
    fresh |= {name: value for name, value in _method_values(there).items() if name not in there}
    return {**fresh, **config}


def method_fields() -> list[str]:
    """Names of the fields that belong to methods or whose default a method sets."""
    return [name for name in TrainConfig.model_fields if defaults_of(name)]


def decisive_fields() -> list[str]:
    """Names of the fields that make the config digest."""
    return [name for name, field in TrainConfig.model_fields.items() if _extra(field)["decides"]]


def _extra(field: Any) -> dict[str, Any]:
    extra: dict[str, Any] = field.json_schema_extra
    return extra
