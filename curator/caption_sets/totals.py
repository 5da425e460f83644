"""How many captions a set has: counted whole once, then by what came since.

Every page of a dataset asks, and just after an edit a count of the whole set was most of what it took: measured at
680,000 images, 205 ms of processor time against 37 ms for what came since (tests/bench/LOG.md). What a set had as of a
caption id never changes, since changes are committed in the order of their ids.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

from curator.caption_sets.reference import Reference, set_versions
from curator.catalog import Catalog

MOST_SINCE = 100_000  # caption ids, from which counting the whole set is as quick

_counted: WeakKeyDictionary[Catalog, dict[tuple[str, str], tuple[int, int]]] = WeakKeyDictionary()
"""By catalog and set: a caption id, and how many captions the set had as of it. Written whole: threads need no lock."""


def caption_total(catalog: Catalog, named: Reference) -> int:
    """The captions of a version, or of a set as it was when `named` was resolved; also of images that are gone."""
    dataset, set_name, now = named.dataset, named.set_name, named.last_caption_id
    if named.number is not None:
        of_versions = set_versions(catalog, dataset, set_name)
        return next(int(row["captions"]) for row in of_versions if row["number"] == named.number)
    counted = _counted.setdefault(catalog, {})
    before, total = counted.get((dataset, set_name), (0, 0))
    if 0 < before <= now < before + MOST_SINCE:
        if before < now:
            changes = catalog.revision_counts(dataset, set_name, before, now)
            total += changes["added"] - changes["removed"]
    else:
        total = catalog.caption_count(dataset, set_name, now)
    counted[dataset, set_name] = now, total
    return total
