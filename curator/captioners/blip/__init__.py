"""A caption by BLIP, which looks at the picture: a model of the Hugging Face hub, or a folder.

    curator caption zoo --strategy blip --set mini -o model=examples/mini/blip
    curator caption zoo --strategy blip --set blip -o model=Salesforce/blip-image-captioning-large
    curator caption zoo --strategy blip --set photo -o prompt='a photograph of' -o decode=beam -o max_new_tokens=40

Any BlipForConditionalGeneration will do, such as Salesforce/blip-image-captioning-base (the default), -large, or one
you finetuned. Its exact revision is recorded, and captions are made again when it changes: a commit of the hub, a
digest of a folder's files.

    greedy     the likeliest next word each time; the fastest
    beam       the likeliest of `num_beams` captions written side by side; often fuller, slower
    nucleus    drawn from the likeliest words that together reach `top_p`: varied, and repeatable. The draws are keyed
               by `seed` and the picture, so a picture's caption is the same whatever else is captioned.

With a `prompt` every caption begins with its words, as BLIP's own `generate` gives them back; -o keep_prompt=false
leaves them out. In float32 on the CPU a caption is the same to the letter whatever batch it was in; on a GPU, where the
rounding depends on the batch, a word may fall the other way where two are about equally likely.
"""

from __future__ import annotations

from curator.captioners import Model
from curator.captioners.blip.options import Options
from curator.captioners.model import Machine, open_machine

VERSION = 1
LOCATIONS = frozenset({"model", "revision"})  # what is there, by its revision, is in the digest by `model`
PACE = frozenset({"batch_size", "device"})


def fields(options: Options, available: list[str]) -> list[str]:
    """None: it looks at the picture alone."""
    return []


def model(options: Options) -> Model:
    """The model down to its revision; neither torch nor its weights are loaded. Raises NotFound, BadOption."""
    from curator.captioners.blip.locate import find_blip

    source = find_blip(options)
    return Model(name=source.name, revision=source.revision)


def machine(options: Options) -> Machine:
    """Loads it. Raises NotFound, BadOption, MachineFailed, DoesNotFit."""
    return open_machine("BLIP", "curator.captioners.blip.captioner", options)
