"""The prompts sampled at every checkpoint, each with its role.

The default suite depends on the snapshot, not on the run's track, so all runs on a snapshot sample the same prompts. A
prompt equal to a caption is shown beside its real image.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import get_args

from schemas.errors import BadDocument, NotFound
from schemas.run import Prompt, Role
from trainer_client.data.snapshot import Row, Snapshot

ROLES: tuple[Role, ...] = get_args(Role)
TAGGED = re.compile(r"\[([^\]]*)\]\s*(.*)")
# (subject, prompt). The first whose subject no caption mentions is used: it must be neither trained on nor held out.
MADE_UP = (
    ("elephant", "a purple elephant with wings"),
    ("whale", "a striped whale wearing a hat"),
    ("robot", "a robot made of flowers"),
    ("teapot", "a teapot with eyes"),
    ("castle", "a castle on the back of a snail"),
)
UNRELATED = (
    ("car", "a red car"),
    ("house", "a house"),
    ("guitar", "a guitar"),
    ("airplane", "an airplane"),
    ("clock", "a clock"),
    ("bridge", "a photograph of a bridge"),
    ("portrait", "a portrait of a woman"),
)
UNRELATED_PROMPTS = 2
GENERIC = "an image"
FIGHTING_STYLE = "an oil painting with thick brush strokes of {subject}"


def read_prompts(path: Path, snapshot: Snapshot) -> list[Prompt]:
    """Read prompts from a file, one a line, as `[role] text` or text. Skip empty lines and `#` comments.

    Raises NotFound, or BadDocument naming the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise BadDocument(f"{path}: not UTF-8 text.") from error
    except OSError as error:
        raise NotFound(f"{path}: can't be read ({error.strerror}). Give --prompts a text file.") from error
    known = _captions_by_text(snapshot)
    prompts: list[Prompt] = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        prompt = _parse(text, f"{path}, line {number}", known)
        if any(prompt.text == earlier.text for earlier in prompts):
            raise BadDocument(f"{path}, line {number}: the prompt {prompt.text!r} is repeated. Remove one.")
        prompts.append(prompt)
    if not prompts:
        raise BadDocument(f"{path}: no prompts. Write one a line.")
    return prompts


def _parse(line: str, where: str, known: dict[str, Prompt]) -> Prompt:
    role: Role | None = None
    text = line
    if tagged := TAGGED.fullmatch(line):
        role = next((known_role for known_role in ROLES if known_role == tagged[1].strip()), None)
        text = tagged[2].strip()
        if role is None:
            raise BadDocument(f"{where}: `{tagged[1]}` is not a role. Use one of: {', '.join(ROLES)}.")
        if not text:
            raise BadDocument(f"{where}: no text after [{role}]. Write a prompt there.")
    prompt = known.get(text, Prompt(text=text))
    return prompt if role is None else prompt.model_copy(update={"role": role})


def _captions_by_text(snapshot: Snapshot) -> dict[str, Prompt]:
    """Return each caption as a prompt for the first image that has it.

    Leave out tracks with the same caption for all images.
    """
    known: dict[str, Prompt] = {}
    for track in speaking_tracks(snapshot):
        for role, rows in _roles(snapshot):
            for row in rows:
                text = row.captions[track]
                if text:
                    known.setdefault(text, Prompt(text=text, role=role, image_sha256=row.sha256, track=track))
    return known


def _roles(snapshot: Snapshot) -> list[tuple[Role, list[Row]]]:
    return [("seen-caption", snapshot.rows("train")), ("held-out-caption", snapshot.rows("validation"))]


def speaking_tracks(snapshot: Snapshot) -> list[str]:
    """Return the tracks with more than one distinct caption, the longest captions first."""
    rows = [*snapshot.rows("train"), *snapshot.rows("validation")]
    spoken: dict[str, list[str]] = {}
    for track in snapshot.tracks:
        if track in snapshot.made:  # Made of other tracks' captions.
            continue
        captions = [row.captions[track] or "" for row in rows]
        if len(set(captions)) > 1:
            spoken[track] = captions
    return sorted(spoken, key=lambda track: (-sum(map(len, spoken[track])) / len(rows), track))


