"""The split: exact numbers where possible, whole groups, and no group ever moves."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curator.snapshot.split import DEFAULT_FRACTION, CannotHoldOut, Group, Rule, assign, fill, hash_position
from schemas.errors import BadOption


def sha(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def singles(number: int) -> list[Group]:
    return [Group(sha(position), 1) for position in range(number)]


def held_out(groups: list[Group], splits: dict[str, str]) -> int:
    return sum(group.images for group in groups if splits[group.representative_sha256] == "validation")


def stored(groups: list[Group], splits: dict[str, str]) -> list[Group]:
    return [replace(group, stored=splits.get(group.representative_sha256, group.stored)) for group in groups]


GROUPS = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(1, 5)), min_size=1, max_size=30, unique_by=lambda pair: pair[0]
).map(lambda pairs: [Group(sha(number), images) for number, images in pairs])
STORED = GROUPS.flatmap(
    lambda groups: st.tuples(*(st.sampled_from([None, "train", "validation"]) for _ in groups)).map(
        lambda splits: [replace(group, stored=split) for group, split in zip(groups, splits, strict=True)]
    )
)
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # whatever else the machine is doing
RULES = st.one_of(
    st.just(Rule()),
    st.builds(Rule, count=st.integers(0, 40)),
    st.builds(Rule, fraction=st.floats(0, 0.999)),
    st.builds(Rule, count=st.integers(0, 40), also_trained=st.just(True)),
)


@given(sizes=st.lists(st.integers(1, 9), max_size=9), target=st.integers(0, 40))
@CALM
def test_fill_is_the_nearest_sum_and_of_those_the_earliest(sizes: list[int], target: int) -> None:
    every = [
        positions for length in range(len(sizes) + 1) for positions in itertools.combinations(range(len(sizes)), length)
    ]

    def order(positions: tuple[int, ...]) -> tuple[object, ...]:
        made = sum(sizes[position] for position in positions)
        return abs(made - target), -made, [position not in positions for position in range(len(sizes))]

    assert fill(sizes, target) == list(min(every, key=order))


@pytest.mark.slow
def test_fill_a_million_single_pictures() -> None:
    sizes = [1] * 1_000_000
    sizes[::1000] = [7] * 1000
    chosen = fill(sizes, 123_456)
    assert sum(sizes[position] for position in chosen) == 123_456


@given(groups=STORED, rule=RULES)
@CALM
def test_what_is_held_out_stays_and_what_is_stored_moves_only_when_asked(groups: list[Group], rule: Rule) -> None:
    try:
        assignment = assign(groups, rule)
    except CannotHoldOut:
        return
    assert set(assignment.splits) == {group.representative_sha256 for group in groups}
    for group in groups:
        split = assignment.splits[group.representative_sha256]
        if group.stored == "validation" or (group.stored == "train" and not rule.also_trained):
            assert split == group.stored
        assert (group.representative_sha256 in assignment.new) == (split != group.stored)


@given(groups=GROUPS, more=GROUPS, rule=RULES, later=RULES)
@CALM
def test_growing_the_data_set_moves_nothing(groups: list[Group], more: list[Group], rule: Rule, later: Rule) -> None:
    later = replace(later, also_trained=False)
    try:
        first = assign(groups, rule).splits
        grown = {group.representative_sha256: group for group in more} | {
            group.representative_sha256: group for group in stored(groups, first)
        }
        second = assign(grown.values(), later).splits
    except CannotHoldOut:
        return
    assert first.items() <= second.items()


@given(groups=GROUPS, count=st.integers(0, 40))
@CALM
def test_the_number_is_exact_where_group_sizes_allow(groups: list[Group], count: int) -> None:
    sums = {0}
    for group in groups:
        sums |= {made + group.images for made in sums}
    try:
        assignment = assign(groups, Rule(count=count))
    except CannotHoldOut:
        assert count + 4 >= sum(group.images for group in groups)
        return
    assert (held_out(groups, assignment.splits) == count) == (count in sums)
    assert bool(assignment.notes) == (count not in sums)


@given(groups=STORED, rule=RULES)
@CALM
def test_the_order_of_the_groups_does_not_matter_and_a_second_time_changes_nothing(
    groups: list[Group], rule: Rule
) -> None:
    try:
        assignment = assign(groups, rule)
    except CannotHoldOut:
        return
    assert assign(groups[::-1], rule).splits == assignment.splits
    try:
        again = assign(stored(groups, assignment.splits), rule)
    except CannotHoldOut:  # A number it came near to, where an earlier snapshot had given some to train.
        assert assignment.notes and any(group.stored == "train" for group in groups)
        return
    assert not again.new
    assert again.splits == assignment.splits


@pytest.mark.parametrize(("sizes", "wanted", "held"), [([3], 1, 0), ([3, 3], 4, 3)])
def test_groups_that_do_not_add_up_stay_as_they_fell_when_asked_again(sizes: list[int], wanted: int, held: int) -> None:
    groups = [Group(f"{number:064x}", size) for number, size in enumerate(sizes)]
    first = assign(groups, Rule(count=wanted))
    again = assign(stored(groups, first.splits), Rule(count=wanted))
    assert held_out(groups, first.splits) == held
    assert (again.splits, again.new, len(again.notes)) == (first.splits, {}, 1)


def test_the_hash_is_the_documented_one() -> None:
    assert hash_position("ab" * 32) == int(hashlib.sha256(b"amatl/split/v1/" + b"ab" * 32).hexdigest()[:16], 16)


def test_a_number_takes_the_lowest_hashes() -> None:
    groups = singles(100)
    lowest = sorted((group.representative_sha256 for group in groups), key=hash_position)[:40]
    splits = assign(groups, Rule(count=40)).splits
    assert {name for name, split in splits.items() if split == "validation"} == set(lowest)


@pytest.mark.parametrize(("rule", "share"), [(Rule(), DEFAULT_FRACTION), (Rule(fraction=0.25), 0.25)])
def test_a_fraction_is_met_on_average(rule: Rule, share: float) -> None:
    groups = singles(20_000)
    assert held_out(groups, assign(groups, rule).splits) / 20_000 == pytest.approx(share, abs=0.01)


def test_a_number_counts_those_held_out_before() -> None:
    groups = stored(singles(50), assign(singles(50), Rule(count=10)).splits) + [
        Group(sha(number), 1) for number in range(50, 100)
    ]
    assignment = assign(groups, Rule(count=25))
    assert held_out(groups, assignment.splits) == 25
    assert not assignment.notes


def test_fewer_than_are_held_out_already_is_said() -> None:
    groups = stored(singles(50), assign(singles(50), Rule(count=10)).splits)
    assignment = assign(groups, Rule(count=4))
    assert held_out(groups, assignment.splits) == 10
    assert assignment.notes == ["10 held out, not 4: images held out earlier stay held out."]


def test_trained_images_are_held_out_only_on_request() -> None:
    groups = stored(singles(50), assign(singles(50), Rule(count=10)).splits)
    with pytest.raises(CannotHoldOut, match=r"10 of the 50 images can be held out.*--holdout-trained"):
        assign(groups, Rule(count=12))
    assignment = assign(groups, Rule(count=12, also_trained=True))
    assert held_out(groups, assignment.splits) == 12
    assert list(assignment.new.values()) == ["validation"] * 2
    assert "2 of the held-out images were in train in earlier" in assignment.notes[0]


def test_fresh_images_are_held_out_before_trained_ones() -> None:
    groups = [*stored(singles(50), assign(singles(50), Rule(count=0)).splits), Group(sha(99), 1)]
    assignment = assign(groups, Rule(count=1, also_trained=True))
    assert assignment.new == {sha(99): "validation"}


def test_a_match_holds_out_the_whole_group_and_says_what_else_is_held_out() -> None:
    groups = [Group(sha(1), 3), Group(sha(2), 1), Group(sha(3), 2, "validation"), Group(sha(4), 1)]
    assignment = assign(groups, Rule(matches=frozenset([sha(1)])))
    assert assignment.splits == {sha(1): "validation", sha(2): "train", sha(3): "validation", sha(4): "train"}
    assert assignment.notes == ["2 more held out: images held out earlier stay held out."]


def test_a_match_among_trained_images_is_refused_unless_asked() -> None:
    groups = [Group(sha(1), 3, "train"), Group(sha(2), 1)]
    with pytest.raises(CannotHoldOut, match="3 of the 3 matching images were put in train"):
        assign(groups, Rule(matches=frozenset([sha(1)])))
    assignment = assign(groups, Rule(matches=frozenset([sha(1)]), also_trained=True))
    assert assignment.splits[sha(1)] == "validation"


def test_a_match_of_nothing_is_said() -> None:
    assert assign(singles(3), Rule(matches=frozenset())).notes == [
        "--holdout-where matches no image: nothing new is held out."
    ]


def test_a_share_that_selects_nothing_is_noted() -> None:
    groups = sorted(singles(50), key=lambda group: hash_position(group.representative_sha256))[-3:]
    assert assign(groups, Rule()).notes == [
        "No image is held out: the share of 0.1 selected none. "
        "To hold out a fixed number, use --holdout N with --holdout-trained."
    ]
    assert not assign(groups, Rule(fraction=0)).notes


def test_something_must_be_left_to_train_on() -> None:
    with pytest.raises(CannotHoldOut, match="nothing is left to train on"):
        assign(singles(5), Rule(count=5))
    with pytest.raises(CannotHoldOut, match="there are only 5 images"):
        assign(singles(5), Rule(count=6))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"count": 3, "fraction": 0.1}, "Give one of"),
        ({"count": -1}, "0 or more"),
        ({"fraction": 1.0}, "below 1"),
        ({"fraction": float("nan")}, "below 1"),
    ],
)
def test_a_rule_that_makes_no_sense(options: dict[str, float], problem: str) -> None:
    with pytest.raises(BadOption, match=problem):
        Rule(**options)  # type: ignore[arg-type]
