"""The caption track that a run trains on. An instance prompt makes one in memory, for losses as under any track."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from schemas.digest import sha256_json
from schemas.errors import BadOption
from schemas.run import Prompt
from schemas.snapshot import SPLITS, Track
from trainer_client.config.methods import CAPTION, Subject
from trainer_client.data import track_mix
from trainer_client.data.snapshot import Row, Snapshot

TRACK = "instance-prompt"


@dataclass(frozen=True)
class TrainingTrack:
    """The captions to train on, resolved from `--captions` and the instance prompt."""

    name: str  # A track of the snapshot, a mix, or TRACK.
    captions: str  # The track that `--captions` names.
    shares: Mapping[str, float] = field(default_factory=dict)  # By mixed track; {} if this is no mix.

    @property
    def encoded_tracks(self) -> list[str]:
        """The tracks whose captions are encoded."""
        return list(self.shares) or [self.name]

    @property
    def counted_tracks(self) -> list[str]:
        """The tracks that `trainer check` counts."""
        return [*(self.shares or [self.captions]), *([TRACK] if self.name == TRACK else [])]


def training_track(snapshot: Snapshot, captions: str | None, subject: Subject) -> tuple[TrainingTrack, Snapshot]:
    """Return the track to train on, and the snapshot with that track if it is derived from others.

    A prompt without {caption} needs no track. Raise BadOption.
    """
    prompt = subject.instance_prompt
    shares = track_mix.parse_shares(captions, snapshot)
    if shares and prompt is not None:
        raise BadOption(
            f"--captions {captions}: an instance prompt works with one track, not with a mix. Choose one track."
        )
    if shares:
        name, snapshot = track_mix.with_mix(snapshot, shares)
        return TrainingTrack(name, name, shares), snapshot
    if captions is not None and not subject.needs_captions:
        raise BadOption(
            f"--captions {captions} would have no effect: {prompt!r} has no {CAPTION}."
            " Add it to --instance-prompt, or leave --captions out."
        )
    track = snapshot.track(captions) if subject.needs_captions else snapshot.tracks[0]
    if prompt is None:
        return TrainingTrack(track, track), snapshot
    return TrainingTrack(TRACK, track), _with_prompt(snapshot, prompt, track)


def _with_prompt(snapshot: Snapshot, prompt: str, track: str) -> Snapshot:
    rows_of = {split: [_with_prompted_caption(row, prompt, track) for row in snapshot.rows(split)] for split in SPLITS}
    count = sum(map(len, rows_of.values()))
    prompt_track = Track(
        name=TRACK,
        column=f"text_{TRACK}",
        version=prompt,
        version_digest=sha256_json([prompt, track if CAPTION in prompt else None]),
        strategies={TRACK: count},
        captions=count,
        empty=0,
    )
    manifest = snapshot.manifest.model_copy(update={"tracks": [*snapshot.manifest.tracks, prompt_track]})
    return replace(snapshot, manifest=manifest, rows_of=rows_of, made=snapshot.made | {TRACK})


def _with_prompted_caption(row: Row, prompt: str, track: str) -> Row:
    caption = row.captions[track]
    text = None if caption is None and CAPTION in prompt else prompt.replace(CAPTION, caption or "")
    return replace(row, captions={**row.captions, TRACK: text})


def subject_prompts(snapshot: Snapshot, subject: Subject) -> list[Prompt]:
    """Return prompts to sample besides the suite: of the instance and the class."""
    class_prompts = [Prompt(text=subject.class_prompt)] if subject.class_prompt else []
    if subject.instance_prompt is None:
        return class_prompts
    first = next((row for row in snapshot.rows("train") if row.captions[TRACK]), None)
    if first is None:
        return class_prompts
    return [Prompt(text=first.captions[TRACK] or "", track=TRACK, image_sha256=first.sha256), *class_prompts]
