"""Options of the training methods: one model each, with the method's defaults and what follows from its values.

An option that a method's model doesn't list is refused with that method. A default of None means that the option is off
unless given. To add a method: a model here, one line in `OPTIONS`, and its file in `trainer_client.methods`.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

CAPTION = "{caption}"  # In an instance prompt: the image's own caption.
CLASS_IMAGES, PRIOR_WEIGHT = 100, 1.0
INSTANCE, CLASS = "a picture of sks subject", "a picture of a subject"  # If neither is given.


class MethodOptions(BaseModel):
    """Options of one method."""

    model_config = ConfigDict(frozen=True)

    def implied(self) -> dict[str, Any]:
        """Return the values that follow from others. Raises ValueError if values don't go together."""
        return {}


class Full(MethodOptions):
    """Every weight is trained."""

    learning_rate: float = 1e-5
    train_text_encoder: bool = False


class DreamBooth(MethodOptions):
    """Every weight, on images of one subject, beside images of its class."""

    learning_rate: float = 5e-6
    train_text_encoder: bool = False
    instance_prompt: str | None = None
    class_prompt: str | None = None
    class_images: int = CLASS_IMAGES
    prior_weight: float = PRIOR_WEIGHT

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

    learning_rate: float = 1e-4
    train_text_encoder: bool = False
    rank: int = 16
    alpha: float | None = None
    targets: str = "transformer"
    instance_prompt: str | None = None
    class_prompt: str | None = None
    class_images: int | None = None
    prior_weight: float | None = None

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

    learning_rate: float = 5e-3
    token: str = "<concept>"
    vectors: int = 1
    initialiser: str | None = None
    instance_prompt: str | None = None

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


OPTIONS: dict[str, type[MethodOptions]] = {  # --method -> its options
    "full": Full,
    "lora": LoRA,
    "dreambooth": DreamBooth,
    "textual-inversion": TextualInversion,
}


def defaults_of(option: str) -> dict[str, Any]:
    """Return an option's default by method, for the methods that have the option; {} for an option of every method."""
    return {
        method: options.model_fields[option].default
        for method, options in OPTIONS.items()
        if option in options.model_fields
    }


def filled_in(method: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the values of all options that any method has: given, by default, or implied; None if not this method's.

    Raises ValueError for an option of other methods, or values that don't go together.
    """
    values: dict[str, Any] = {}
    for name in dict.fromkeys(name for options in OPTIONS.values() for name in options.model_fields):
        value, defaults = given.get(name), defaults_of(name)
        if value is None or value is False:
            values[name] = defaults.get(method, False if name == "train_text_encoder" else None)
        elif method not in defaults:
            methods = " or ".join(f"--method {other}" for other in defaults)
            raise ValueError(f"--{name.replace('_', '-')} belongs to {methods}; this is --method {method}")
        else:
            values[name] = value
    # Not validated here: the fields of `TrainConfig` do that, and name the option.
    return values | OPTIONS[method].model_construct(**values).implied()
