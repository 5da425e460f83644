"""A caption by BLIP, from the hub or a local folder.

    curator caption zoo --strategy blip --set mini -o model=examples/mini/blip
    curator caption zoo --strategy blip --set blip -o model=Salesforce/blip-image-captioning-large
    curator caption zoo --strategy blip --set photo -o prompt='a photograph of' -o decode=beam -o max_new_tokens=40

Any BlipForConditionalGeneration works: Salesforce/blip-image-captioning-base (the default), -large, or your own. Its
exact revision (hub commit, or digest of a folder's files) is recorded; when it changes, captions are made again.

    greedy     the most likely next word at each step; fastest
    beam       the most likely of `num_beams` parallel captions; often more complete, slower
    nucleus    sampled from the most likely words that together reach `top_p`. Sampling is keyed by `seed` and image,
               so an image's caption doesn't depend on the other images.

With a `prompt`, every caption begins with its words; -o keep_prompt=false removes them. In float32 on the CPU a caption
doesn't depend on its batch. On a GPU rounding does, and may swap two words of nearly equal probability.
"""

from __future__ import annotations

from curator.captioners import Model
from curator.captioners.blip.options import Options
from curator.captioners.model import CaptionModel, load_from_module

VERSION = 1
LOCATIONS = frozenset({"model", "revision"})  # `model` puts the exact revision into the digest
SPEED_OPTIONS = frozenset({"batch_size", "device"})


def fields(options: Options, available: list[str]) -> list[str]:
    return []


def model(options: Options) -> Model:
    """Find the model and its revision without loading it. Raises NotFound, BadOption."""
    from curator.captioners.blip.locate import find_blip

    source = find_blip(options)
    return Model(name=source.name, revision=source.revision)


def load_model(options: Options) -> CaptionModel:
    """Load the model. Raises NotFound, BadOption, MachineFailed, DoesNotFit."""
    return load_from_module("BLIP", "curator.captioners.blip.captioner", options)
