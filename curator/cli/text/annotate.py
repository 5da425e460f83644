"""What the annotate commands say to a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from curator.cli.text import figure, figures, minute
from schemas.edge.words import percent, plural

if TYPE_CHECKING:
    from curator.annotate.pull.every_project import PullAllResult
    from curator.annotate.pull.run import PullResult
    from curator.annotate.push.run import PushResult
    from curator.annotate.status import PersonProgress, ProjectStatus, StatusResult


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
    lines += _noted(result.notes)
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
        lines = [f"{head}{plural(result.images, 'image')} changed", ""]
        lines += figures({"new": result.new, "edited": result.edited, "deleted": result.deleted})
        lines += [f"{'':11}{count:,} {OUTCOMES[outcome]}" for outcome, count in result.outcomes.items()]
    if result.tasks_gone:
        lines.append(figure(result.tasks_gone, "tasks deleted in Label Studio; what was answered stays here", "yellow"))
    if result.strangers:
        lines.append(figure(result.strangers, "tasks there that aren't of this dataset, passed over", "yellow"))
    lines += [figure(result.captions, f"captions in {result.target} now, {result.uncommitted:,} uncommitted")]
    lines += _noted(result.notes)
    if result.changed and result.uncommitted:
        lines += ["", f'Next: curator commit {result.target} -m "..."']
    return "\n".join(lines)


def of_pull_all(result: PullAllResult) -> str:
    """A block a project."""
    return "\n\n".join(of_pull(pulled) for pulled in result.pulled)


def of_status(result: StatusResult) -> str:
    """A block a project."""
    return "\n\n".join("\n".join(_project(found)) for found in result.projects)


def _project(found: ProjectStatus) -> list[str]:
    pulled = f"pulled {minute(found.pulled_at)}" if found.pulled_at else "never pulled"
    lines = [
        f"{click.style(found.target, bold=True)}: {found.model_version} to refine",
        f"  pushed {minute(found.pushed_at)}, {pulled}",
        f"  {found.url}/projects/{found.project}  {click.style(found.title, dim=True)}",
        "",
        figure(found.tasks, f"tasks, {found.images_answered:,} of their images answered"),
    ]
    lines += figures({OUTCOMES.get(name, name): count for name, count in found.annotations.items()})
    lines += figures(
        {
            "to pull": found.to_pull or 0,
            "tasks with a draft, not submitted yet": found.drafts or 0,
            "tasks deleted in Label Studio; what was answered on them stays here": found.tasks_gone,
        }
    )
    lines.append(figure(found.captions, f"captions in {found.target}, {found.uncommitted:,} uncommitted"))
    lines += [f"{'':11}emptied: {address}" for address in found.emptied]
    lines += [figure(one.tasks, _person(one)) for one in found.people]
    if agreed := found.agreement:
        same = f"{percent(agreed.exact)} the same, token F1 {agreed.token_f1:.2f}"
        lines.append(figure(agreed.images, f"images captioned by several of {agreed.people} people: {same}"))
    if found.disagreements:
        lines.append(figure(found.disagreements, "images people disagree on: settle them on the page", "yellow"))
    lines.append(f"{'':11}of several annotations the rule picks: {found.rule}")
    if found.images_until:
        lines.append(f"{'':11}images can be seen until {found.images_until[:10]}")
    colours = {"problem": "red", "note": "yellow"}
    lines += [f"{click.style(said.level, fg=colours[said.level], bold=True)}: {said.message}" for said in found.remarks]
    return lines


def _person(one: PersonProgress) -> str:
    """How somebody's answers came out."""
    counts = {"accepted": one.accepted, "edited": one.edited, "rejected": one.rejected, "without": one.without_caption}
    how = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    time = f"; {one.median_seconds:.0f} s each" if one.median_seconds is not None else ""
    return f"by {one.person}: {how}{time}"


def _noted(notes: list[str]) -> list[str]:
    return [click.style(f"\nNote: {note}", fg="yellow") for note in notes]
