"""Everything a run needs before its first step, and every reason to refuse it, found before any time is spent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from schemas.document import now
from schemas.edge.words import duration, money
from schemas.errors import AmatlError, BadOption
from schemas.progress import Progress
from schemas.run import Cost, Prompt, RunReport
from schemas.snapshot import SPLITS
from trainer_client import lineage, load_model, methods
from trainer_client.cache import default_folder
from trainer_client.cache.leftovers import remove_leftovers
from trainer_client.check import examine, truncation
from trainer_client.check.benchmark import SHORT_BUDGET_SECONDS, trained_name
from trainer_client.config import TrainConfig
from trainer_client.config.methods import Subject
from trainer_client.config.parts import EvaluationOptions, LossOptions
from trainer_client.data import buckets, track_mix
from trainer_client.data.batches import ClassImages, TrainingSet
from trainer_client.data.latents import BucketLatents, Latents, TextEmbeddings, cache_buckets, cache_latents, cache_text
from trainer_client.data.plan import Plan
from trainer_client.data.snapshot import Row, Snapshot
from trainer_client.data.training_track import TrainingTrack, subject_prompts, training_track
from trainer_client.evaluate import Measures, choose_measures
from trainer_client.evaluate.baseline import Baseline
from trainer_client.evaluate.bootstrap import LEAST
from trainer_client.load_model import load_for_run
from trainer_client.methods import Method
from trainer_client.models import Family
from trainer_client.performance import torch_compile
from trainer_client.run_folder import read_record
from trainer_client.sample.prompts import default_prompts, read_prompts
from trainer_client.train import run_report
from trainer_client.train.class_images import class_images
from trainer_client.train.resolved import OPEN, with_model, with_snapshot
from trainer_client.train.trackers import refuse_missing
from trainer_client.train.writable import refuse_unwritable

TEXT_BATCH = 64
MANY_STEPS = 1000  # A run of more, of which no pace is known, is worth compiling for.


class OtherRun(AmatlError):
    """The folder holds a run with other settings."""


@dataclass
class Prepared:
    """A run, checked and encoded. `report` goes on from `before`, what the run's folder had when it was looked at."""

    config: TrainConfig
    snapshot: Snapshot
    family: Family
    method: Method
    plan: Plan
    before: RunReport | None
    report: RunReport
    track: TrainingTrack
    cache: Path  # Of what can be made anew.
    example_rows: list[Row]
    baseline: Baseline
    compiled: bool = False  # Whether training is so long that compiling the denoiser pays.
    compiling: str = ""  # What names that, see compiled.named.
    measures: Measures = field(init=False)
    data: TrainingSet = field(init=False)
    latents: Latents | BucketLatents = field(init=False)
    places: dict[str, int] = field(init=False)
    text: TextEmbeddings | None = field(init=False)

    def embeddings(self) -> TextEmbeddings:
        """Of every caption that is measured; made anew where the text encoder is trained."""
        if self.text is not None:
            return self.text
        pairs = self.measures.held_out_pairs() + self.measures.train_pairs()
        return _embed(self.family, list(dict.fromkeys(caption for _, caption in pairs)))


def prepare(config: TrainConfig, progress: Progress, device: str | None = None) -> Prepared | RunReport:
    """Check everything, the cheapest first; return the report of a run that is complete already.

    `device` is this process's own, if it has one. Raises what any check raises. `encode` does the rest.
    """
    cache = config.output.cache or default_folder()
    refuse_unwritable("--out", config.output.out)
    refuse_unwritable("--cache", cache)
    refuse_missing(config.output.tracker)
    before = read_record(config.output.out)
    snapshot = Snapshot.open(config.data.snapshot, verify=True, progress=progress)
    track, snapshot = training_track(snapshot, config.data.captions, config.method.subject)
    _refuse_missing_captions(snapshot, track.name)
    _refuse_blind_patience(config.evaluation, choose_measures(snapshot, track.name, config.evaluation.eval_images))
    prompts = _prompts(config, snapshot)
    batch = config.optimiser.batch_size * config.optimiser.accumulation
    plan = Plan(len(snapshot.rows("train")), batch, config.schedule.epochs)
    config = with_snapshot(config, track, plan)
    if before is not None and _is_complete(before, config, snapshot, prompts):
        return before
    family = load_for_run(config, progress, device)
    config = with_model(config, family)
    method = methods.begin(family, config)
    family = method.family
    report, rows = _report(config, snapshot, family, prompts, track)
    if before is not None:
        report = _go_on(before, report)
    remove_leftovers(cache)
    torch_compile.set_cache_folder(cache)
    seconds = _training_left(report, plan)
    if not report.checkpoints:  # What goes on was examined when it began.
        checked = examine(config, snapshot, method, len(prompts), progress, SHORT_BUDGET_SECONDS, track).estimate
        seconds = checked.epoch_seconds * plan.epochs
        price = "" if checked.cost is None else f", cost {money(checked.cost)}"
        progress("estimating", 1, 1, f"about {duration(checked.total_seconds)}{price}")
    shapes = buckets.sizes(family, config.data) if config.data.buckets else []
    measured = {"buckets": [list(size) for size in shapes]} if shapes else {}
    baseline = Baseline(cache, method, config.data.background, measured)
    name = trained_name(family, config)
    cost = torch_compile.TRAINING.seconds(cache, name)
    pays = torch_compile.TRAINING.pays(config.hardware.compile, family.device.type, seconds, cost)
    return Prepared(config, snapshot, family, method, plan, before, report, track, cache, rows, baseline, pays, name)


