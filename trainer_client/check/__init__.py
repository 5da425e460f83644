"""Everything that can be known before training: whether the snapshot is whole, which words are lost, time, cost, space.

`check` is the command; `examine` is the part that `train` calls too, on what it has loaded by then.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, Field

from schemas.edge.words import duration, money, plural, size
from schemas.errors import NotEnoughSpace
from schemas.images.orientation import in_words
from schemas.progress import Progress, silent
from schemas.run import Truncation
from schemas.snapshot import SPLITS
from trainer_client import methods
from trainer_client.cache import default_folder
from trainer_client.check.benchmark import NotEnoughMemory, Pace, measure_pace, trained_name
from trainer_client.config import TrainConfig
from trainer_client.data.buckets import BucketAssignment, assignments, table_lines
from trainer_client.data.images import decode_all
from trainer_client.data.snapshot import Row, Snapshot
from trainer_client.data.training_track import TrainingTrack, training_track
from trainer_client.device import device_name
from trainer_client.evaluate import choose_measures
from trainer_client.load_model import load_for_run
from trainer_client.methods import Method
from trainer_client.models import Family
from trainer_client.performance import torch_compile
from trainer_client.sample.prompts import default_prompts, read_prompts

EXAMPLES = 3  # Truncated captions shown of a track.
SHOWN = 48  # Characters of a caption shown on either side of the cut.
SPARE = 1.05  # Space asked for over what the files will take.


class TrackCheck(BaseModel):
    """A caption track against the base's tokenizer."""

    name: str
    version: str
    missing: int = Field(description="Images without a caption: where there are any, the track can't be trained on.")
    empty: int
    truncation: Truncation


class Estimate(BaseModel):
    """What a run will take on this device, from a few real steps. Encoding counts as if nothing were cached."""

    images_per_second: float = Field(description="In training.")
    epoch_seconds: float
    preparing_seconds: float
    training_seconds: float
    sampling_seconds: float
    evaluating_seconds: float
    total_seconds: float
    price_per_hour: float | None
    cost: float | None


class Space(BaseModel):
    """Disk space for the checkpoints and the resume state."""

    folder: Path
    checkpoints: int
    needed_bytes: int
    free_bytes: int


class CheckResult(BaseModel):
    """What `trainer check` found: a snapshot that can be trained on."""

    snapshot: Path
    identity: str
    dataset: str
    train_images: int
    held_out_images: int
    base: str
    family: str
    base_digest: str
    resolution_px: int
    device: str
    precision: str
    epochs: int
    checkpoint_epochs: list[int]
    pictures: int = Field(description="Drawn at each checkpoint.")
    tracks: list[TrackCheck]
    buckets: list[BucketAssignment] = Field(default_factory=list, description="With --buckets: where every image goes.")
    unread_orientation: list[str] = Field(
        default_factory=list, description="Images whose EXIF is damaged: they are taken as they are stored."
    )
    estimate: Estimate
    space: Space


def check(config: TrainConfig, progress: Progress = silent) -> CheckResult:
    """Opens, verifies and examines everything that training with this config would use. Writes nothing.

    Without `config.data.captions` every track is counted. Raises what is wrong with snapshot, base, options or disk.
    """
    snapshot = Snapshot.open(config.data.snapshot, verify=True, progress=progress)
    track, subject = None, config.method.subject
    if config.data.captions is not None or subject.instance_prompt is not None:
        track, snapshot = training_track(snapshot, config.data.captions, subject)
    prompts = read_prompts(config.sampling.prompts, snapshot) if config.sampling.prompts else default_prompts(snapshot)
    family = load_for_run(config, progress)
    counted = track if config.data.captions else None
    return examine(config, snapshot, methods.begin(family, config), len(prompts), progress, track=counted)


