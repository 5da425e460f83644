"""The number of captions in a set: counted in full once, then updated by newer revisions.

Every page of a dataset needs it. At 680,000 images a full count took 205 ms of processor time, an update 37 ms
(tests/bench/LOG.md). The count up to a caption id never changes, because revisions are committed in the order of their
ids.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

from curator.caption_sets.reference import Reference, set_versions
from curator.catalog import Catalog

MAX_UPDATE = 100_000  # caption ids, from which a full count is as fast

_totals: WeakKeyDictionary[Catalog, dict[tuple[str, str], tuple[int, int]]] = WeakKeyDictionary()
"""By catalog and set: a caption id and the count up to it. Entries are replaced whole, so threads need no lock."""


def caption_total(catalog: Catalog, named: Reference) -> int:
    """Return the captions of a version, or of a set when `named` was resolved, including those of missing images."""
    dataset, set_name, now = named.dataset, named.set_name, named.last_caption_id
    if named.number is not None:
        versions = set_versions(catalog, dataset, set_name)
        return next(int(row["captions"]) for row in versions if row["number"] == named.number)
    totals = _totals.setdefault(catalog, {})
    before, total = totals.get((dataset, set_name), (0, 0))
    if 0 < before <= now < before + MAX_UPDATE:
        if before < now:
            changes = catalog.revision_counts(dataset, set_name, before, now)
            total += changes["added"] - changes["removed"]
    else:
        total = catalog.caption_count(dataset, set_name, now)
    totals[dataset, set_name] = now, total
    return total