def _training_left(report: RunReport, plan: Plan) -> float:
    """Seconds of training to go at the pace of a run's last epoch; inf where none is done."""
    if not report.epochs:
        return float("inf") if plan.steps > MANY_STEPS else 0.0
    return (plan.epochs - len(report.epochs)) * report.epochs[-1].seconds


def _prompts(config: TrainConfig, snapshot: Snapshot) -> list[Prompt]:
    """What is drawn: the file's prompts, or what the instance prompt asks for and the snapshot's own suite."""
    if config.sampling.prompts:
        return read_prompts(config.sampling.prompts, snapshot)
    prompts = [*subject_prompts(snapshot, config.method.subject), *default_prompts(snapshot)]
    return list({prompt.text: prompt for prompt in reversed(prompts)}.values())[::-1]


def _is_complete(before: RunReport, config: TrainConfig, snapshot: Snapshot, prompts: list[Prompt]) -> bool:
    """Whether nothing is left to do, found out without loading the model.

    If machine or base decides a value (`resolved.OPEN`) and none is asked for, any value of the run's will do.
    """
    if before.status != "complete":
        return False
    values = config.flat()
    values |= {name: before.config.get(name) for name in OPEN if values[name] in ("auto", None, False)}
    digest = load_model.digest(config.model.base, config.model.revision, config.model.base_config)
    return not run_report.differences(before, run_report.decisive(values, snapshot.manifest.identity, digest, prompts))


def _refuse_missing_captions(snapshot: Snapshot, track: str) -> None:
    rows = snapshot.rows("train")
    without = [row for row in rows if row.captions[track] is None]
    if without:
        raise BadOption(
            f"{snapshot.folder}: {len(without)} of {len(rows)} training images have no caption in `{track}`"
            f" ({without[0].path.name} is one). Export a snapshot of the images that every track has."
        )


def _refuse_blind_patience(options: EvaluationOptions, measures: Measures) -> None:
    seen = len(measures.held_out) if measures.own_track in measures.tracks else 0
    if options.patience is not None and seen < LEAST:
        raise BadOption(
            f"--patience {options.patience}: judged by held-out images with captions in `{measures.own_track}`, of"
            f" which {seen} are measured; {LEAST} are the least. Export the snapshot with --holdout, raise"
            " --eval-images, or leave --patience out."
        )


def _report(
    config: TrainConfig, snapshot: Snapshot, family: Family, prompts: list[Prompt], track: TrainingTrack
) -> tuple[RunReport, list[Row]]:
    """A new run's report, and the rows of its examples."""
    values = config.flat()
    examples = run_report.choose_examples(snapshot, prompts)
    measures = choose_measures(snapshot, track.name, config.evaluation.eval_images)
    facts = run_report.decisive(values, snapshot.manifest.identity, family.digest, prompts)
    report = RunReport(
        name=config.output.out.resolve().name,
        status="running",
        started_at=now(),
        updated_at=now(),
        snapshot=run_report.snapshot_ref(snapshot),
        captions=track.name,
        base=run_report.base_ref(family),
        lineage=lineage.of_family(family),
        config=values,
        config_digest=run_report.config_digest(facts),
        environment=run_report.environment(family),
        prompts=prompts,
        seeds=list(config.sampling.seeds),
        held_out_images=[row.sha256 for row in measures.held_out],
        train_subset_images=[row.sha256 for row in measures.train_subset],
        examples=[example for example, _ in examples],
        references=None,
        prompt_references=run_report.prompt_references(prompts, [example for example, _ in examples]),
        truncation=truncation(family, _captions(snapshot, track.encoded_tracks)),
        epochs=[],
        checkpoints=[],
        cost=Cost(
            training_seconds=0,
            sampling_seconds=0,
            evaluating_seconds=0,
            preparing_seconds=0,
            price_per_hour=config.hardware.price_per_hour,
        ),
    )
    return report, [row for _, row in examples]


def _captions(snapshot: Snapshot, tracks: list[str]) -> list[str]:
    rows = [row for split in SPLITS for row in snapshot.rows(split)]
    if len(tracks) == 1:
        return [row.captions[tracks[0]] or "" for row in rows]
    return [caption for row in rows for track in tracks if (caption := row.captions[track]) is not None]


