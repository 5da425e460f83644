"""Options of the training methods: one model each, with the method's defaults and what follows from its values.

An option that a method's model doesn't list is refused with that method. A default of None means that the option is off
unless given. To add a method: a model here, one line in `METHOD_OPTIONS`, and its file in `trainer_client.methods`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from trainer_client.config.option import Option, Options, option, options_in

CAPTION = "{caption}"  # In an instance prompt: the image's own caption.
CLASS_IMAGES, PRIOR_WEIGHT = 100, 1.0
INSTANCE, CLASS = "a picture of sks subject", "a picture of a subject"  # If neither is given.

Method = Literal["full", "lora", "dreambooth", "textual-inversion"]
LearningRate = Annotated[
    float,
    Field(gt=0, description="Of AdamW. The defaults suit Stable Diffusion 1.5; full wants 1e-4 on the mini model."),
]
TrainTextEncoder = Annotated[bool, Field(description="Train the text encoder as well as the denoiser.")]
InstancePrompt = Annotated[
    str | None, Field(description="What every picture is called, with {caption} for its own caption.")
]
ClassPrompt = Annotated[
    str | None,
    Field(description="What the subject is one of; the base draws pictures of it to keep what it knows."),
]
ClassImages = Annotated[int | None, Field(ge=0, description="How many pictures of the class it draws.")]
PriorWeight = Annotated[float | None, Field(ge=0, description="Weight of their loss; 0 for none.")]


@dataclass(frozen=True)
class Subject:
    """The prompts of a subject and its class: how training images are called, and what is trained on beside them."""

    instance_prompt: str | None = None
    class_prompt: str | None = None
    class_images: int = 0
    prior_weight: float = 0.0

    @property
    def needs_captions(self) -> bool:
        """Whether the images' own captions are trained on."""
        return self.instance_prompt is None or CAPTION in self.instance_prompt

    @property
    def preserved(self) -> bool:
        """Whether images of the class are trained on."""
        return bool(self.class_prompt and self.class_images and self.prior_weight)


class MethodOptions(Options):
    """Options of one method."""

    name: ClassVar[Method]
    learning_rate: LearningRate

    def implied(self) -> dict[str, Any]:
        """Return the values that follow from others. Raises ValueError if values don't go together."""
        return {}

    @property
    def trains_text_encoder(self) -> bool:
        """Whether the text encoder's own weights are trained."""
        return bool(getattr(self, "train_text_encoder", False))

    @property
    def subject(self) -> Subject:
        """The subject's options; none are set if the method has none."""
        names = Subject.__dataclass_fields__
        return Subject(**{name: value for name in names if (value := getattr(self, name, None)) is not None})


class Full(MethodOptions):
    """Every weight is trained."""

    name = "full"
    learning_rate: LearningRate = 1e-5
    train_text_encoder: TrainTextEncoder = False


class DreamBooth(MethodOptions):
    """Every weight, on images of one subject, beside images of its class."""

    name = "dreambooth"
    learning_rate: LearningRate = 5e-6
    train_text_encoder: TrainTextEncoder = False
    instance_prompt: InstancePrompt = None
    class_prompt: ClassPrompt = None
    class_images: ClassImages = CLASS_IMAGES
    prior_weight: PriorWeight = PRIOR_WEIGHT

    def implied(self) -> dict[str, Any]:
        """Return both prompts if neither is given."""
        if self.instance_prompt is None and self.class_prompt is None:
            return {"instance_prompt": INSTANCE, "class_prompt": CLASS}
        if self.class_prompt is None and self.prior_weight:
            raise ValueError(
                f"--class-prompt is missing: what {self.instance_prompt!r} is one of, such as {CLASS!r}."
                " Or give --prior-weight 0 to train without pictures of the class"
            )
        return {}


