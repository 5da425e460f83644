"""Options of the training methods: one model each, with defaults and derived values.

A method refuses options that its model doesn't declare. None means off. To add a method: a model here, a line in
`METHOD_OPTIONS`, and its file in `trainer_client.methods`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from trainer_client.config.option import Option, Options, option, options_in

CAPTION = "{caption}"  # Placeholder in an instance prompt for the image's own caption.
CLASS_IMAGES, PRIOR_WEIGHT = 100, 1.0
INSTANCE, CLASS = "a picture of sks subject", "a picture of a subject"  # If neither is given.

Method = Literal["full", "lora", "dreambooth", "textual-inversion"]
LearningRate = Annotated[
    float,
    Field(
        gt=0,
        description="Learning rate of AdamW. Defaults suit Stable Diffusion 1.5; full needs 1e-4 on the mini model.",
    ),
]
TrainTextEncoder = Annotated[bool, Field(description="Train the text encoder as well as the denoiser.")]
InstancePrompt = Annotated[
    str | None, Field(description="Caption of every image; {caption} stands for the image's own caption.")
]
ClassPrompt = Annotated[
    str | None,
    Field(description="Class of the subject; the base model samples images of it, so that it keeps what it knows."),
]
ClassImages = Annotated[int | None, Field(ge=0, description="Number of class images to sample.")]
PriorWeight = Annotated[float | None, Field(ge=0, description="Weight of the class images' loss; 0 for none.")]


@dataclass(frozen=True)
class Subject:
    """Prompts of a subject and its class, and the weight of class images."""

    instance_prompt: str | None = None
    class_prompt: str | None = None
    class_images: int = 0
    prior_weight: float = 0.0

    @property
    def needs_captions(self) -> bool:
        """Whether the images' own captions are used in training."""
        return self.instance_prompt is None or CAPTION in self.instance_prompt

    @property
    def preserved(self) -> bool:
        """Whether class images are trained on (prior preservation)."""
        return bool(self.class_prompt and self.class_images and self.prior_weight)


class MethodOptions(Options):
    name: ClassVar[Method]
    learning_rate: LearningRate

    def implied(self) -> dict[str, Any]:
        """Return values derived from other options. Raise ValueError for contradictions."""
        return {}

    @property
    def trains_text_encoder(self) -> bool:
        """Whether the text encoder's own weights are trained."""
        return bool(getattr(self, "train_text_encoder", False))

    @property
    def subject(self) -> Subject:
        """The subject's options, unset if the method has none."""
        names = Subject.__dataclass_fields__
        return Subject(**{name: value for name in names if (value := getattr(self, name, None)) is not None})


class Full(MethodOptions):
    """Train every weight."""

    name = "full"
    learning_rate: LearningRate = 1e-5
    train_text_encoder: TrainTextEncoder = False


class DreamBooth(MethodOptions):
    """Train every weight on images of one subject and of its class."""

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
                f"--class-prompt is missing: give the class of {self.instance_prompt!r}, such as {CLASS!r}."
                " Or give --prior-weight 0 to train without class images"
            )
        return {}


class LoRA(MethodOptions):
    """Train a low-rank update of the linear layers."""

    name = "lora"
    learning_rate: LearningRate = 1e-4
    train_text_encoder: TrainTextEncoder = False
    rank: int = option(16, "Rank of the update.", ge=1)
    alpha: float | None = option(None, "Scale the update by alpha / rank.  [default: the rank]", gt=0)
    targets: Literal["attention", "transformer"] = option(
        "transformer", "Layers to update: attention only, or all linear layers of a transformer block."
    )
    instance_prompt: InstancePrompt = None
    class_prompt: ClassPrompt = None
    class_images: ClassImages = None
    prior_weight: PriorWeight = None

    def implied(self) -> dict[str, Any]:
        """Return alpha (default: the rank) and, with a class prompt, number and weight of class images."""
        values: dict[str, Any] = {} if self.alpha is not None else {"alpha": float(self.rank)}
        for name, default in (("class_images", CLASS_IMAGES), ("prior_weight", PRIOR_WEIGHT)):
            given = getattr(self, name)
            if self.class_prompt is None and given is not None:
                raise ValueError(f"--{name.replace('_', '-')} needs --class-prompt, the prompt of the class images")
            values[name] = default if self.class_prompt and given is None else given
        return values


class TextualInversion(MethodOptions):
    """Train the embedding vectors of a new word."""

    name = "textual-inversion"
    learning_rate: LearningRate = 5e-3
    token: str = option("<concept>", "Word to learn; it must be new to the model.")
    vectors: int = option(1, "Number of embedding vectors of the word.", ge=1, le=64)
    initialiser: str | None = option(
        None, "Words to start from, at most one token per vector.  [default: the mean of all words]"
    )
    instance_prompt: InstancePrompt = None

    def implied(self) -> dict[str, Any]:
        """Return a prompt with the token. Raise ValueError for a bad token or a prompt without it."""
        token, prompt = self.token, self.instance_prompt
        if not token or any(letter.isspace() for letter in token):
            raise ValueError(f"--token {token!r}: give one word, such as <{'-'.join(token.split()) or 'concept'}>")
        if token != token.lower():
            raise ValueError(f"--token {token}: CLIP's tokenizers ignore capitals; give {token.lower()}")
        if prompt is not None and token not in prompt:
            example = f"{prompt} {token}" if CAPTION in prompt else f"a picture of {token}"
            raise ValueError(
                f"--instance-prompt {prompt!r} lacks the token {token}. Write {example!r}, or change --token"
            )
        return {} if prompt else {"instance_prompt": f"a picture of {token}"}


METHOD_OPTIONS: dict[str, type[MethodOptions]] = {  # --method -> its options
    model.name: model for model in (Full, LoRA, DreamBooth, TextualInversion)
}


def defaults_of(name: str) -> dict[str, Any]:
    """Return an option's default by method."""
    return {
        method: model.model_fields[name].default
        for method, model in METHOD_OPTIONS.items()
        if name in model.model_fields
    }


def options_of_methods() -> dict[str, Option]:
    """Return the options of all methods, by name, with default None."""
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
    """Return all method options by name: given, default, derived, or None for other methods' options.

    Raise ValueError for contradictions.
    """
    values: dict[str, Any] = {}
    for name in options_of_methods():
        value, defaults = given.get(name), defaults_of(name)
        if value is None or value is False:
            values[name] = defaults.get(method, False if name == "train_text_encoder" else None)
        elif method not in defaults:
            methods = " or ".join(f"--method {other}" for other in defaults)
            raise ValueError(f"--{name.replace('_', '-')} works with {methods}, not with --method {method}")
        else:
            values[name] = value
    return values | METHOD_OPTIONS[method].model_construct(**values).implied()