def _go_on(before: RunReport, asked: RunReport) -> RunReport:
    """The report found in the folder, with what may change between a kill and the resume. Raises OtherRun."""
    facts = run_report.decisive(asked.config, asked.snapshot.identity, asked.base.digest, asked.prompts)
    other = run_report.differences(before, facts)
    if other:
        raise OtherRun(
            f"{asked.config['out']}: holds a run with other settings: {'; '.join(other)}."
            " Choose another --out, or give the same settings to go on."
        )
    cost = before.cost.model_copy(update={"price_per_hour": asked.cost.price_per_hour})
    kept = {"config": asked.config, "environment": asked.environment, "cost": cost, "status": "running"}
    return before.model_copy(update=kept)


def encode(run: Prepared, progress: Progress) -> None:
    """Encodes pictures and captions, or takes them from the cache; fills in the rest of `run`."""
    config, family, snapshot = run.config, run.family, run.snapshot
    run.measures = choose_measures(snapshot, run.track.name, config.evaluation.eval_images)
    train = snapshot.rows("train")
    subject = config.method.subject
    of_class = class_images(family, subject, config.sampling, run.cache, config.hardware.compile, progress)
    run.report = run.report.model_copy(update={"class_images": [row.sha256 for row in of_class]})
    rows = [*train, *run.measures.held_out, *of_class]
    run.latents = _latents(run, rows, progress)
    if config.loss.masked_loss:
        _refuse_useless_masks(config.loss, train, run.latents)
    run.places = {row.sha256: place for place, row in enumerate(rows)}
    own = [row.captions[run.track.name] or "" for row in train]
    measured = [caption for _, caption in run.measures.held_out_pairs()]
    shares = run.track.shares
    mixed = [row.captions[track] or "" for row in train for track in shares]
    words = ["", *own, *mixed, *measured, subject.class_prompt or ""]
    distinct = {caption: place for place, caption in enumerate(dict.fromkeys(words))}
    run.text = None if run.method.encodes_text_each_step else cache_text(family, list(distinct), run.cache, progress)
    run.data = TrainingSet(
        [row.sha256 for row in train],
        run.latents,
        torch.tensor([distinct[caption] for caption in own], device=family.device),
        run.text if run.text is not None else family.tokenise(list(distinct)),
        config.augmentation,
        config.loss,
        _prior(subject, of_class, len(rows) - len(of_class), distinct),
        list(distinct),
        _mix(train, shares, distinct, family) if shares else None,
    )


def _mix(train: list[Row], shares: Mapping[str, float], distinct: dict[str, int], family: Family) -> track_mix.TrackMix:
    captions = [[distinct[row.captions[track] or ""] for track in shares] for row in train]
    bounds = [track_mix.share_ends(row, shares) for row in train]
    return track_mix.TrackMix(torch.tensor(captions, device=family.device), torch.tensor(bounds, device=family.device))


def _latents(run: Prepared, rows: list[Row], progress: Progress) -> Latents | BucketLatents:
    family, options = run.family, run.config.data
    masks, flips = run.config.loss.masked_loss, run.config.augmentation.flip
    if options.buckets:
        bucket_of = buckets.bucket_by_sha256(rows, family, options)
        return cache_buckets(family, rows, bucket_of, run.cache, options.background, masks, progress, flips)
    return cache_latents(family, rows, run.cache, options.background, opacity=masks, progress=progress, flips=flips)


def _refuse_useless_masks(options: LossOptions, train: list[Row], latents: Latents | BucketLatents) -> None:
    """Where nothing is transparent the option does nothing; where everything is there is nothing to learn."""
    most = [float(latents.opaque_share(place)) for place in range(len(train))]
    if min(most) == 1:
        raise BadOption("--masked-loss: no training image has a transparent part. Leave it out.")
    empty = [row.path for row, share in zip(train, most, strict=True) if share == 0]
    if empty and not options.background_weight:
        raise BadOption(
            f"--masked-loss: {len(empty)} of {len(train)} training images are wholly transparent ({empty[0]} is one)."
            " Take them out of the set, or give --background-weight."
        )


def _prior(subject: Subject, of_class: list[Row], first: int, distinct: dict[str, int]) -> ClassImages | None:
    if not of_class:
        return None
    caption = distinct[subject.class_prompt or ""]
    return ClassImages([row.sha256 for row in of_class], first, caption, subject.prior_weight)


@torch.no_grad()
def _embed(family: Family, captions: list[str]) -> TextEmbeddings:
    parts = [
        family.encode_text(family.tokenise(captions[i : i + TEXT_BATCH])) for i in range(0, len(captions), TEXT_BATCH)
    ]
    return TextEmbeddings({caption: place for place, caption in enumerate(captions)}, torch.cat(parts))
