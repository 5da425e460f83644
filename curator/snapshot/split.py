"""Choose the held-out images: hash the near-duplicate groups, store the result, and never undo it.

A group (an image and its near-duplicates, named by its representative) is in one split, so duplicates never straddle.
A group with a stored split keeps it: adding images moves nothing, and a held-out image never returns to train. The
rule only places groups that have no split yet:

- `--holdout N`: take groups in hash order, if they fit, until N images are held out, including those held out earlier.
  N is met exactly if the group sizes allow it (a group is skipped if the later ones could not add up to the remainder);
  else the nearest possible number is used, the higher of two equally near.
- `--holdout-fraction F`: hold out a group if its hash, read as a number in [0, 1), is below F. The share is F on
  average, and each group is decided independently. Without a rule, F is 0.1.
- `--holdout-where EXPRESSION`: hold out a group if the expression holds for one of its images.

The hash is SHA-256 of the text `amatl/split/v1/` and the representative's hex SHA-256; its first 8 bytes, big-endian,
are the number. It depends on neither catalog nor dataset, so an image is treated alike in all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from schemas.errors import AmatlError, BadOption
from schemas.snapshot import Split

DEFAULT_FRACTION = 0.1
SALT = "amatl/split/v1/"


class CannotHoldOut(AmatlError):
    """The requested images can't be held out."""


@dataclass(frozen=True)
class Rule:
    """One of the first three fields, or the default fraction. `matches`: representatives of the matching groups."""

    count: int | None = None
    fraction: float | None = None
    matches: frozenset[str] | None = None
    also_trained: bool = False

    def __post_init__(self) -> None:
        if sum(option is not None for option in (self.count, self.fraction, self.matches)) > 1:
            raise BadOption("Give one of --holdout, --holdout-fraction and --holdout-where, not several.")
        if self.count is not None and self.count < 0:
            raise BadOption(f"--holdout {self.count}: give a number of images, 0 or more.")
        if self.fraction is not None and not 0 <= self.fraction < 1:
            raise BadOption(f"--holdout-fraction {self.fraction}: give a share from 0 to below 1, for example 0.1.")


@dataclass(frozen=True)
class Group:
    """A near-duplicate group: its selected images, and its stored split."""

    representative_sha256: str
    images: int
    stored: Split | None = None


@dataclass(frozen=True)
class Assignment:
    """The split of each group. `new`: the splits to store; `notes`: for a person."""

    splits: dict[str, Split]
    new: dict[str, Split]
    notes: list[str] = field(default_factory=list)


def hash_position(representative_sha256: str) -> int:
    """Return 0 to 2**64 - 1."""
    return int.from_bytes(hashlib.sha256(f"{SALT}{representative_sha256}".encode()).digest()[:8], "big")


def assign(groups: Iterable[Group], rule: Rule) -> Assignment:
    """Raise CannotHoldOut if the rule can't be met or leaves nothing to train on."""
    ordered = sorted(
        groups, key=lambda group: (hash_position(group.representative_sha256), group.representative_sha256)
    )
    notes: list[str] = []
    if rule.count is not None:
        held_out = _by_count(ordered, rule.count, rule.also_trained, notes)
    elif rule.matches is not None:
        held_out = _by_match(ordered, rule.matches, rule.also_trained, notes)
    else:
        fraction = DEFAULT_FRACTION if rule.fraction is None else rule.fraction
        held_out = _by_fraction(ordered, fraction, notes)
    splits: dict[str, Split] = {
        group.representative_sha256: "validation"
        if group.stored == "validation" or group.representative_sha256 in held_out
        else "train"
        for group in ordered
    }
    if ordered and "train" not in splits.values():
        raise CannotHoldOut(f"All {_images(ordered)} images would be held out: nothing is left to train on.")
    stored = {group.representative_sha256: group.stored for group in ordered}
    new = {representative: split for representative, split in splits.items() if stored[representative] != split}
    return Assignment(splits, new, notes)


def _images(groups: Iterable[Group]) -> int:
    return sum(group.images for group in groups)


def _by_fraction(ordered: Sequence[Group], fraction: float, notes: list[str]) -> set[str]:
    held_out = {
        group.representative_sha256
        for group in ordered
        if group.stored is None and hash_position(group.representative_sha256) < fraction * 2**64
    }
    if fraction and not held_out and all(group.stored != "validation" for group in ordered):
        # --holdout-trained, because this snapshot puts them all in train
        hint = "To hold out a fixed number, use --holdout N with --holdout-trained."
        notes.append(f"No image is held out: the share of {fraction:g} selected none. {hint}")
    return held_out


