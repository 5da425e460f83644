"""References to caption sets and versions: `dataset/set@n`, or shorter if unambiguous.

openmoji/template@1     version 1 of the set `template` of the dataset `openmoji`
template@1              the same, if only one dataset has a set `template`
template                the current set, committed or not
"""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ConfigDict

from curator.catalog import Catalog
from schemas.errors import BadOption, NotFound

GRAMMAR = re.compile(r"(?:(?P<dataset>[^@]+)/)?(?P<set>[a-z0-9_-]+)(?:@(?P<number>[1-9][0-9]*))?")


class Reference(BaseModel):
    """A current caption set (`number` None) or a version: the revisions up to `last_caption_id`."""

    model_config = ConfigDict(frozen=True)

    dataset: str
    set_name: str
    number: int | None
    last_caption_id: int

    def __str__(self) -> str:
        return f"{self.dataset}/{self.set_name}" + (f"@{self.number}" if self.number else "")


def check_dataset(catalog: Catalog, dataset: str) -> None:
    """Raise NotFound, listing all datasets, if there is no such dataset."""
    datasets = catalog.dataset_names()
    if dataset not in datasets:
        hint = f"There are: {', '.join(datasets)}." if datasets else "There are none yet: curator ingest."
        raise NotFound(f"There is no dataset {dataset!r}. {hint}")


def resolve(catalog: Catalog, text: str) -> Reference:
    """Resolve a reference.

    Raises BadOption if it is malformed or ambiguous (listing candidates), NotFound listing all sets or versions.
    """
    match = GRAMMAR.fullmatch(text)
    if not match:
        raise BadOption(f"{text}: not a caption set. Write dataset/set@n, set@n or set, for example template@1.")
    sets = catalog.caption_sets()
    named = [
        row
        for row in sets.iter_rows(named=True)
        if row["set_name"] == match["set"] and match["dataset"] in (None, row["dataset"])
    ]
    suffix = f"@{match['number']}" if match["number"] else ""
    if not named:
        available = ", ".join(f"{dataset}/{name}" for dataset, name in sets.select("dataset", "set_name").iter_rows())
        hint = f"There are: {available}." if available else "There are none yet. See: curator caption --help"
        raise NotFound(f"There is no caption set {text.partition('@')[0]!r}. {hint}")
    if len(named) > 1:
        candidates = ", ".join(f"{row['dataset']}/{row['set_name']}{suffix}" for row in named)
        raise BadOption(f"{text}: several datasets have a set of that name. Write one of {candidates}.")
    row = named[0]
    if not suffix:
        return Reference.model_validate({**row, "number": None})
    return _version(catalog, row["dataset"], row["set_name"], int(match["number"]))


def set_versions(catalog: Catalog, dataset: str, set_name: str) -> list[dict[str, Any]]:
    """Return the versions of one set, oldest first, as rows of `Catalog.versions`."""
    rows = catalog.versions().iter_rows(named=True)
    return [row for row in rows if (row["dataset"], row["set_name"]) == (dataset, set_name)]


def committed(catalog: Catalog, dataset: str, text: str, option: str) -> Reference:
    """Resolve `text` to a version of a set of `dataset`, by default the latest. Raises NotFound, BadOption."""
    check_dataset(catalog, dataset)
    named = resolve(catalog, text if "/" in text else f"{dataset}/{text}")
    if named.dataset != dataset:
        raise BadOption(f"{option} {text}: belongs to the dataset {named.dataset}, not to {dataset}.")
    if named.number is not None:
        return named
    versions = set_versions(catalog, named.dataset, named.set_name)
    if not versions:
        raise BadOption(f'{option} {text}: has no version yet. Make one with: curator commit {named} -m "draft"')
    return Reference.model_validate(versions[-1])


def _version(catalog: Catalog, dataset: str, set_name: str, number: int) -> Reference:
    versions = set_versions(catalog, dataset, set_name)
    for row in versions:
        if row["number"] == number:
            return Reference.model_validate(row)
    if not versions:
        name = f"{dataset}/{set_name}"
        raise NotFound(f'{name} has no version yet. Make one with: curator commit {name} -m "draft"')
    numbers = ", ".join(f"@{row['number']}" for row in versions)
    raise NotFound(f"{dataset}/{set_name} has no version @{number}. There are: {numbers}.")
