"""Text of the annotate commands."""

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


def text_of_push(result: PushResult) -> str:
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
            "kept, though not selected now": result.kept,
            "answered before, task deleted": result.already_answered,
            "sent already by an interrupted push": result.found_again,
            "duplicates, removed": result.doubles_removed,
            "duplicates, kept because people worked on both": result.doubles_kept,
            "had been deleted in Label Studio": result.deleted_there,
            "of other datasets, left alone": result.strangers,
            "without a caption, not sent": result.without_caption,
        }
    )
    lines += [
        figure(count, f"without a preview: {reason}", "yellow") for reason, count in result.without_preview.items()
    ]
    lines.append(figure(result.tasks, f"tasks now; image addresses expire on {result.expires_at[:10]}"))
    lines += _notes(result.notes)
    return "\n".join([*lines, "", "Next: curator annotate pull"])


OUTCOMES = {
    "captioned": "captioned",
    "rejected": "image rejected",
    "emptied": "emptied: their captions are ignored",
    "skipped": "skipped",
    "unreadable": "unreadable: the labeling page was changed",
}


def text_of_pull(result: PullResult) -> str:
    head = f"{click.style(result.target, bold=True)} from project {result.project}: "
    if not result.changed:
        lines = [f"{head}nothing new"]
    else:
        lines = [f"{head}{plural(result.images, 'image')} changed", ""]
        lines += figures({"new": result.new, "edited": result.edited, "deleted": result.deleted})
        lines += [f"{'':11}{count:,} {OUTCOMES[outcome]}" for outcome, count in result.outcomes.items()]
    if result.tasks_gone:
        lines.append(figure(result.tasks_gone, "tasks deleted in Label Studio; their answers stay here", "yellow"))
    if result.strangers:
        lines.append(figure(result.strangers, "tasks of other datasets, skipped", "yellow"))
    lines += [figure(result.captions, f"captions in {result.target} now, {result.uncommitted:,} uncommitted")]
    lines += _notes(result.notes)
    if result.changed and result.uncommitted:
        lines += ["", f'Next: curator commit {result.target} -m "draft"']
    return "\n".join(lines)


def text_of_pull_all(result: PullAllResult) -> str:
    return "\n\n".join(text_of_pull(pulled) for pulled in result.pulled)


def text_of_status(result: StatusResult) -> str:
    return "\n\n".join("\n".join(_project(project)) for project in result.projects)


def _project(project: ProjectStatus) -> list[str]:
    pulled = f"pulled {minute(project.pulled_at)}" if project.pulled_at else "never pulled"
    lines = [
        f"{click.style(project.target, bold=True)}: {project.model_version} to refine",
        f"  pushed {minute(project.pushed_at)}, {pulled}",
        f"  {project.url}/projects/{project.project}  {click.style(project.title, dim=True)}",
        "",
        figure(project.tasks, f"tasks, {project.images_answered:,} of their images answered"),
    ]
    lines += figures({OUTCOMES.get(name, name): count for name, count in project.annotations.items()})
    lines += figures(
        {
            "to pull": project.to_pull or 0,
            "tasks with a draft, not submitted yet": project.drafts or 0,
            "tasks deleted in Label Studio; their answers stay here": project.tasks_gone,
        }
    )
    lines.append(figure(project.captions, f"captions in {project.target}, {project.uncommitted:,} uncommitted"))
    lines += [f"{'':11}emptied: {address}" for address in project.emptied]
    lines += [figure(person.tasks, _person(person)) for person in project.people]
    if agreed := project.agreement:
        same = f"{percent(agreed.exact)} the same, token F1 {agreed.token_f1:.2f}"
        lines.append(figure(agreed.images, f"images captioned by more than one of {agreed.people} people: {same}"))
    if project.disagreements:
        lines.append(figure(project.disagreements, "disagreements: settle them on the annotation page", "yellow"))
    lines.append(f"{'':11}rule for several annotations of an image: {project.rule}")
    if project.images_until:
        lines.append(f"{'':11}image addresses expire on {project.images_until[:10]}")
    colours = {"problem": "red", "note": "yellow"}
    lines += [f"{click.style(one.level, fg=colours[one.level], bold=True)}: {one.message}" for one in project.remarks]
    return lines


def _person(one: PersonProgress) -> str:
    counts = {"accepted": one.accepted, "edited": one.edited, "rejected": one.rejected, "without": one.without_caption}
    outcomes = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    time = f"; {one.median_seconds:.0f} s each" if one.median_seconds is not None else ""
    return f"by {one.person}: {outcomes}{time}"


def _notes(notes: list[str]) -> list[str]:
    return [click.style(f"\nNote: {note}", fg="yellow") for note in notes]
