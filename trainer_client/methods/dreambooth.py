"""DreamBooth: full finetuning on a few pictures under one prompt, beside pictures of the class that the base drew.

The class pictures keep the model from forgetting what it knew (prior preservation); see
`trainer_client.train.class_images`. The same options work with LoRA. A checkpoint is a whole model.

Source: Ruiz et al., "DreamBooth: fine tuning text-to-image diffusion models for subject-driven generation" (2023).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainer_client.methods.full import Full

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainer_client.config import TrainConfig
    from trainer_client.models import Family

CLASS_IMAGES, PRIOR_WEIGHT = 100, 1.0
DEFAULTS: dict[str, Any] = {
    "learning_rate": 5e-6,
    "train_text_encoder": False,
    "instance_prompt": None,
    "class_prompt": None,
    "class_images": CLASS_IMAGES,
    "prior_weight": PRIOR_WEIGHT,
}
INSTANCE, CLASS = "a picture of sks subject", "a picture of a subject"  # Where neither is given.


def fill_in(values: Mapping[str, Any]) -> dict[str, Any]:
    """Both prompts where neither is given. Raises ValueError where the class has none and a weight."""
    if values["instance_prompt"] is None and values["class_prompt"] is None:
        return {"instance_prompt": INSTANCE, "class_prompt": CLASS}
    if values["class_prompt"] is None and values["prior_weight"]:
        raise ValueError(
            f"--class-prompt is missing: what {values['instance_prompt']!r} is one of, such as {CLASS!r}."
            " Or give --prior-weight 0 to train without pictures of the class"
        )
    return {}


class DreamBooth(Full):
    """`trainer_client.methods.Method`: full finetuning; what is different is the data."""

    name = "dreambooth"


def begin(family: Family, config: TrainConfig) -> DreamBooth:
    """`trainer_client.methods.begin` for this method."""
    return DreamBooth(family, config)
