"""`curator compare`: put caption sets of one dataset side by side, before training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from curator.caption_sets.acceptance import overall
from curator.caption_sets.reference import Reference, check_dataset, resolve
from curator.caption_sets.stats import stats
from curator.catalog import Catalog
from curator.compare.agreement import agreement, headline, most_different
from curator.compare.clip import Clip, clip_scores
from curator.compare.coverage import coverage
from curator.compare.result import ClipScore, ComparedSet, CompareResult, Differing
from curator.compare.vocabulary import vocabularies
from curator.images.html_page import refuse_other_file
from curator.images.originals import Originals
from curator.text import tokens
from schemas.document import now
from schemas.errors import BadOption, NotFound
from schemas.progress import Progress, silent

DIFFERING = 12
GENERATOR = '<meta name="generator" content="curator compare">'
COLUMNS = ("image_sha256", "token_f1", "edit_share")  # besides one column a set


def compare(
    catalog: Catalog,
    dataset: str,
    sets: Sequence[str],
    *,
    tokenizer: str = tokens.DEFAULT,
    clip: str | None = None,
    page: Path | None = None,
    progress: Progress = silent,
) -> CompareResult:
    """Compare versions (set@n) or current sets (set) over the images that have a caption in all of them.

    `clip`: a CLIP model by hub name or folder; `page`: the path of a self-contained HTML page to write. Raises
    BadOption, NotFound, AlreadyExists.
    """
    check_dataset(catalog, dataset)
    if page is not None:
        refuse_other_file(page, GENERATOR)
    named = _sets(catalog, dataset, sets)
    labels = [label(each) for each in named]
    captions = _common(catalog, named, labels)
    model = _clip(clip) if clip else None
    everything = [stats(catalog, str(each), tokenizer, progress) for each in named]
    notices = list(dict.fromkeys(notice for each in everything for notice in each.notices))
    pairs, by_image = agreement(captions, labels, progress)
    fields = coverage(catalog, dataset, captions, labels, catalog.metadata_fields(dataset))
    vocabulary = vocabularies(captions, labels)
    paths: dict[str, list[str]] = dict(catalog.image_paths(dataset).iter_rows())
    files = ImageFiles(Originals(catalog), paths)
    scores, clip_notices = clip_scores(captions, labels, files.candidates, model, progress) if model else ({}, [])
    differing, missing = _differing(catalog, dataset, captions, by_image, labels, files, scores)
    result = CompareResult(
        dataset=dataset,
        images=captions.height,
        images_of_dataset=len(paths),
        sets=[
            ComparedSet(
                reference=str(each),
                label=name,
                made_by=_made_by(catalog, each),
                stats=figures,
                fields=fields[name],
                vocabulary=vocabulary[name].words,
                only_here=vocabulary[name].only_here,
                only_here_words=vocabulary[name].examples,
                clip=scores[name][0] if scores else None,
                acceptance=overall(catalog, each),
            )
            for each, name, figures in zip(named, labels, everything, strict=True)
        ],
        pairs=pairs,
        differing=differing,
        headline=headline(pairs, labels),
        page=str(page) if page else None,
        notices=[*notices, *clip_notices, *missing],
        compared_at=now(),
    )
    if page is not None:
        from curator.compare.page import write

        page.parent.mkdir(parents=True, exist_ok=True)
        write(result, page, progress)
    return result


class ImageFiles:
    """Local files of the compared images, located or fetched on demand. `recorded`: catalog paths by sha256."""

    def __init__(self, originals: Originals, recorded: dict[str, list[str]]) -> None:
        self._originals, self._recorded = originals, recorded

    def candidates(self, image_sha256: str) -> list[str]:
        """Return the paths that may hold the image. Called from several threads."""
        return self._originals.paths(image_sha256, self._recorded[image_sha256]) if self.path(image_sha256) else []

    def path(self, image_sha256: str) -> str | None:
        file = self._originals.file(image_sha256, self._recorded.get(image_sha256, []))
        return str(file) if file else None


def label(reference: Reference) -> str:
    """Return the short name of a set, without the dataset. It also names the set's column of captions."""
    short = str(reference).removeprefix(f"{reference.dataset}/")
    return short if short not in COLUMNS else str(reference)


