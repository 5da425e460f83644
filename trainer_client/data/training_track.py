"""An instance prompt as a caption track: what every training image is called where its own captions don't count.

The track exists in memory alone, beside the snapshot's, so that losses under it are measured like under any other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from schemas.digest import sha256_json
from schemas.errors import BadOption
from schemas.run import Prompt
from schemas.snapshot import SPLITS, Track
from trainer_client.config.methods import CAPTION
from trainer_client.data import track_mix

if TYPE_CHECKING:
    from trainer_client.config import TrainConfig
    from trainer_client.data.snapshot import Row, Snapshot

TRACK = "instance-prompt"


def needs_captions(config: TrainConfig) -> bool:
    """Whether the images' own captions are trained on."""
    return config.instance_prompt is None or CAPTION in config.instance_prompt


def own_track(snapshot: Snapshot, config: TrainConfig) -> tuple[str, Snapshot, str]:
    """(the snapshot's track, the snapshot with the instance prompt's track where there is one, the track trained on).

    Where the prompt has no place for a caption, no track need be chosen; where tracks are mixed, the mix is a track
    too. Raises BadOption as `Snapshot.track`.
    """
    shares = track_mix.parts(config.captions, snapshot)
    if shares and config.instance_prompt is not None:
        raise BadOption(f"--captions {config.captions}: an instance prompt goes with one track. Choose one.")
    if shares:
        name, snapshot = track_mix.with_mix(snapshot, shares)
        return name, snapshot, name
    if config.captions is not None and not needs_captions(config):
        raise BadOption(
            f"--captions {config.captions} would have no effect: {config.instance_prompt!r} has no place for a caption."
            f" Write {CAPTION} where it goes, or leave --captions away."
        )
    track = snapshot.track(config.captions) if needs_captions(config) else snapshot.tracks[0]
    if config.instance_prompt is None:
        return track, snapshot, track
    return track, _with_prompt(snapshot, config.instance_prompt, track), TRACK


def _with_prompt(snapshot: Snapshot, prompt: str, track: str) -> Snapshot:
    rows_of = {split: [_called(row, prompt, track) for row in snapshot.rows(split)] for split in SPLITS}
    count = sum(map(len, rows_of.values()))
    made = Track(
        name=TRACK,
        column=f"text_{TRACK}",
        version=prompt,
        version_digest=sha256_json([prompt, track if CAPTION in prompt else None]),
        strategies={TRACK: count},
        captions=count,
        empty=0,
    )
    manifest = snapshot.manifest.model_copy(update={"tracks": [*snapshot.manifest.tracks, made]})
    return replace(snapshot, manifest=manifest, rows_of=rows_of, made=snapshot.made | {TRACK})


def _called(row: Row, prompt: str, track: str) -> Row:
    own = row.captions[track]
    text = None if own is None and CAPTION in prompt else prompt.replace(CAPTION, own or "")
    return replace(row, captions={**row.captions, TRACK: text})


def prompts_of(snapshot: Snapshot, config: TrainConfig) -> list[Prompt]:
    """What to draw beside a suite that knows nothing of the prompt: an instance, and the class."""
    if config.instance_prompt is None:
        return [Prompt(text=config.class_prompt)] if config.class_prompt else []
    first = next((row for row in snapshot.rows("train") if row.captions[TRACK]), None)
    found = [Prompt(text=first.captions[TRACK] or "", track=TRACK, image_sha256=first.sha256)] if first else []
    return [*found, *([Prompt(text=config.class_prompt)] if config.class_prompt else [])]
