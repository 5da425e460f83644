"""Similarity of caption sets: token F1 and edit distance per pair, and the images that differ most."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import polars as pl

from curator.compare.result import Measure, Pair
from curator.text.similarity import edit_distance, edit_share, token_f1
from schemas.edge.words import percent
from schemas.progress import Progress


def measure(values: pl.Series) -> Measure:
    figures = [values.mean(), values.median(), values.quantile(0.1, "linear"), values.quantile(0.9, "linear")]
    mean, median, low, high = (float(figure) for figure in figures)  # type: ignore[arg-type]
    return Measure(mean=mean, median=median, low=low, high=high)


def agreement(captions: pl.DataFrame, labels: Sequence[str], progress: Progress) -> tuple[list[Pair], pl.DataFrame]:
    """Return the figures of each pair, and those of each image: token_f1 and edit_share, means over the pairs.

    `captions`: image_sha256, and a column of text for each label; at least one row.
    """
    pairs: list[Pair] = []
    f1_of_pairs, edits_of_pairs = [], []
    chosen = list(combinations(labels, 2))
    for done, (first, second) in enumerate(chosen):
        progress("comparing captions", done, len(chosen))
        left, right = captions[first], captions[second]
        f1, distance, share = token_f1(left, right), edit_distance(left, right), edit_share(left, right)
        f1_of_pairs.append(f1.alias(str(done)))
        edits_of_pairs.append(share.alias(str(done)))
        pairs.append(
            Pair(
                first=first,
                second=second,
                token_f1=measure(f1),
                edit_distance=measure(distance),
                edit_share=measure(share),
                identical=float((left == right).sum()) / len(left),
            )
        )
    progress("comparing captions", len(chosen), len(chosen))
    by_image = pl.DataFrame(
        {
            "image_sha256": captions["image_sha256"],
            "token_f1": pl.DataFrame(f1_of_pairs).mean_horizontal(),
            "edit_share": pl.DataFrame(edits_of_pairs).mean_horizontal(),
        }
    )
    return pairs, by_image


def most_different(by_image: pl.DataFrame, count: int) -> pl.DataFrame:
    """Return the images with the lowest token F1; ties by the largest edit share, then by sha256."""
    order = ["token_f1", "edit_share", "image_sha256"]
    return by_image.sort(order, descending=[False, True, False]).head(count)


def headline(pairs: Sequence[Pair], labels: Sequence[str]) -> str:
    if len(labels) == 2:
        pair = pairs[0]
        if pair.identical == 1:
            return f"{pair.first} and {pair.second} have the same caption for every image."
        return f"{pair.first} and {pair.second} share {percent(pair.token_f1.mean)} of their words."
    closest = max(pairs, key=lambda pair: pair.token_f1.mean)
    furthest = min(pairs, key=lambda pair: pair.token_f1.mean)
    if closest.token_f1.mean - furthest.token_f1.mean < 0.005:
        shared = percent(closest.token_f1.mean)
        return f"All {len(labels)} sets differ by the same amount: each pair shares {shared} of its words."
    return (
        f"{closest.first} and {closest.second} are closest, {percent(closest.token_f1.mean)} of their words shared; "
        f"{furthest.first} and {furthest.second} furthest apart, {percent(furthest.token_f1.mean)}."
    )