def default_prompts(snapshot: Snapshot) -> list[Prompt]:
    """Return the default suite, without caption prompts if no track has distinct captions."""
    tracks = speaking_tracks(snapshot)
    prompts = _caption_prompts(snapshot, tracks)
    words = _words(snapshot)
    opening = _common_opening(snapshot, tracks)
    prompts.append(Prompt(text=opening + _unheard_of(MADE_UP, words)[0], role="made-up-subject"))
    prompts.append(Prompt(text=GENERIC, role="generic"))
    prompts.append(Prompt(text=_fighting(prompts, opening), role="fighting-style"))
    prompts += [Prompt(text=text, role="unrelated") for text in _unheard_of(UNRELATED, words)[:UNRELATED_PROMPTS]]
    return list({prompt.text: prompt for prompt in reversed(prompts)}.values())[::-1]


def _caption_prompts(snapshot: Snapshot, tracks: list[str]) -> list[Prompt]:
    """Return a training image's caption, its captions in two other tracks, and a held-out image's caption."""
    prompts: list[Prompt] = []
    seen, held_out = snapshot.rows("train"), snapshot.rows("validation")
    roles: list[Role] = ["seen-caption", "other-track-caption", "other-track-caption"]
    row = _first(seen, tracks)
    if row is not None:
        prompts += [_of(row, track, role) for track, role in zip(tracks, roles, strict=False)]
    row = _first(held_out, tracks)
    if row is not None:
        prompts.append(_of(row, tracks[0], "held-out-caption"))
    return prompts


def _first(rows: list[Row], tracks: list[str]) -> Row | None:
    """Return the first image (by sha256, so random) with a caption in every track."""
    if not tracks:
        return None
    return next((row for row in rows if all(row.captions[track] for track in tracks)), None)


def _of(row: Row, track: str, role: Role) -> Prompt:
    return Prompt(text=row.captions[track] or "", role=role, image_sha256=row.sha256, track=track)


def _words(snapshot: Snapshot) -> set[str]:
    captions = (
        text
        for split in (snapshot.rows("train"), snapshot.rows("validation"))
        for row in split
        for text in row.captions.values()
    )
    return {word for text in captions if text for word in re.findall(r"\w+", text.lower())}


def _unheard_of(candidates: Iterable[tuple[str, str]], words: set[str]) -> list[str]:
    """Return the candidates whose subject no caption mentions; all of them if every one is mentioned."""
    listed = list(candidates)
    free = [text for thing, text in listed if not {thing, f"{thing}s"} & words]
    return free or [text for _, text in listed]


def _common_opening(snapshot: Snapshot, tracks: list[str]) -> str:
    """Return the words that all captions of a track begin with, from the first track with any."""
    for track in tracks:
        captions = [(row.captions[track] or "").split() for row in snapshot.rows("train")]
        shared = itertools.takewhile(lambda words: len(set(words)) == 1, zip(*captions, strict=False))
        opening = re.sub(
            r"(^| )(a|an|the)$", "", " ".join(words[0] for words in shared)
        )  # The subject has its own article.
        if opening:
            return f"{opening} "
    return ""


def _fighting(prompts: Sequence[Prompt], opening: str) -> str:
    """Return a training image's caption with its style prefix replaced by another style.

    Only a caption that begins with the common prefix is used: in others the style is unknown.
    """
    seen = [prompt.text for prompt in prompts if prompt.role in ("seen-caption", "other-track-caption")]
    styled = [text for text in seen if text.startswith(opening)]
    return FIGHTING_STYLE.format(subject=(styled or ["a tree"])[0].removeprefix(opening))
