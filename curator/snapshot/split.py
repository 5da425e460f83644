"""Which images are held out: drawn by near-duplicate group, then stored and never taken back.

A group (a picture and its near-duplicates, named by its representative) goes to one split whole, so duplicates never
straddle. A group that has a stored split keeps it, whatever is asked: growing the data set moves nothing, and a
held-out image never returns to train. The rule asked for only places the groups that have no split yet:

- `--holdout N`: groups in the order of their hash, each that still fits, until N images are held out, those held out
  earlier counted. N is met exactly wherever the sizes of the groups allow (a group is passed over when the rest could
  no longer add up); else the nearest number below, or above where none is.
- `--holdout-fraction F`: a group is held out when its hash, read as a number in [0, 1), is below F. The share is
  therefore F on average, and each group's fate is its own. `0.1` where no rule is given.
- `--holdout-where EXPRESSION`: a group is held out when the expression holds for one of its images.

The hash is SHA-256 of the text `amatl/split/v1/` and the representative's hex SHA-256; its first 8 bytes, big-endian,
are the number. It knows neither catalog nor data set, so the same picture has the same leaning everywhere.
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
    """The images asked for can't be held out."""


@dataclass(frozen=True)
class Rule:
    """What to hold out: one of the three, or none of them for the default fraction.

    `matches`: the representatives of the groups that `--holdout-where` holds for.
    """

    count: int | None = None
    fraction: float | None = None
    matches: frozenset[str] | None = None
    also_trained: bool = False

    def __post_init__(self) -> None:
        given = [option for option in (self.count, self.fraction, self.matches) if option is not None]
        if len(given) > 1:
            raise BadOption("Give one of --holdout, --holdout-fraction and --holdout-where, not several.")
        if self.count is not None and self.count < 0:
            raise BadOption(f"--holdout {self.count}: a number of images, 0 or more.")
        if self.fraction is not None and not 0 <= self.fraction < 1:
            raise BadOption(f"--holdout-fraction {self.fraction}: from 0 to below 1, for example 0.1.")


@dataclass(frozen=True)
class Group:
    """A near-duplicate group: how many of its images are wanted now, and the split it was given earlier, if any."""

    representative_sha256: str
    images: int
    stored: Split | None = None


@dataclass(frozen=True)
class Assignment:
    """The split of each group. `new`: those to store, because they had none or left train; `notes`: for a person."""

    splits: dict[str, Split]
    new: dict[str, Split]
    notes: list[str] = field(default_factory=list)


def draw(representative_sha256: str) -> int:
    """The group's place in the draw, 0 to 2**64 - 1."""
    return int.from_bytes(hashlib.sha256(f"{SALT}{representative_sha256}".encode()).digest()[:8], "big")


def assign(groups: Iterable[Group], rule: Rule) -> Assignment:
    """Places every group. Raises CannotHoldOut where the rule can't be met or would leave nothing to train on."""
    drawn = sorted(groups, key=lambda group: (draw(group.representative_sha256), group.representative_sha256))
    notes: list[str] = []
    if rule.count is not None:
        held_out = _by_count(drawn, rule.count, rule.also_trained, notes)
    elif rule.matches is not None:
        held_out = _by_match(drawn, rule.matches, rule.also_trained, notes)
    else:
        fraction = DEFAULT_FRACTION if rule.fraction is None else rule.fraction
        held_out = _by_lot(drawn, fraction, notes)
    splits: dict[str, Split] = {
        group.representative_sha256: "validation"
        if group.stored == "validation" or group.representative_sha256 in held_out
        else "train"
        for group in drawn
    }
    if drawn and "train" not in splits.values():
        raise CannotHoldOut(f"Every one of the {_images(drawn)} images would be held out: nothing is left to train on.")
    stored = {group.representative_sha256: group.stored for group in drawn}
    new = {representative: split for representative, split in splits.items() if stored[representative] != split}
    return Assignment(splits, new, notes)


def _images(groups: Iterable[Group]) -> int:
    return sum(group.images for group in groups)


def _by_lot(drawn: Sequence[Group], fraction: float, notes: list[str]) -> set[str]:
    lots = {
        group.representative_sha256
        for group in drawn
        if group.stored is None and draw(group.representative_sha256) < fraction * 2**64
    }
    if fraction and not lots and all(group.stored != "validation" for group in drawn):
        more = "For a number of them: --holdout N --holdout-trained."  # this snapshot gives them to train
        notes.append(f"No image is held out: a share of {fraction:g} drew none. {more}")
    return lots