def _sets(catalog: Catalog, dataset: str, sets: Sequence[str]) -> list[Reference]:
    named: list[Reference] = []
    for text in sets:
        reference = resolve(catalog, text if "/" in text else f"{dataset}/{text}")
        if reference.dataset != dataset:
            raise BadOption(f"--sets {text}: a set of {reference.dataset}. Compare sets of one dataset ({dataset}).")
        if reference in named:
            raise BadOption(f"--sets {text}: named twice.")
        named.append(reference)
    if len(named) < 2:
        rows = catalog.caption_sets()
        available = ", ".join(rows.filter(rows["dataset"] == dataset)["set_name"].to_list())
        raise BadOption(f"--sets: name two or more sets, separated by commas: a@1,b@2. {dataset} has: {available}.")
    return named


def _common(catalog: Catalog, named: Sequence[Reference], labels: Sequence[str]) -> pl.DataFrame:
    """Join the captions of all sets. Columns: image_sha256, and one a label. Raises BadOption if no image is common."""
    captions: pl.DataFrame | None = None
    counts = []
    for reference, name in zip(named, labels, strict=True):
        texts = catalog.caption_texts(reference.dataset, reference.set_name, reference.last_caption_id)
        column = texts.select("image_sha256", texts["text"].alias(name))
        counts.append(f"{name} {column.height:,}")
        captions = column if captions is None else captions.join(column, on="image_sha256", maintain_order="left")
    assert captions is not None
    if not captions.height:
        raise BadOption(f"--sets: no image has a caption in all of them ({', '.join(counts)}). Leave one out.")
    return captions


def _made_by(catalog: Catalog, reference: Reference) -> list[str]:
    rows = catalog.current_captions(reference.dataset, reference.set_name, reference.last_caption_id)
    author = pl.when("by_person").then(pl.col("person")).otherwise(pl.col("strategy"))
    counts = rows.filter(pl.col("text").is_not_null()).select(author=author)["author"].value_counts()
    return counts.sort(["count", "author"], descending=[True, False])["author"].to_list()


def _clip(name: str) -> Clip:
    try:
        from curator.compare.clip import load
    except ImportError as error:
        raise NotFound(f"--clip: {error}. It needs more packages: pip install 'amatl[captioning]'.") from error
    return load(name)


def _differing(
    catalog: Catalog,
    dataset: str,
    captions: pl.DataFrame,
    by_image: pl.DataFrame,
    labels: Sequence[str],
    files: ImageFiles,
    scores: dict[str, tuple[ClipScore, pl.Series]],
) -> tuple[list[Differing], list[str]]:
    chosen = most_different(by_image, DIFFERING).join(captions, on="image_sha256", maintain_order="left")
    row_of = {image: row for row, image in enumerate(captions["image_sha256"])}
    names = dict(catalog.names_of_images(dataset, chosen.select("image_sha256")).iter_rows())
    differing = []
    for row in chosen.iter_rows(named=True):
        image = row["image_sha256"]
        by_label = {name: by_row[row_of[image]] for name, (_, by_row) in scores.items()}
        differing.append(
            Differing(
                image_sha256=image,
                file_name=names.get(image, image[:12]),
                path=files.path(image),
                token_f1=row["token_f1"],
                captions={name: row[name] for name in labels},
                clip={name: score for name, score in by_label.items() if score is not None},
            )
        )
    gone = [each.file_name for each in differing if each.path is None]
    notice = f"{len(gone)} of the {len(differing)} images shown aren't on this disk any more: {', '.join(gone[:5])}."
    return differing, [notice] if gone else []