def _by_count(ordered: Sequence[Group], wanted: int, also_trained: bool, notes: list[str]) -> set[str]:
    already = _images(group for group in ordered if group.stored == "validation")
    if already > wanted:
        notes.append(f"{already} held out, not {wanted}: images held out earlier stay held out.")
    missing = max(0, wanted - already)
    free = [group for group in ordered if group.stored is None]
    if also_trained:
        free += [group for group in ordered if group.stored == "train"]
    if missing > _images(free) and already != _nearest(ordered, wanted):
        raise CannotHoldOut(_too_few(ordered, wanted, already))
    held_out = [free[index] for index in fill([group.images for group in free], missing)]
    if missing and _images(held_out) != missing:
        notes.append(
            f"{already + _images(held_out)} held out, not {wanted}: near-duplicates stay together, and the sizes of "
            "their groups don't add up to that number."
        )
    _note_moved(held_out, notes)
    return {group.representative_sha256 for group in held_out}


def _nearest(ordered: Sequence[Group], wanted: int) -> int:
    """Return the number that a first snapshot would hold out, so that repeating it changes nothing."""
    sizes = [group.images for group in ordered]
    return sum(sizes[index] for index in fill(sizes, wanted))


def _too_few(ordered: Sequence[Group], wanted: int, already: int) -> str:
    trained = _images(group for group in ordered if group.stored == "train")
    if not trained:
        return f"--holdout {wanted}: there are only {_images(ordered)} images."
    available = _images(ordered) - trained
    return (
        f"--holdout {wanted}: {available} of the {_images(ordered)} images can be held out ({already} are already); "
        f"an earlier snapshot put the other {trained} in train, so models may have seen them. Use {available} or "
        "fewer, or add --holdout-trained to hold them out anyway."
    )


def _by_match(ordered: Sequence[Group], matches: frozenset[str], also_trained: bool, notes: list[str]) -> set[str]:
    matching = [group for group in ordered if group.representative_sha256 in matches]
    trained = [group for group in matching if group.stored == "train"]
    if trained and not also_trained:
        raise CannotHoldOut(
            f"--holdout-where: {_images(trained)} of the {_images(matching)} matching images were put in train by an "
            "earlier snapshot, so models may have seen them. Add --holdout-trained to hold them out anyway, or leave "
            "them out with --where."
        )
    if not matching:
        notes.append("--holdout-where matches no image: nothing new is held out.")
    others = _images(
        group for group in ordered if group.stored == "validation" and group.representative_sha256 not in matches
    )
    if others:
        notes.append(f"{others} more held out: images held out earlier stay held out.")
    _note_moved(matching, notes)
    return {group.representative_sha256 for group in matching}


def _note_moved(held_out: Iterable[Group], notes: list[str]) -> None:
    moved = _images(group for group in held_out if group.stored == "train")
    if moved:
        notes.append(
            f"{moved} of the held-out images were in train in earlier snapshots: don't evaluate older models on them."
        )


def fill(sizes: Sequence[int], target: int) -> list[int]:
    """Return the earliest indices of `sizes` that add up to `target`, or to the nearest sum, the higher of two.

    An index is taken if the later sizes can make up the remainder, by exact subset sums. If they include every number
    up to their total, only the total is stored, so a million single images cost nothing.
    """
    limit = target + max(sizes, default=0)
    sums = _sums_from(sizes, limit)
    near = sorted(range(limit + 1), key=lambda number: (abs(number - target), -number))
    remainder = next(number for number in near if sums[0].make(number))
    chosen: list[int] = []
    for index, size in enumerate(sizes):
        if size <= remainder and sums[index + 1].make(remainder - size):
            chosen.append(index)
            remainder -= size
    return chosen


@dataclass(frozen=True)
class _Sums:
    """Every number up to `total`, or the set bits of `bits`."""

    total: int
    bits: int | None = None

    def make(self, number: int) -> bool:
        return number <= self.total if self.bits is None else bool(self.bits >> number & 1)


def _sums_from(sizes: Sequence[int], limit: int) -> list[_Sums]:
    """Return for each index, and the end, the sums up to `limit` of the sizes from there on."""
    sums = [_Sums(0)]
    for size in reversed(sizes):
        sums.append(_with(sums[-1], size, limit))
    return sums[::-1]


def _with(sums: _Sums, size: int, limit: int) -> _Sums:
    total = sums.total + size
    if sums.bits is None and (size <= sums.total + 1 or sums.total >= limit):
        return _Sums(total)
    bits = (1 << (sums.total + 1)) - 1 if sums.bits is None else sums.bits
    every = (1 << (min(total, limit) + 1)) - 1
    bits = (bits | bits << size) & every
    return _Sums(total) if bits == every else _Sums(total, bits)
