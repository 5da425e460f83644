"""Text of `curator annotate prefer`."""

from __future__ import annotations

import click

from curator.annotate.prefer.figures import Pair
from curator.annotate.prefer.run import PreferResult
from schemas.edge.words import percent


def text_of_prefer(result: PreferResult) -> str:
    question = click.style(" or ".join(map(_short, result.versions)), bold=True)
    lines = [f"{question}? {result.dataset}, project {result.project}", ""]
    lines.append(f"{result.images:>9,}  images asked ({result.sent:,} new), {result.answered:,} of them answered")
    left_out = {
        "not asked: all versions have the same caption": result.same_text,
        "not asked: a version has no caption": result.without_caption,
        **{f"not asked: {reason}": count for reason, count in result.without_preview.items()},
        "skipped": result.skipped,
        "unreadable answers: the labeling page was changed": result.unreadable,
    }
    lines += [f"{count:>9,}  {reason}" for reason, count in left_out.items() if count]
    if result.answers:
        lines += ["", *_pairs(result), "", *_people(result)]
    lines += [click.style(f"\nNote: {note}", fg="yellow") for note in result.notes]
    return "\n".join([*lines, "", _next(result)])


def _pairs(result: PreferResult) -> list[str]:
    width = max(len(_short(version)) for version in result.versions)
    lines = [f"  {'A':{width}}  {'B':{width}}  images  A preferred  95 % interval  A-B-same"]
    for pair in result.pairs:
        names = f"{_short(pair.a):{width}}  {_short(pair.b):{width}}"
        if pair.a_rate is None or pair.a_low is None or pair.a_high is None:
            lines.append(f"  {names}       0  no answer yet")
            continue
        rate = f"{pair.a_rate:>11.0%}  {pair.a_low:>4.0%} to {pair.a_high:>4.0%} "
        lines.append(f"  {names}  {pair.images:>6}  {rate}  {f'{pair.a_won}-{pair.b_won}-{pair.same}':>8}")
    return [*lines, "", *(f"  {_verdict(pair)}" for pair in result.pairs if pair.images)]


def _verdict(pair: Pair) -> str:
    if pair.better is None:
        return f"{_short(pair.a)} or {_short(pair.b)}: too close to call."
    other = pair.b if pair.better == pair.a else pair.a
    return click.style(f"{_short(pair.better)} is preferred to {_short(other)}.", fg="green")


def _people(result: PreferResult) -> list[str]:
    lines = []
    for person in result.people:
        chosen = ", ".join(f"{_short(version)} {count}" for version, count in person.chosen.items())
        time = f", {person.median_seconds:.0f} s each" if person.median_seconds is not None else ""
        lines.append(f"  {person.person}: {person.answers} answers{time}; {chosen}, no difference {person.same}")
    if agreement := result.agreement:
        lines.append(f"  {agreement.images} images answered by several people: {percent(agreement.alike)} agree")
    if result.first_place is not None:
        share = 1 / len(result.versions)
        lines.append(
            f"  the caption shown first was chosen {percent(result.first_place)} of the time"
            f" ({percent(share)} by chance)"
        )
    return lines


def _next(result: PreferResult) -> str:
    if result.answered < result.images:
        return f"People answer at {result.project_url}. Then run the same command again."
    return "All images are answered. To ask more, use --limit N, or --annotators N for several people per image."


def _short(version: str) -> str:
    return version.partition("/")[2]
