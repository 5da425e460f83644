"""An instance prompt as a caption track: what every training image is called where its own captions don't count.

The track exists in memory alone, beside the snapshot's, so that losses under it are measured like under any other.
"""

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
    """The captions that a run trains on, resolved once from `--captions` and the instance prompt."""

    name: str  # The track trained on: the snapshot's, a mix, or that of the instance prompt.
    captions: str  # What `--captions` stands for.
    shares: Mapping[str, float] = field(default_factory=dict)  # Of the tracks that are mixed; {} if none are.

    @property
    def read(self) -> list[str]:
        """The tracks whose captions the text encoder reads."""
        return list(self.shares) or [self.name]

    @property
    def counted(self) -> list[str]:
        """The tracks that `trainer check` counts."""
        return [*(self.shares or [self.captions]), *([TRACK] if self.name == TRACK else [])]


def training_track(snapshot: Snapshot, captions: str | None, subject: Subject) -> tuple[TrainingTrack, Snapshot]:
    """Return the track to train on, and the snapshot with that track in it if it is made of others.

    If the instance prompt has no place for a caption, no track need be chosen. Raises BadOption as `Snapshot.track`.
    """
    prompt = subject.instance_prompt
    shares = track_mix.parts(captions, snapshot)
    if shares and prompt is not None:
        raise BadOption(f"--captions {captions}: an instance prompt goes with one track. Choose one.")
    if shares:
        name, snapshot = track_mix.with_mix(snapshot, shares)
        return TrainingTrack(name, name, shares), snapshot
    if captions is not None and not subject.needs_captions:
        raise BadOption(
            f"--captions {captions} would have no effect: {prompt!r} has no place for a caption."
            f" Write {CAPTION} where it goes, or leave --captions away."
        )
    track = snapshot.track(captions) if subject.needs_captions else snapshot.tracks[0]
    if prompt is None:
        return TrainingTrack(track, track), snapshot
    return TrainingTrack(TRACK, track), _with_prompt(snapshot, prompt, track)


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


def prompts_of(snapshot: Snapshot, subject: Subject) -> list[Prompt]:
    """Return what to sample beside a suite that knows nothing of the prompts: an instance, and the class."""
    of_class = [Prompt(text=subject.class_prompt)] if subject.class_prompt else []
    if subject.instance_prompt is None:
        return of_class
    first = next((row for row in snapshot.rows("train") if row.captions[TRACK]), None)
    if first is None:
        return of_class
    return [Prompt(text=first.captions[TRACK] or "", track=TRACK, image_sha256=first.sha256), *of_class]