def _by_count(drawn: Sequence[Group], wanted: int, also_trained: bool, notes: list[str]) -> set[str]:
    already = _images(group for group in drawn if group.stored == "validation")
    if already > wanted:
        notes.append(f"{already} held out, not {wanted}: what was held out earlier stays so.")
    missing = max(0, wanted - already)
    free = [group for group in drawn if group.stored is None]
    if also_trained:
        free += [group for group in drawn if group.stored == "train"]
    if missing > _images(free) and already != _nearest(drawn, wanted):
        raise CannotHoldOut(_too_few(drawn, wanted, already))
    chosen = fill([group.images for group in free], missing)
    held_out = [free[position] for position in chosen]
    if missing and _images(held_out) != missing:
        notes.append(
            f"{already + _images(held_out)} held out, not {wanted}: near-duplicates stay together, and their groups "
            "don't add up to it."
        )
    _say_moved(held_out, notes)
    return {group.representative_sha256 for group in held_out}


def _nearest(drawn: Sequence[Group], wanted: int) -> int:
    """How many a first snapshot of these groups holds out for that number: asked again, it stays so."""
    sizes = [group.images for group in drawn]
    return sum(sizes[position] for position in fill(sizes, wanted))


def _too_few(drawn: Sequence[Group], wanted: int, already: int) -> str:
    trained = _images(group for group in drawn if group.stored == "train")
    if not trained:
        return f"--holdout {wanted}: there are only {_images(drawn)} images."
    can = _images(drawn) - trained
    return (
        f"--holdout {wanted}: {can} of the {_images(drawn)} images can be held out ({already} are already); an earlier "
        f"snapshot gave the other {trained} to train, and models may have seen them. Ask for {can} or fewer, or add "
        "--holdout-trained to hold them out all the same."
    )


def _by_match(drawn: Sequence[Group], matches: frozenset[str], also_trained: bool, notes: list[str]) -> set[str]:
    matching = [group for group in drawn if group.representative_sha256 in matches]
    trained = [group for group in matching if group.stored == "train"]
    if trained and not also_trained:
        raise CannotHoldOut(
            f"--holdout-where: {_images(trained)} of the {_images(matching)} images it holds for were given to train "
            "by an earlier snapshot, and models may have seen them. Add --holdout-trained to hold them out all the "
            "same, or leave them out with --where."
        )
    if not matching:
        notes.append("--holdout-where holds for no image: nothing new is held out.")
    others = _images(
        group for group in drawn if group.stored == "validation" and group.representative_sha256 not in matches
    )
    if others:
        notes.append(f"{others} more held out: what was held out earlier stays so.")
    _say_moved(matching, notes)
    return {group.representative_sha256 for group in matching}


def _say_moved(held_out: Iterable[Group], notes: list[str]) -> None:
    moved = _images(group for group in held_out if group.stored == "train")
    if moved:
        notes.append(
            f"{moved} of those held out were trained on by earlier snapshots: don't judge older models by them."
        )


def fill(sizes: Sequence[int], target: int) -> list[int]:
    """Positions of `sizes` that add up to `target`, the earliest in order; where nothing does, to the nearest number.

    "Earliest": a position is taken whenever what follows can still make up the rest. Of two numbers as near, the
    higher. Exact subset sums over the positions after each one; where those can make every sum up to their total, only
    the total is kept, so that a million single pictures cost nothing.
    """
    limit = target + max(sizes, default=0)
    sums = _sums_from(sizes, limit)
    near = sorted(range(limit + 1), key=lambda number: (abs(number - target), -number))
    rest = next(number for number in near if sums[0].make(number))
    chosen: list[int] = []
    for position, size in enumerate(sizes):
        if size <= rest and sums[position + 1].make(rest - size):
            chosen.append(position)
            rest -= size
    return chosen


@dataclass(frozen=True)
class _Sums:
    """The sums that a run of sizes can make: every one up to `total`, or those whose bit is set."""

    total: int
    bits: int | None = None

    def make(self, number: int) -> bool:
        return number <= self.total if self.bits is None else bool(self.bits >> number & 1)


def _sums_from(sizes: Sequence[int], limit: int) -> list[_Sums]:
    """For each position, and the end, the sums up to `limit` that the sizes from there on can make."""
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