def examine(
    config: TrainConfig,
    snapshot: Snapshot,
    method: Method,
    prompts: int,
    progress: Progress = silent,
    budget_seconds: float | None = None,
    track: TrainingTrack | None = None,
) -> CheckResult:
    """Decodes every image, counts lost words, times a few steps, compares the disk. The snapshot is verified already.

    `budget_seconds` is for how long each thing is timed (see benchmark.py). Without a `track` all are counted.

    Raises BadImage, NotEnoughMemory, NotEnoughSpace. Leaves the model's weights as they were.
    """
    family = method.family
    rows = [row for split in SPLITS for row in snapshot.rows(split)]
    unread = decode_all(rows, config.data.background, progress)
    space = needed_space(config, method)
    if space.needed_bytes > space.free_bytes:
        raise NotEnoughSpace(
            f"{space.folder}: {space.checkpoints} checkpoints and the resume state take {size(space.needed_bytes)},"
            f" {size(space.free_bytes)} is free. Use fewer --save-epochs, or an --out on another disk."
        )
    found = assignments(snapshot, family, config.data) if config.data.buckets else []
    batch_size = min(config.optimiser.batch_size, len(snapshot.rows("train")))
    while True:
        try:
            pace = measure_pace(
                method, rows, batch_size, config.data.background, progress, config.hardware.cuda_graph, budget_seconds
            )
            break
        except NotEnoughMemory:
            # Compiled passes take less memory than these, so that fewer images tell of the pace, not of the fit.
            compiling = config.hardware.compile != "off" and family.device.type == "cuda"
            if not (config.optimiser.auto_batch or compiling) or batch_size == 1:
                raise
        batch_size = -(-batch_size // 2)
    names = track.counted_tracks if track else snapshot.tracks
    return CheckResult(
        snapshot=snapshot.folder,
        identity=snapshot.manifest.identity,
        dataset=snapshot.manifest.dataset,
        train_images=len(snapshot.rows("train")),
        held_out_images=len(snapshot.rows("validation")),
        base=family.base,
        family=family.name,
        base_digest=family.digest,
        resolution_px=family.resolution_px,
        device=device_name(family.device),
        precision=str(family.dtype).removeprefix("torch."),
        epochs=config.schedule.epochs,
        checkpoint_epochs=list(config.schedule.checkpoint_epochs()),
        pictures=prompts * len(config.sampling.seeds),
        tracks=[check_track(family, snapshot, name, rows) for name in names],
        buckets=found,
        unread_orientation=unread,
        estimate=estimate(
            config,
            snapshot,
            pace,
            batch_size,
            prompts * len(config.sampling.seeds),
            family.device.type,
            torch_compile.TRAINING.seconds(config.output.cache or default_folder(), trained_name(family, config)),
            track.captions if track else None,
        ),
        space=space,
    )


def check_track(family: Family, snapshot: Snapshot, name: str, rows: Iterable[Row]) -> TrackCheck:
    """A track's captions over these rows."""
    captions = [row.captions[name] for row in rows]
    there = [caption for caption in captions if caption is not None]
    return TrackCheck(
        name=name,
        version=next(track.version for track in snapshot.manifest.tracks if track.name == name),
        missing=len(captions) - len(there),
        empty=sum(caption == "" for caption in there),
        truncation=truncation(family, there),
    )


def truncation(family: Family, captions: list[str]) -> Truncation:
    """How many captions lose words past the tokenizer's limit, with examples that show where the cut falls."""
    counts = family.count_tokens(captions)
    lost = [caption for caption, count in zip(captions, counts, strict=True) if count > family.token_limit]
    return Truncation(
        token_limit=family.token_limit,
        captions=len(captions),
        truncated=len(lost),
        examples=[_cut(caption, family.lost_text(caption)) for caption in list(dict.fromkeys(lost))[:EXAMPLES]],
    )


def _cut(caption: str, lost: str) -> str:
    """The last kept words, how many are lost, the first of these: `... by the river [3 words lost:] and a boat`."""
    kept = caption[: len(caption) - len(lost)].rstrip()
    opening = kept if len(kept) <= SHOWN else f"... {kept[-SHOWN:].split(' ', 1)[-1]}"
    ending = lost if len(lost) <= SHOWN else f"{lost[:SHOWN].rsplit(' ', 1)[0]} ..."
    return f"{opening} [{plural(len(lost.split()), 'word')} lost:] {ending}"


def estimate(
    config: TrainConfig,
    snapshot: Snapshot,
    pace: Pace,
    batch_size: int,
    pictures: int,
    device: str = "cpu",
    compiling_seconds: float = torch_compile.TRAINING.new_seconds,
    captions: str | None = None,
) -> Estimate:
    """The run's seconds by part, and money where there is a price. What compiling would bring is taken as usual.

    `device` is its type: cpu, cuda. `captions` is the track measured, the first if None.
    """
    train_images = len(snapshot.rows("train"))
    measures = choose_measures(snapshot, captions or snapshot.tracks[0], config.evaluation.eval_images)
    measured = len(measures.held_out_pairs()) + len(measures.train_pairs())
    checkpoints = len(config.schedule.checkpoint_epochs())
    forwards = config.sampling.sample_steps * (2 if config.sampling.guidance_scale != 1 else 1)
    subject = config.method.subject
    of_class = subject.class_images if subject.prior_weight else 0
    each = 2 if of_class else 1  # An image of the class goes with every image.
    rate = batch_size / pace.step / each
    extra = 0.0
    training_seconds = train_images * config.schedule.epochs / rate
    if torch_compile.TRAINING.pays(config.hardware.compile, device, training_seconds, compiling_seconds):
        rate, extra = rate * torch_compile.TRAINING.gain, compiling_seconds
    epoch_seconds = train_images / rate
    parts = {
        "preparing_seconds": extra
        + (train_images + len(measures.held_out) + of_class) * pace.encoding
        + of_class * (forwards * pace.forward + pace.decoding),
        "training_seconds": epoch_seconds * config.schedule.epochs,
        "sampling_seconds": checkpoints * pictures * (forwards * pace.forward + pace.decoding),
        "evaluating_seconds": checkpoints * measured * config.evaluation.eval_timesteps * pace.forward,
    }
    total = sum(parts.values())
    return Estimate(
        **parts,
        images_per_second=rate,
        epoch_seconds=epoch_seconds,
        total_seconds=total,
        price_per_hour=config.hardware.price_per_hour,
        cost=None if config.hardware.price_per_hour is None else config.hardware.price_per_hour * total / 3600,
    )


def needed_space(config: TrainConfig, method: Method) -> Space:
    """The checkpoints, and the resume state, which is there twice while it is replaced."""
    in_model = 2 if config.output.save_dtype == "fp16" else 4  # bytes a weight
    trained = sum(weight.numel() for weight in method.parameters.values())
    checkpoints = len(config.schedule.checkpoint_epochs())
    state = 2 * trained * 4 * (4 if config.optimiser.ema else 3)  # weights and two moments, perhaps their average
    numbers = method.numbers_saved(first=True) + (checkpoints - 1) * method.numbers_saved(first=False)
    needed = numbers * in_model + state
    folder = config.output.out.absolute()
    while not folder.exists():
        folder = folder.parent
    return Space(
        folder=config.output.out,
        checkpoints=checkpoints,
        needed_bytes=math.ceil(needed * SPARE),
        free_bytes=shutil.disk_usage(folder).free,
    )


def render(result: CheckResult) -> str:
    """For a person."""
    found = result.estimate
    lines = [
        f"{result.snapshot}: whole. {result.train_images} training and {result.held_out_images} held-out images of"
        f" {result.dataset}, every checksum right, every image decoded.",
        f"{result.base}: {result.family}, {result.resolution_px} px, {result.precision} on {result.device}.",
        "",
        *_tracks(result.tracks),
        "",
        *([f"{in_words(result.unread_orientation)}.", ""] if result.unread_orientation else []),
        *([*table_lines(result.buckets), ""] if result.buckets else []),
        f"{plural(result.epochs, 'epoch')} at {found.images_per_second:.3g} images/s,"
        f" {duration(found.epoch_seconds)} an epoch.",
        f"About {duration(found.total_seconds)}{_money(found)} for a track:"
        f" training {duration(found.training_seconds)}, sampling {duration(found.sampling_seconds)}"
        f" ({plural(result.pictures, 'picture')} at each of"
        f" {plural(len(result.checkpoint_epochs), 'checkpoint')}), evaluating {duration(found.evaluating_seconds)},"
        f" preparing {duration(found.preparing_seconds)}.",
        f"Disk: {size(result.space.needed_bytes)} needed, {size(result.space.free_bytes)} free.",
    ]
    return "\n".join(lines)


def _money(found: Estimate) -> str:
    return "" if found.cost is None else f", cost {money(found.cost)} at {found.price_per_hour:g} an hour,"


def _tracks(tracks: list[TrackCheck]) -> list[str]:
    """A line a track, and what is lost."""
    width = max(len("track"), *(len(track.name) for track in tracks))
    lines = [f"{'track':<{width}}  {'captions':>8}  {'empty':>6}  {'missing':>7}  {'losing words':>12}  version"]
    for track in tracks:
        cut = track.truncation
        figures = f"{cut.captions:>8}  {track.empty:>6}  {track.missing:>7}  {cut.truncated:>12}"
        lines.append(f"{track.name:<{width}}  {figures}  {track.version}")
    for track in tracks:
        cut = track.truncation
        if cut.truncated:
            lines.append(f"`{track.name}` loses words past {cut.token_limit} tokens, for example:")
            lines += [f"  {example}" for example in cut.examples]
        if track.missing:
            lines.append(f"`{track.name}` can't be trained on: {track.missing} images have no caption in it.")
    return lines
