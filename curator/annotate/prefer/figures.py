"""Count people's answers: win rates with intervals, figures by person, agreement.

Several answers for one image aren't independent: they are averaged first, so that the interval counts images. A tie is
half a win. Interval: Wilson's score interval (Wilson 1927, JASA 22), which holds for few images and rates near 0 or 1.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import sqrt
from statistics import mean, median

from pydantic import BaseModel, Field

Z_95 = 1.959964


@dataclass(frozen=True)
class Given:
    """One person's answer on one image.

    `texts`: each version's caption; versions of one text win together. `chosen`: the text; None: no difference.
    """

    image_sha256: str
    person: str
    texts: Mapping[str, str]
    chosen: str | None
    place: int | None = None
    seconds: float | None = None


class Pair(BaseModel):
    """Two versions against each other, on the images where their texts differ."""

    a: str
    b: str
    images: int = Field(description="With an answer that says something of these two.")
    a_won: int = Field(description="Answers.")
    b_won: int
    same: int
    a_rate: float | None = Field(description="Share of images that a won, a tie half; null without an answer.")
    a_low: float | None = Field(description="95 % Wilson interval of it.")
    a_high: float | None
    better: str | None = Field(description="The version that the whole interval favours; null: too close to call.")


class PersonFigures(BaseModel):
    """One person's answers."""

    person: str
    answers: int
    chosen: dict[str, int] = Field(description="How often each version was chosen.")
    same: int
    median_seconds: float | None = None


class Agreement(BaseModel):
    """The share of images on which two people gave the same answer."""

    images: int
    pairs: int
    alike: float


def pairs(versions: Sequence[str], answers: Sequence[Given]) -> list[Pair]:
    """Return the figures of every two versions."""
    return [_pair(a, b, answers) for a, b in combinations(versions, 2)]


def people(versions: Sequence[str], answers: Sequence[Given]) -> list[PersonFigures]:
    """Return the figures by person, the busiest first."""
    by_person: dict[str, list[Given]] = defaultdict(list)
    for answer in answers:
        by_person[answer.person].append(answer)
    figures = [
        PersonFigures(
            person=person,
            answers=len(given),
            chosen={version: sum(answer.texts[version] == answer.chosen for answer in given) for version in versions},
            same=sum(answer.chosen is None for answer in given),
            median_seconds=median(seconds)
            if (seconds := [g.seconds for g in given if g.seconds is not None])
            else None,
        )
        for person, given in by_person.items()
    ]
    return sorted(figures, key=lambda found: (-found.answers, found.person))


def agreement(answers: Iterable[Given]) -> Agreement | None:
    """Return the agreement of every two people who answered the same image, or None if there are none."""
    by_image: dict[str, dict[str, str | None]] = defaultdict(dict)
    for answer in answers:
        by_image[answer.image_sha256][answer.person] = answer.chosen
    several = [list(said.values()) for said in by_image.values() if len(said) > 1]
    alike = [one == other for said in several for one, other in combinations(said, 2)]
    return Agreement(images=len(several), pairs=len(alike), alike=mean(alike)) if alike else None


def first_place(answers: Iterable[Given]) -> float | None:
    """Return the share of choices that fell on the candidate shown first, or None without a choice."""
    places = [answer.place for answer in answers if answer.place is not None]
    return mean(place == 0 for place in places) if places else None


def wilson(rate: float, count: int) -> tuple[float, float]:
    """Return the 95 % score interval of a rate over `count` images (at least one)."""
    z2 = Z_95**2
    middle = (rate + z2 / (2 * count)) / (1 + z2 / count)
    half = Z_95 / (1 + z2 / count) * sqrt(rate * (1 - rate) / count + z2 / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def _pair(a: str, b: str, answers: Sequence[Given]) -> Pair:
    scores: dict[str, list[float]] = defaultdict(list)
    for answer in answers:
        score = _score(a, b, answer)
        if score is not None:
            scores[answer.image_sha256].append(score)
    every = [score for image in scores.values() for score in image]
    rate = mean(mean(image) for image in scores.values()) if scores else None
    low, high = wilson(rate, len(scores)) if rate is not None else (None, None)
    better = None
    if low is not None and high is not None:
        better = a if low > 0.5 else b if high < 0.5 else None
    return Pair(
        a=a,
        b=b,
        images=len(scores),
        a_won=every.count(1.0),
        b_won=every.count(0.0),
        same=every.count(0.5),
        a_rate=rate,
        a_low=low,
        a_high=high,
        better=better,
    )


def _score(a: str, b: str, answer: Given) -> float | None:
    """Return 1 if a won, 0 if b won, 0.5 for no difference; None if a third won or both have one text."""
    if answer.texts[a] == answer.texts[b]:
        return None
    if answer.chosen is None:
        return 0.5
    won = {answer.texts[a]: 1.0, answer.texts[b]: 0.0}
    return won.get(answer.chosen)
