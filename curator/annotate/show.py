"""What the annotate commands say to a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from curator.annotate.pull import PullResult
    from curator.annotate.push import PushResult
    from curator.annotate.round import PullAllResult


def of_push(result: PushResult) -> str:
    """Where it is, what was sent, what to know."""
    made = " (made)" if result.made_project else ""
    lines = [
        f"{click.style(result.target, bold=True)}: {result.model_version} to refine, project {result.project}{made}",
        f"  {result.project_url}",
        "",
    ]
    lines += figures(
        {
            "sent": result.sent,
            "caption replaced": result.replaced,
            "data or image address renewed": result.updated,
            "unchanged": result.unchanged,
            "kept, though not chosen now": result.kept,
            "answered before, their task is gone": result.already_answered,
            "found again, sent by a push that was interrupted": result.found_again,
            "double, removed": result.doubles_removed,
            "double, kept since people worked on both": result.doubles_kept,
            "had been deleted in Label Studio": result.deleted_there,
            "there that aren't of this dataset, left alone": result.strangers,
            "without a caption, not sent": result.without_caption,
        }
    )
    lines += [
        figure(count, f"without a preview: {reason}", "yellow") for reason, count in result.without_preview.items()
    ]
    lines.append(figure(result.tasks, f"tasks now, their images shown until {result.expires_at[:10]}"))
    lines += [click.style(f"\nNote: {note}", fg="yellow") for note in result.notes]
    return "\n".join([*lines, "", "Next: curator annotate pull"])


OUTCOMES = {
    "captioned": "captioned",
    "rejected": "image rejected",
    "emptied": "emptied: no caption taken from them",
    "skipped": "skipped",
    "unreadable": "unreadable: the labeling page had been changed",
}


def of_pull(result: PullResult) -> str:
    """What was new, what became of it, how the set stands."""
    head = f"{click.style(result.target, bold=True)} from project {result.project}: "
    if not result.changed:
        lines = [f"{head}nothing new"]
    else:
        lines = [f"{head}{_count(result.images, 'image')} changed", ""]
        lines += figures({"new": result.new, "edited": result.edited, "deleted": result.deleted})
        lines += [f"{'':11}{count:,} {OUTCOMES[outcome]}" for outcome, count in result.outcomes.items()]
    if result.tasks_gone:
        lines.append(figure(result.tasks_gone, "tasks deleted in Label Studio; what was answered stays here", "yellow"))
    if result.strangers:
        lines.append(figure(result.strangers, "tasks there that aren't of this dataset, passed over", "yellow"))
    lines += [figure(result.captions, f"captions in {result.target} now, {result.uncommitted:,} uncommitted")]
    if result.changed and result.uncommitted:
        lines += ["", f'Next: curator commit {result.target} -m "..."']
    return "\n".join(lines)


def of_pull_all(result: PullAllResult) -> str:
    """A block a project."""
    return "\n\n".join(of_pull(pulled) for pulled in result.pulled)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def figures(counts: dict[str, int]) -> list[str]:
    """A line for each count that isn't zero."""
    return [figure(count, name) for name, count in counts.items() if count]


def figure(count: int, name: str, colour: str | None = None) -> str:
    """A count and what it counts."""
    return click.style(f"{count:>9,}", fg=colour) + f"  {name}"
