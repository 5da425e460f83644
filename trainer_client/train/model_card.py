"""The model card of a checkpoint: base, images, captions, licences.

A `README.md` with the hub's front matter (https://huggingface.co/docs/hub/model-cards) and a contact sheet. All facts
come from the run record and the snapshot's manifest.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from schemas.document import write_atomically
from schemas.edge.words import duration, plural
from schemas.run import Ancestor, RunReport
from schemas.snapshot import SnapshotManifest, Track
from trainer_client.lineage import link_in_words
from trainer_client.sample import write_png
from trainer_client.sample.contact_sheet import contact_sheet
from trainer_client.train.checkpoint import FOLDER
from trainer_client.train.early_stopping import judge, own_losses

FILE, SHEET = "README.md", "samples.png"
TOLD = (
    "method",
    "learning_rate",
    "lr_schedule",
    "batch_size",
    "accumulation",
    "resolution",
    "train_text_encoder",
    "rank",
    "alpha",
    "targets",
    "instance_prompt",
    "class_prompt",
    "class_images",
    "prior_weight",
    "token",
    "vectors",
    "initialiser",
    "buckets",
    "min_side",
    "max_side",
    "clip_skip",
    "max_tokens",
    "caption_dropout",
    "shuffle_tags",
    "keep_tags",
    "offset_noise",
    "zero_terminal_snr",
    "masked_loss",
    "background_weight",
    "min_snr_gamma",
    "ema",
    "seed",
)


def write_card(
    folder: Path, report: RunReport, manifest: SnapshotManifest, epoch: int, tiles_PSHWC: Tensor | None
) -> None:
    """Write the card into the checkpoint's folder; `tiles_PSHWC` are its samples (uint8), if any."""
    if tiles_PSHWC is not None:
        prompts = [prompt.text for prompt in report.prompts]
        seeds = [f"seed {seed}" for seed in report.seeds]
        title = f"{report.name} · captions {report.captions} · epoch {epoch}"
        write_png(contact_sheet(tiles_PSHWC, prompts, seeds, title), folder / SHEET)
    write_atomically(folder / FILE, card(report, manifest, epoch, tiles_PSHWC is not None).encode())


def card(report: RunReport, manifest: SnapshotManifest, epoch: int, has_sheet: bool) -> str:
    """Return the card as Markdown."""
    parts = [
        _front_matter(report),
        f"# {report.name}, epoch {epoch}\n",
        _in_short(report, epoch),
        _use(report),
        f"![Prompts by seeds]({SHEET})\n" if has_sheet else "",
        _data(report, manifest),
        _lineage(report),
        _figures(report, epoch),
        _settings(report),
    ]
    return "\n".join(part for part in parts if part)


def _front_matter(report: RunReport) -> str:
    # The hub accepts model names, not local folders.
    on_hub = report.base.name.count("/") == 1 and not Path(report.base.name).expanduser().exists()
    facts: dict[str, Any] = {
        **({"base_model": report.base.name} if on_hub else {}),
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "tags": ["text-to-image", report.base.family, str(report.config.get("method", "full")), "amatl"],
    }
    # JSON is valid YAML.
    return "\n".join(["---", *(f"{name}: {json.dumps(value)}" for name, value in facts.items()), "---", ""])


def _in_short(report: RunReport, epoch: int) -> str:
    snapshot = report.snapshot
    base = f"`{public_name(report.base.name)}`"
    what = f"{base} trained for {plural(epoch, 'epoch')} on" if epoch else f"{base}, not yet trained on"
    return (
        f"{what} {snapshot.train_images} images of `{snapshot.dataset}` under the captions `{report.captions}`;"
        f" {snapshot.held_out_images} images were held out.\n"
    )


def _use(report: RunReport) -> str:
    """Return a code example that samples from the model."""
    base, load = public_name(report.base.name), []
    method = report.config.get("method", "full")
    if method == "lora":
        load = ['pipeline.load_lora_weights(".", weight_name="pytorch_lora_weights.safetensors")']
    elif method == "textual-inversion":
        load = ['pipeline.load_textual_inversion("learned_embeds.safetensors")']
    adapted = method in ("lora", "textual-inversion")
    lines = [
        "from diffusers import DiffusionPipeline\n",
        f"pipeline = DiffusionPipeline.from_pretrained({json.dumps(base if adapted else '.')})",
        *load,
        f"pipeline({json.dumps(report.prompts[0].text if report.prompts else '')}).images[0]",
    ]
    where = f"In this folder{f', with {base} where the code says so' if adapted else ''}:\n"
    return "\n".join([where, "```python", *lines, "```\n"])


def _data(report: RunReport, manifest: SnapshotManifest) -> str:
    rows = [f"| `{track.name}` | {track.version} | {_strategies(track)} |" for track in _own_tracks(report)]
    licences = [f"| {licence} | {count} |" for licence, count in sorted(manifest.licenses.items())]
    return "\n".join(
        [
            "## Data\n",
            f"Snapshot `{report.snapshot.identity}`.\n",
            "| captions | version | made by |\n| --- | --- | --- |",
            *rows,
            "",
            "| licence of the images | images |\n| --- | --- |",
            *licences,
            "",
        ]
    )


def _own_tracks(report: RunReport) -> list[Track]:
    named = {part.partition(":")[0] for part in report.captions.split(",")}
    return [track for track in report.snapshot.tracks if track.name in named]


def _strategies(track: Track) -> str:
    return ", ".join(f"{name} ({count})" for name, count in track.strategies.items())


def _lineage(report: RunReport) -> str:
    links = report.lineage or [Ancestor(name=report.base.name, digest=report.base.digest)]
    told = [link.model_copy(update={"name": public_name(link.name)}) for link in links]
    lines = [f"{place}. {link_in_words(link)}" for place, link in enumerate(told, start=1)]
    digest = f"The digest of the base in full: `{links[-1].digest}`.\n"
    return "\n".join(["## Lineage\n", *lines, f"{len(lines) + 1}. this model\n", digest])


def public_name(name: str) -> str:
    """Return a model's name without local folders: only the last part of a path."""
    path = Path(name).expanduser()
    if not path.is_absolute():
        return name
    in_run = path.parent.name == FOLDER
    return "/".join(path.parts[-3:] if in_run else path.parts[-1:])


def _figures(report: RunReport, epoch: int) -> str:
    losses = own_losses(report)
    lines = ["## Figures\n"]
    if losses.get(epoch):
        mean, base = sum(losses[epoch]) / len(losses[epoch]), losses.get(0)
        before = f" (the base: {sum(base) / len(base):.4f})" if base and epoch else ""
        lines.append(f"- Held-out loss under its own captions: {mean:.4f}{before}, over {len(losses[epoch])} images.")
    verdict = judge(report)
    if verdict is not None and epoch:
        lines.append(f"- The run so far: {verdict.finding}")
    seconds = sum(record.seconds for record in report.epochs)
    lines.append(f"- Training took {duration(seconds)} on {report.environment.get('device_name', 'this machine')}.")
    return "\n".join([*lines, ""])


def _settings(report: RunReport) -> str:
    told = [f"| {name} | {report.config[name]} |" for name in TOLD if report.config.get(name) not in (None, False)]
    digest = f"The whole configuration is in the run's `run.json`, digest `{report.config_digest}`.\n"
    return "\n".join(["## Settings\n", "| option | value |\n| --- | --- |", *told, "", digest])
