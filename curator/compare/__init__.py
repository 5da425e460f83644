"""`curator compare`: the caption strategies of one dataset version side by side, before anyone trains on them."""

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
COLUMNS = ("image_sha256", "token_f1", "edit_share")  # beside those of the sets


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
    """Compares versions (set@n), or sets as they are now (set), over the images that all of them caption.

    `clip` is a CLIP model by hub name or folder; `page` is where to write a self-contained HTML page. Raises BadOption,
    NotFound, AlreadyExists.
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
    pictures = Pictures(Originals(catalog), paths)
    scores, clip_notices = clip_scores(captions, labels, pictures.find, model, progress) if model else ({}, [])
    differing, missing = _differing(catalog, dataset, captions, by_image, labels, pictures, scores)
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


class Pictures:
    """The compared images' files on this machine, looked for or fetched when they are asked for."""

    def __init__(self, originals: Originals, recorded: dict[str, list[str]]) -> None:
        self._originals, self._recorded = originals, recorded

    def find(self, image_sha256: str) -> list[str]:
        """Where it may be. Called from several threads."""
        file = self.shown(image_sha256)
        return self._originals.paths(image_sha256, self._recorded[image_sha256]) if file else []

    def shown(self, image_sha256: str) -> str | None:
        """Where it is; None where its file isn't there any more."""
        file = self._originals.file(image_sha256, self._recorded.get(image_sha256, []))
        return str(file) if file else None


def label(reference: Reference) -> str:
    """How a compared set is called where the dataset is clear, and what its column of captions is called."""
    short = str(reference).removeprefix(f"{reference.dataset}/")
    return short if short not in COLUMNS else str(reference)


def _sets(catalog: Catalog, dataset: str, sets: Sequence[str]) -> list[Reference]:
    """The references of --sets. Raises BadOption for fewer than two, one twice, or one of another dataset."""
    named = []
    for text in sets:
        found = resolve(catalog, text if "/" in text else f"{dataset}/{text}")
        if found.dataset != dataset:
            raise BadOption(f"--sets {text}: a set of {found.dataset}, not of {dataset}. Compare sets of one dataset.")
        if found in named:
            raise BadOption(f"--sets {text}: named twice.")
        named.append(found)
    if len(named) < 2:
        own = catalog.caption_sets()
        there_are = ", ".join(own.filter(own["dataset"] == dataset)["set_name"].to_list())
        raise BadOption(f"--sets: name two sets or more, with commas between: a@1,b@2. {dataset} has: {there_are}.")
    return named


def _common(catalog: Catalog, named: Sequence[Reference], labels: Sequence[str]) -> pl.DataFrame:
    """image_sha256 and a column of captions for each label, of the images that all have a caption of."""
    captions: pl.DataFrame | None = None
    counts = []
    for reference, name in zip(named, labels, strict=True):
        texts = catalog.caption_texts(reference.dataset, reference.set_name, reference.last_caption_id)
        own = texts.select("image_sha256", texts["text"].alias(name))
        counts.append(f"{name} {own.height:,}")
        captions = own if captions is None else captions.join(own, on="image_sha256", maintain_order="left")
    assert captions is not None
    if not captions.height:
        raise BadOption(f"--sets: no image has a caption in all of them ({', '.join(counts)}). Leave one out.")
    return captions


def _made_by(catalog: Catalog, reference: Reference) -> list[str]:
    """Strategies, and people, by how many of the captions they made."""
    rows = catalog.current_captions(reference.dataset, reference.set_name, reference.last_caption_id)
    who = pl.when("by_person").then(pl.col("person")).otherwise(pl.col("strategy"))
    made = rows.filter(pl.col("text").is_not_null()).select(who=who)["who"].value_counts()
    return made.sort(["count", "who"], descending=[True, False])["who"].to_list()


def _clip(name: str) -> Clip:
    """The model, loaded before any other work. Raises BadOption, NotFound."""
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
    pictures: Pictures,
    scores: dict[str, tuple[ClipScore, pl.Series]],
) -> tuple[list[Differing], list[str]]:
    """The images the sets differ most on, and a notice on those whose file is gone."""
    chosen = most_different(by_image, DIFFERING).join(captions, on="image_sha256", maintain_order="left")
    places = dict(zip(captions["image_sha256"].to_list(), range(captions.height), strict=True)) if scores else {}
    names = dict(catalog.names_of_images(dataset, chosen.select("image_sha256")).iter_rows())
    differing = []
    for row in chosen.iter_rows(named=True):
        image = row["image_sha256"]
        by_label = {name: found[1][places[image]] for name, found in scores.items()}
        differing.append(
            Differing(
                image_sha256=image,
                file_name=names.get(image, image[:12]),
                path=pictures.shown(image),
                token_f1=row["token_f1"],
                captions={name: row[name] for name in labels},
                clip={name: score for name, score in by_label.items() if score is not None},
            )
        )
    gone = [found.file_name for found in differing if found.path is None]
    notice = f"{len(gone)} of the {len(differing)} images shown aren't on this disk any more: {', '.join(gone[:5])}."
    return differing, [notice] if gone else []