class LoRA(MethodOptions):
    """A low-rank update of the linear layers."""

    name = "lora"
    learning_rate: LearningRate = 1e-4
    train_text_encoder: TrainTextEncoder = False
    rank: int = option(16, "Rank of the update.", ge=1)
    alpha: float | None = option(None, "The update counts alpha / rank.  [default: the rank]", gt=0)
    targets: Literal["attention", "transformer"] = option(
        "transformer", "Layers that get an update: those of attention, or all linear ones of a transformer block."
    )
    instance_prompt: InstancePrompt = None
    class_prompt: ClassPrompt = None
    class_images: ClassImages = None
    prior_weight: PriorWeight = None

    def implied(self) -> dict[str, Any]:
        """Return alpha (the rank, so a scale of one) and, with a class prompt, how many class images weigh how much."""
        values: dict[str, Any] = {} if self.alpha is not None else {"alpha": float(self.rank)}
        for name, default in (("class_images", CLASS_IMAGES), ("prior_weight", PRIOR_WEIGHT)):
            given = getattr(self, name)
            if self.class_prompt is None and given is not None:
                raise ValueError(
                    f"--{name.replace('_', '-')} needs a --class-prompt: what the base should go on drawing"
                )
            values[name] = default if self.class_prompt and given is None else given
        return values


class TextualInversion(MethodOptions):
    """The vectors of a new word."""

    name = "textual-inversion"
    learning_rate: LearningRate = 5e-3
    token: str = option("<concept>", "The word to learn; one that the model doesn't know.")
    vectors: int = option(1, "How many vectors it has.", ge=1, le=64)
    initialiser: str | None = option(
        None, "Words to begin with, of at most a token a vector.  [default: the mean of all words]"
    )
    instance_prompt: InstancePrompt = None

    def implied(self) -> dict[str, Any]:
        """Return a prompt around the token. Raises ValueError if the token can't be one or the prompt lacks it."""
        token, prompt = self.token, self.instance_prompt
        if not token or any(letter.isspace() for letter in token):
            raise ValueError(f"--token {token!r}: give one word, such as <{'-'.join(token.split()) or 'concept'}>")
        if token != token.lower():
            raise ValueError(f"--token {token}: CLIP's tokenizers read no capitals; give {token.lower()}")
        if prompt is not None and token not in prompt:
            example = f"{prompt} {token}" if CAPTION in prompt else f"a picture of {token}"
            raise ValueError(f"--instance-prompt {prompt!r} lacks the token {token}: say {example!r}, or give --token")
        return {} if prompt else {"instance_prompt": f"a picture of {token}"}


METHOD_OPTIONS: dict[str, type[MethodOptions]] = {  # --method -> its options
    model.name: model for model in (Full, LoRA, DreamBooth, TextualInversion)
}


def defaults_of(name: str) -> dict[str, Any]:
    """Return an option's default by method, for the methods that have the option; {} for an option of every run."""
    return {
        method: model.model_fields[name].default
        for method, model in METHOD_OPTIONS.items()
        if name in model.model_fields
    }


def options_of_methods() -> dict[str, Option]:
    """Return the options that any method has, by name. `--help` shows their defaults by method; not given is None."""
    options: dict[str, Option] = {}
    for model in METHOD_OPTIONS.values():
        for name, each in options_in(model).items():
            options.setdefault(name, replace(each, default=None, shown=_shown_defaults(name)))
    return options


def _shown_defaults(name: str) -> str | None:
    values = defaults_of(name)
    on = {method: value for method, value in values.items() if value not in (None, False)}
    shown = {method: f"{value:g}" if isinstance(value, float) else str(value) for method, value in on.items()}
    alike = len(set(shown.values())) == 1 and len(on) == len(values)
    text = next(iter(shown.values())) if alike else ", ".join(f"{value} ({method})" for method, value in shown.items())
    return text or None


def filled_in(method: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the values of all options that any method has: given, by default, or implied; None if not this method's.

    Raises ValueError for an option of other methods, or values that don't go together.
    """
    values: dict[str, Any] = {}
    for name in options_of_methods():
        value, defaults = given.get(name), defaults_of(name)
        if value is None or value is False:
            values[name] = defaults.get(method, False if name == "train_text_encoder" else None)
        elif method not in defaults:
            methods = " or ".join(f"--method {other}" for other in defaults)
            raise ValueError(f"--{name.replace('_', '-')} belongs to {methods}; this is --method {method}")
        else:
            values[name] = value
    return values | METHOD_OPTIONS[method].model_construct(**values).implied()
