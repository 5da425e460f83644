"""Text of the commands on captions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from curator.cli.text import figure, figures, minute
from curator.text.printable import shown
from schemas.edge.words import duration, money, percent, plural

if TYPE_CHECKING:
    from curator.caption import CaptionResult
    from curator.caption.dry_run_result import DryRunResult
    from curator.caption.result import Effort
    from curator.caption_sets.accept import AcceptResult
    from curator.caption_sets.acceptance import Acceptance
    from curator.caption_sets.diff import Change, DiffResult
    from curator.caption_sets.replace import ReplaceResult
    from curator.caption_sets.revise import UndoResult
    from curator.caption_sets.stats import Frequent, Spread, StatsResult
    from curator.caption_sets.versions import CommitResult, RestoreResult, VersionsResult

REJECTS_SHOWN = 5
REASONS_SHOWN = 5
WORDS_SHOWN = 12


def strategies_help() -> str:
    from curator import captioners

    strategies = [captioners.load(name) for name in captioners.names()]
    width = max(len(strategy.name) for strategy in strategies)
    lines = [f"  {strategy.name:<{width}}  {strategy.summary}" for strategy in strategies]
    return "\n".join(["Strategies:", *lines, "", "Help for one: curator caption --strategy NAME --help"])


def strategy_help(name: str) -> str:
    from curator import captioners

    captioner = captioners.load(name)
    options = captioner.options.model_fields
    lines = [f"Strategy {name} (version {captioner.version})", "", captioner.help]
    if options:
        lines += ["", "Options (-o KEY=VALUE):"]
        width = max(map(len, options))
        for key, option in options.items():
            default = " [required]" if option.is_required() else _default(option.get_default(call_default_factory=True))
            lines.append(f"  {key:<{width}}  {option.description}{default}")
    return "\n".join(lines)


def text_of_caption(result: CaptionResult) -> str:
    images = plural(result.images, "image")
    lines = [f"{_bold(f'{result.dataset}/{result.set_name}')}: {images} by {result.strategy}", ""]
    lines += figures(
        {
            "new": result.new,
            "changed": result.changed,
            "unchanged": result.unchanged,
            "kept, a person's": result.kept_by_person,
            "not redone, though their inputs changed": result.outdated,
            "not reached because of --limit": result.not_reached,
            "left out by --where": result.not_chosen,
        }
    )
    lines += [figure(count, f"without a caption: {reason}") for reason, count in result.without_caption.items()]
    failed = list(result.failed.items())  # by frequency; a service may give every image its own reason
    lines += [figure(count, f"failed: {reason}", "red") for reason, count in failed[:REASONS_SHOWN]]
    if others := failed[REASONS_SHOWN:]:
        number = sum(count for _, count in others)
        lines.append(figure(number, f"failed for {plural(len(others), 'other reason')}", "red"))
    if result.taken_out:
        lines.append(f"{'':11}({plural(result.taken_out, 'earlier caption')} removed; history keeps them)")
    if result.failed:
        lines.append(f"{'':11}(the next run retries them; list: curator failures {result.dataset}/{result.set_name})")
    if result.rejects:
        lines.append(figure(len(result.rejects), "rejected", "yellow"))
        shown = result.rejects[:REJECTS_SHOWN]
        lines += [f"{'':11}{reject.where}: {reject.detail}" for reject in shown]
        lines += [f"{'':11}... all of them with --json"] if len(result.rejects) > len(shown) else []
    if result.effort and result.effort.pictures:
        lines += ["", _effort(result.effort)]
    if result.examples:
        width = max(len(example.file_name) for example in result.examples)
        lines.append("")
        for example in result.examples:
            lines.append(f"  {_dim(f'{example.file_name:<{width}}')}  {_shortened(example.text) or _dim('(empty)')}")
    lines += [click.style(f"\nWarning: {warning}", fg="yellow") for warning in result.warnings]
    if result.new or result.changed or result.taken_out:
        lines += ["", f'Next: curator commit {result.dataset}/{result.set_name} -m "draft"']
    return "\n".join(lines)


def text_of_dry_run(result: DryRunResult) -> str:
    from curator.caption.contact_sheet import estimate, why_nothing

    lines = [f"{_bold(f'{result.dataset}/{result.set_name}')}: dry run of {result.strategy}, nothing is stored", ""]
    width = max((len(image.file_name) for image in result.pictures), default=0)
    for image in result.pictures:
        failed = click.style(f"no caption: {image.reason}", fg="red")
        text = failed if image.text is None else _shortened(image.text) or _dim("(empty)")
        lines.append(f"  {_dim(f'{image.file_name:<{width}}')}  {text}")
    lines += [*([""] if result.pictures else []), *([_effort(result.effort)] if result.effort.pictures else [])]
    if result.to_caption:
        lines.append(f"All {plural(result.to_caption, 'image')}: {estimate(result)}.")
    else:
        lines.append(f"Nothing to caption: {why_nothing(result)}.")
    lines.append(f"Contact sheet: {_bold(result.page)}")
    lines += [click.style(f"\nWarning: {warning}", fg="yellow") for warning in result.warnings]
    return "\n".join(lines)


def _effort(effort: Effort) -> str:
    parts = [
        f"{plural(effort.pictures, 'image')} in {duration(effort.seconds)}, {effort.images_per_second:,.1f} per second",
        f"batch size {effort.batch_size}",
    ]
    if effort.input_tokens or effort.output_tokens:
        parts.append(f"{effort.input_tokens:,} tokens in, {effort.output_tokens:,} out")
    if effort.cost_usd:
        parts.append(money(effort.cost_usd, "$"))
    return ", ".join(parts) + f"; the model loaded in {duration(effort.loading_seconds)}"


def text_of_commit(result: CommitResult) -> str:
    captions = plural(result.captions, "caption")
    if result.without_image:
        captions += f", {result.without_image:,} for images that are gone"
    if result.unchanged:
        return f"Nothing new to commit: {_bold(result.version)} has these {captions}.\ndigest {result.digest}"
    changes = _changes(result.added, result.changed, result.removed)
    return f"{_bold(result.version)}  {captions}  ({changes})\ndigest {result.digest}"


def text_of_versions(result: VersionsResult) -> str:
    blocks = []
    for line in result.sets:
        uncommitted = click.style(f", {line.uncommitted:,} uncommitted", fg="yellow") if line.uncommitted else ""
        lines = [f"{_bold(f'{line.dataset}/{line.set_name}')}  {plural(line.captions, 'caption')}{uncommitted}"]
        people = max([len(version.person) for version in line.versions], default=0)
        for v in line.versions:
            when = minute(v.committed_at)
            lines.append(
                f"  @{v.number:<3} {when}  {v.person:<{people}}  {v.captions:>9,}  {_dim(v.digest[:12])}  {v.message}"
            )
        blocks.append("\n".join(lines if line.versions else [*lines, "  no version yet: curator commit"]))
    return "\n\n".join(blocks) or "There are no caption sets yet. See: curator caption --help"


def text_of_diff(result: DiffResult, coloured: bool) -> str:
    """Deleted and inserted words in colour, or as [-deleted-] and {+inserted+}."""
    counts = _changes(result.added, result.changed, result.removed) + f", {result.unchanged:,} unchanged"
    lines = [f"{_bold(result.before)} -> {_bold(result.after)}", counts]
    lines += [part for change in result.changes for part in ("", *_change(change, coloured))]
    if result.left_off:
        lines += ["", f"... and {result.left_off:,} more (--limit)"]
    return "\n".join(lines)


def text_of_replace(result: ReplaceResult, coloured: bool) -> str:
    verb = "would change" if result.dry_run else "changed"
    lines = [
        f"{_bold(result.reference)}: {result.find!r} -> {result.replacement!r}",
        f"{plural(result.changed, 'caption')} of {result.captions:,} {verb}",
    ]
    lines += [part for change in result.changes for part in ("", *_change(change, coloured))]
    if result.left_off:
        lines += ["", f"... and {result.left_off:,} more (--limit)"]
    if result.overtaken:
        lines += [
            "",
            click.style(f"{plural(result.overtaken, 'caption')} that changed meanwhile kept.", fg="yellow"),
        ]
    if result.run_id is not None:
        lines += ["", f"Undo: curator replace {result.reference} --undo {result.run_id}"]
    return "\n".join(lines)


def text_of_accept(result: AcceptResult) -> str:
    verb = "would become" if result.dry_run else "became"
    lines = [f"{_bold(result.reference)}: {plural(result.accepted, 'caption')} {verb} yours"]
    if result.already:
        lines.append(f"{plural(result.already, 'caption')} already yours.")
    if result.missing:
        lines.append(f"{plural(result.missing, 'image')} without a caption.")
    if result.run_id is not None:
        lines += ["", f"Undo: curator accept {result.reference} --undo {result.run_id}"]
    return "\n".join(lines)


def text_of_undo(result: UndoResult) -> str:
    left = f"; {plural(result.left, 'caption')} changed since then kept" if result.left else ""
    return f"{_bold(result.reference)}: {plural(result.restored, 'caption')} restored{left}."


def text_of_restore(result: RestoreResult) -> str:
    if not result.added + result.changed + result.removed:
        return f"The set already equals {_bold(result.version)}; nothing to do."
    lines = [f"Restored {_bold(result.version)}: {_changes(result.added, result.changed, result.removed)}"]
    if result.uncommitted:
        lines.append(f"{plural(result.uncommitted, 'uncommitted caption')} replaced; curator history still has them.")
    return "\n".join(lines)


def text_of_stats(result: StatsResult) -> str:
    state = "" if result.committed else ", uncommitted"
    lines = [f"{_bold(result.reference)}  {plural(result.captions, 'caption')}, {result.empty:,} empty{state}", ""]
    lines.append(_dim(f"{'':12}{'min':>7}{'median':>9}{'mean':>9}{'max':>7}"))
    counted = result.tokens
    limit = f", limit {counted.limit}" if counted and counted.limit else ""
    lines += _spread("words", result.words) + _spread("characters", result.characters)
    lines += _spread("tokens", counted.length if counted else None, f"{counted.tokenizer}{limit}" if counted else "")
    if counted and counted.limit:
        cut = f"{plural(counted.truncated, 'caption')} over the limit of {counted.limit} tokens"
        lines += ["", click.style(cut, fg="yellow" if counted.truncated else None)]
        for example in counted.truncated_examples:
            lines.append(f"  {_dim(example.file_name or example.image_sha256[:12])}  {example.tokens} tokens, loses:")
            lines.append(f"      {_shortened(example.words_lost)}")
    shared = f"{plural(result.duplicates, 'image')} share {plural(result.duplicate_captions, 'caption')}"
    lines += ["", f"{plural(result.vocabulary, 'different word')}; {shared if result.duplicates else 'no duplicates'}"]
    lines += [f"  {repeated.images:>7,} x  {_shortened(repeated.text)}" for repeated in result.duplicate_examples]
    lines += _frequent("Frequent words", result.frequent_words) + _frequent("Frequent terms", result.frequent_terms)
    lines += _acceptance(result.acceptance)
    lines += [click.style(f"\nNotice: {notice}", fg="yellow") for notice in result.notices]
    return "\n".join(lines)


def _acceptance(acceptances: Sequence[Acceptance]) -> list[str]:
    if not acceptances:
        return []
    width = max(8, *(len(each.strategy) for each in acceptances))
    head = (
        f"{'':{width}}{'answers':>9}{'unchanged':>11}{'edit distance':>15}{'seconds':>9}{'rejected':>10}{'skipped':>9}"
    )
    lines = ["", "People's answers in Label Studio (medians):", _dim(f"  {head}")]
    for each in acceptances:
        distance, seconds = (
            "-" if value is None else f"{value:,.1f}" for value in (each.median_edit_distance, each.median_seconds)
        )
        row = f"{each.strategy:<{width}}{each.answers:>9,}{each.unchanged_share:>11.0%}{distance:>15}{seconds:>9}"
        lines.append(f"  {row}{each.rejected:>10,}{each.skipped:>9,}")
    return lines


def _change(change: Change, coloured: bool) -> Iterable[str]:
    sign, colour = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}[change.kind]
    yield f"{click.style(sign, fg=colour)} {_dim(change.file_name or change.image_sha256[:12])}"
    if change.kind != "changed":
        yield f"    {click.style((change.after if change.kind == 'added' else change.before) or '(empty)', fg=colour)}"
        return
    marks = {"delete": ("[-", "-]", "red"), "insert": ("{+", "+}", "green")}
    text = ""
    for word in change.words:
        if word.op == "equal":
            text += word.text
        else:
            left, right, colour = marks[word.op]
            styled = click.style(word.text, fg=colour, strikethrough=(word.op == "delete") or None)
            text += styled if coloured else f"{left}{word.text}{right}"
    yield f"    {text}"


def _changes(added: int, changed: int, removed: int) -> str:
    return f"{added:,} added, {changed:,} changed, {removed:,} removed"


def _spread(name: str, spread: Spread | None, detail: str = "") -> list[str]:
    if spread is None:
        return []
    figures = f"{name:<12}{spread.min:>7,}{spread.median:>9,.1f}{spread.mean:>9,.1f}{spread.max:>7,}"
    return [f"{figures}   {_dim(detail)}" if detail else figures]


def _frequent(title: str, items: Sequence[Frequent]) -> list[str]:
    if not items:
        return []
    shown = ", ".join(
        f"{_shortened(item.text, 40)} {_dim(f'{item.count:,} ({percent(item.share)})')}" for item in items[:WORDS_SHOWN]
    )
    return ["", f"{title}: {shown}"]


def _default(value: Any) -> str:
    if value in (None, [], "", False):
        return ""
    return f" [default: {','.join(value) if isinstance(value, list) else value}]"


def _shortened(text: str, length: int = 100) -> str:
    """Escape invisible characters, so that a model's text can't alter the terminal."""
    text = shown(text)
    return text if len(text) <= length else text[: length - 3] + "..."


def _bold(text: str) -> str:
    return click.style(text, bold=True)


def _dim(text: str) -> str:
    return click.style(text, dim=True)
