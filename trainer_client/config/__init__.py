"""The options of a training run: the one source of `trainer train`'s defaults and help.

`TrainConfig` is composed of parts (parts.py, methods.py). The command line, recipes and the run record hold the same
options in one flat mapping: `TrainConfig.of`, `TrainConfig.flat`.

Options that decide what is learned, sampled or measured make the config digest, which must be equal to resume a run.
"""

from __future__ import annotations

from typing import Any, Self

from trainer_client.config.methods import METHOD_OPTIONS, Method, MethodOptions, filled_in, options_of_methods
from trainer_client.config.option import REQUIRED, Option, Options, option, options_in
from trainer_client.config.parts import (
    AugmentationOptions,
    DataOptions,
    EvaluationOptions,
    HardwareOptions,
    LossOptions,
    ModelOptions,
    OptimiserOptions,
    OutputOptions,
    SamplingOptions,
    ScheduleOptions,
    StableDiffusionOptions,
)

SECTIONS = {  # Sections of `--help` with their options, in order; also the order in the run record.
    "Data and model": (
        "snapshot method captions base base_config revision background resolution buckets min_side max_side clip_skip"
        " max_tokens train_text_encoder"
    ),
    "Length": "epochs save_epochs",
    "Samples": "prompts seeds sample_steps guidance_scale sample_batch_size",
    "Training": (
        "batch_size accumulation auto_batch learning_rate lr_schedule warmup_steps weight_decay beta1 beta2 epsilon"
        " clip_norm min_snr_gamma caption_dropout shuffle_tags keep_tags flip offset_noise zero_terminal_snr"
        " masked_loss background_weight ema ema_decay seed"
    ),
    "LoRA": "rank alpha targets",
    "Subject (dreambooth, lora)": "instance_prompt class_prompt class_images prior_weight",
    "New word (textual-inversion)": "token vectors initialiser",
    "Evaluation": "eval_images patience eval_timesteps eval_batch_size",
    "Run": (
        "out save_dtype state_every_seconds device precision bf16_copy compile cuda_graph cache tracker price_per_hour"
    ),
}


class MethodChoice(Options):
    method: Method = option("full", "How to train.")


class TrainConfig(Options):
    """One training run. Paths are as given, relative to the working folder."""

    model: ModelOptions
    family: StableDiffusionOptions
    data: DataOptions
    augmentation: AugmentationOptions
    loss: LossOptions
    optimiser: OptimiserOptions
    schedule: ScheduleOptions
    method: MethodOptions
    sampling: SamplingOptions
    evaluation: EvaluationOptions
    hardware: HardwareOptions
    output: OutputOptions

    @classmethod
    def of(cls, **options: Any) -> Self:
        """Return the config with these options by name. Raise ValueError, or TypeError for an unknown option."""
        unknown = options.keys() - OPTIONS.keys()
        if unknown:
            raise TypeError(f"there is no option {', '.join(sorted(unknown))}")
        method = MethodChoice.model_validate(_named(options, MethodChoice)).method
        values = filled_in(method, options)
        model = METHOD_OPTIONS[method]
        parts: dict[str, Any] = {name: part.model_validate(_named(options, part)) for name, part in PARTS.items()}
        return cls(method=model.model_validate(_named(values, model)), **parts)

    def flat(self) -> dict[str, Any]:
        """Return every option by name, as JSON values; None or False if it belongs to another method."""
        values: dict[str, Any] = dict.fromkeys(OPTIONS) | {"train_text_encoder": False}
        for name in type(self).model_fields:
            values |= getattr(self, name).model_dump(mode="json")
        return values | {"method": self.method.name}

    def updated(self, **options: Any) -> Self:
        """Return a copy with these options replaced, without validation."""
        parts = {}
        for name in type(self).model_fields:
            part = getattr(self, name)
            if values := _named(options, type(part)):
                parts[name] = part.model_copy(update=values)
        return self.model_copy(update=parts)


PARTS: dict[str, type[Options]] = {
    name: part
    for name, field in TrainConfig.model_fields.items()
    if name != "method" and isinstance(part := field.annotation, type)
}


def _all_options() -> dict[str, Option]:
    declared = options_in(MethodChoice) | options_of_methods()
    for part in PARTS.values():
        declared |= options_in(part)
    return {name: declared[name] for names in SECTIONS.values() for name in names.split()}


OPTIONS = _all_options()


def _named(options: dict[str, Any], model: type[Options]) -> dict[str, Any]:
    return {name: options[name] for name in model.model_fields if name in options}


def as_resolved_now(config: dict[str, Any]) -> dict[str, Any]:
    """Return a run record's configuration; options that it lacks get today's defaults."""
    known = {name: value for name, value in config.items() if name in OPTIONS}
    method = known.get("method") or "full"
    defaults = {name: each.default for name, each in OPTIONS.items() if each.default is not REQUIRED}
    defaults |= filled_in(method, known) if method in METHOD_OPTIONS else {}
    return {name: value for name, value in defaults.items() if name not in known} | config


def method_fields() -> list[str]:
    """Return the options whose default depends on the method."""
    return list(options_of_methods())


def decisive_fields() -> list[str]:
    """Return the options that make the config digest."""
    return [name for name, each in OPTIONS.items() if each.decides]
