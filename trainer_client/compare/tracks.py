"""Give different caption versions of the same name different labels."""

from __future__ import annotations

from typing import TypeVar

from schemas.run import Checkpoint, ExampleImage, RunReport
from schemas.snapshot import Track
from trainer_client.compare.runs import Run

Value = TypeVar("Value")


def label_versions(runs: list[Run]) -> list[Run]:
    """Rename every track name that stands for several versions to `name@n`."""
    digests: dict[str, set[str]] = {}
    for run in runs:
        for track in run.report.snapshot.tracks:
            digests.setdefault(track.name, set()).add(track.version_digest)
    ambiguous = {name for name, found in digests.items() if len(found) > 1}
    return [_renamed(run, ambiguous) for run in runs] if ambiguous else runs


def all_tracks(runs: list[Run]) -> dict[str, Track]:
    """Return every track by name, in order of first appearance."""
    tracks: dict[str, Track] = {}
    for run in runs:
        for track in run.report.snapshot.tracks:
            tracks.setdefault(track.name, track)
    return tracks


def shared_examples(runs: list[Run]) -> list[ExampleImage]:
    """Return the first run's example images with the captions of all runs' tracks."""
    captions: dict[str, dict[str, str]] = {}
    for run in runs:
        for example in run.report.examples:
            for track, caption in example.captions.items():
                captions.setdefault(example.image_sha256, {}).setdefault(track, caption)
    first = next((run.report.examples for run in runs if run.report.examples), [])
    return [example.model_copy(update={"captions": captions[example.image_sha256]}) for example in first]


def _renamed(run: Run, ambiguous: set[str]) -> Run:
    report = run.report
    names = {
        track.name: track.version.rpartition("/")[2] for track in report.snapshot.tracks if track.name in ambiguous
    }
    tracks = [track.model_copy(update={"name": names.get(track.name, track.name)}) for track in report.snapshot.tracks]
    changed: dict[str, object] = {
        "snapshot": report.snapshot.model_copy(update={"tracks": tracks}),
        "captions": names.get(report.captions, report.captions),
        "checkpoints": [_renamed_checkpoint(point, names) for point in report.checkpoints],
        "examples": [
            example.model_copy(update={"captions": _keys(example.captions, names)}) for example in report.examples
        ],
        "prompts": [
            prompt.model_copy(update={"track": names.get(prompt.track or "", prompt.track)})
            for prompt in report.prompts
        ],
    }
    renamed: RunReport = report.model_copy(update=changed)
    return Run(run.folder, renamed)


def _renamed_checkpoint(point: Checkpoint, names: dict[str, str]) -> Checkpoint:
    if point.evaluation is None:
        return point
    evaluation = point.evaluation
    fields = {
        "held_out": _keys(evaluation.held_out, names),
        "held_out_shuffled": _keys(evaluation.held_out_shuffled, names),
        "train_subset": _keys(evaluation.train_subset, names),
    }
    return point.model_copy(update={"evaluation": evaluation.model_copy(update=fields)})


def _keys(values: dict[str, Value], names: dict[str, str]) -> dict[str, Value]:
    return {names.get(key, key): value for key, value in values.items()}
