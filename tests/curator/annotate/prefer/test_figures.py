"""What answers say: intervals against published values, ties, several people, versions of one text."""

from __future__ import annotations

import pytest

from curator.annotate.prefer.figures import Given, agreement, first_place, pairs, people, wilson

A, B, C = "zoo/a@1", "zoo/b@1", "zoo/c@1"


def given(image: str, chosen: str | None, person: str = "ann", place: int | None = None, **texts: str) -> Given:
    return Given(image, person, {A: "a", B: "b"} | texts, chosen, place)


@pytest.mark.parametrize(
    ("wins", "count", "low", "high"),
    # Newcombe 1998 (Statistics in Medicine 17), table I, method 3: the score interval.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_is_the_published_one(wins: int, count: int, low: float, high: float) -> None:
    assert wilson(wins / count, count) == pytest.approx((low, high), abs=5e-5)


def test_a_pair() -> None:
    answers = [given(str(number), "a" if number < 30 else "b" if number < 36 else None) for number in range(40)]
    (pair,) = pairs([A, B], answers)
    assert (pair.images, pair.a_won, pair.b_won, pair.same) == (40, 30, 6, 4)
    assert pair.a_rate == pytest.approx(0.8) and pair.better == A
    (other,) = pairs([B, A], answers)
    assert other.a_rate == pytest.approx(0.2) and other.better == A


def test_few_answers_are_too_close_to_call() -> None:
    (pair,) = pairs([A, B], [given("1", "a"), given("2", "a"), given("3", "a")])
    assert pair.a_rate == 1 and pair.a_low is not None and pair.a_low < 0.5 and pair.better is None


def test_many_people_on_one_image_are_one_image() -> None:
    crowd = [given("1", "a", person=f"person {number}") for number in range(50)]
    (pair,) = pairs([A, B], crowd)
    assert pair.images == 1 and pair.a_won == 50 and pair.better is None


def test_three_versions_and_versions_of_one_text() -> None:
    texts = {A: "same", B: "same", C: "other"}
    third = Given("1", "ann", texts, "other", 0)
    first = Given("2", "ann", texts, "same", 1)
    tie = Given("3", "ann", texts, None, None)
    by_names = {(pair.a, pair.b): pair for pair in pairs([A, B, C], [third, first, tie])}
    assert by_names[A, B].images == 0 and by_names[A, B].a_rate is None
    assert (by_names[A, C].a_won, by_names[A, C].b_won, by_names[A, C].same) == (1, 1, 1)
    assert (by_names[B, C].a_won, by_names[B, C].b_won) == (1, 1)
    elsewhere = Given("4", "ann", {A: "x", B: "y", C: "z"}, "z", 2)  # says nothing of A against B
    assert pairs([A, B, C], [elsewhere])[0].images == 0


def test_people_agreement_and_the_place_shown_first() -> None:
    answers = [
        given("1", "a", "ann", 0),
        given("1", "a", "ben", 1),
        given("2", "a", "ann", 0),
        given("2", None, "ben"),
        given("3", "b", "ann", 0),
    ]
    ann, ben = people([A, B], answers)
    assert (ann.person, ann.answers, ann.chosen, ann.same) == ("ann", 3, {A: 2, B: 1}, 0)
    assert (ben.answers, ben.chosen, ben.same) == (2, {A: 1, B: 0}, 1)
    found = agreement(answers)
    assert found and (found.images, found.pairs, found.alike) == (2, 2, 0.5)
    assert first_place(answers) == 0.75
    assert agreement([given("1", "a")]) is None and first_place([given("1", None)]) is None
