"""`curator check`: what is wrong with captions before anyone trains on them.

Every kind of finding (curator.check.findings) has a share up to which it is fine; a finding above that fails the check,
and with a baseline only one that is worse there. What couldn't be checked is said, and is no pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl
from pydantic import BaseModel, Field

from curator.caption_sets.reference import resolve
from curator.caption_sets.versions import is_committed
from curator.catalog import Catalog
from curator.check import captions as checks
from curator.check.captions import Captions, Seen
from curator.check.findings import KINDS, Example, Finding, Part, State
from curator.check.mentions import check_fields
from curator.text import tokens
from curator.text.tokens import TokenCounter, TokenizerUnavailable
from schemas.errors import BadOption, NotFound
from schemas.progress import Progress, silent

NEAR = 0.9
EXAMPLES = 3
SLACK = 1e-12  # shares that differ by rounding alone are equal


@dataclass(frozen=True)
class Settings:
    """What to check for. `near`: the similarity, above 0.5 to 1, from which captions are near-duplicates."""

    tokenizer: str = tokens.DEFAULT
    trigger: str | None = None
    fields: Sequence[str] = ()
    allow: Mapping[str, float] = field(default_factory=dict)
    near: float = NEAR
    examples: int = EXAMPLES

    def allowed(self, code: str) -> float:
        """The share up to which a kind of finding is fine."""
        return self.allow.get(code, KINDS[code].allowed)


class CheckResult(BaseModel):
    """What `curator check` shows. Every check that was made has its finding, also where it is clean."""

    reference: str
    committed: bool = Field(description="A version, or a set that is as its latest version has it.")
    baseline: str | None
    captions: int
    without_caption: int = Field(description="Images of the dataset that have no caption in the set.")
    findings: list[Finding] = Field(description="The gravest first.")
    passed: bool = Field(description="No error, no warning, nothing unchecked.")
    notices: list[str]


def check(
    catalog: Catalog,
    reference: str,
    settings: Settings | None = None,
    baseline: str | None = None,
    progress: Progress = silent,
) -> CheckResult:
    """Checks the captions of a version, or of a set as it is now; with `baseline`, fails only on what got worse.

    A tokenizer that can't be had leaves its check unmade, with a notice. Raises BadOption, NotFound.
    """
    settings = settings or Settings()
    named = resolve(catalog, reference)
    before = resolve(catalog, baseline) if baseline else None
    _validate(catalog, settings, named.dataset, before.dataset if before else None)
    counter, notices = _tokenizer(settings)
    captions = Captions(named, catalog.caption_texts(named.dataset, named.set_name, named.last_caption_id))
    if not captions.frame.height:
        command = f"curator caption {named.dataset} --strategy fixed --set {named.set_name} -o text={named.dataset}"
        raise NotFound(f"{named}: no captions to check. Make some: {command}")
    seen = _look(catalog, captions, settings, counter, progress, "checking captions")
    known = None
    if before:
        frame = catalog.caption_texts(before.dataset, before.set_name, before.last_caption_id)
        looked = _look(catalog, Captions(before, frame), settings, counter, progress, "checking the baseline")
        known = {(found.code, found.subject): found for found in looked}
    judge = _Judge(catalog, captions, settings, known)
    findings = [judge.finding(found) for found in seen] + ([judge.unchecked()] if notices else [])
    order: list[State] = ["error", "warning", "unchecked", "allowed", "clean"]
    findings.sort(key=lambda found: (order.index(found.state), list(KINDS).index(found.code)))
    return CheckResult(
        reference=str(named),
        committed=named.number is not None or is_committed(catalog, named),
        baseline=str(before) if before else None,
        captions=captions.frame.height,
        without_caption=catalog.file_names_of_images(named.dataset)
        .join(captions.frame, on="image_sha256", how="anti")
        .height,
        findings=findings,
        passed=all(found.state in ("clean", "allowed") for found in findings),
        notices=notices + [found.notice for found in seen if found.notice],
    )


def _validate(catalog: Catalog, settings: Settings, dataset: str, other: str | None) -> None:
    """Raises BadOption for what can't be checked, before anything is read."""
    if not 0.5 < settings.near <= 1:
        raise BadOption(f"--near {settings.near:g}: a similarity above 0.5, at most 1.")
    if settings.trigger is not None and not settings.trigger.strip():
        raise BadOption("--trigger: give the word, or leave the option out.")
    for name in dict.fromkeys([dataset, other or dataset]):
        check_fields(settings.fields, catalog.metadata_fields(name) if settings.fields else [], "--field")


def _tokenizer(settings: Settings) -> tuple[TokenCounter | None, list[str]]:
    """None where lost words don't matter, or with a notice where they can't be counted."""
    if settings.allowed("lost-words") >= 1:
        return None, []
    try:
        counter = tokens.load(settings.tokenizer)
    except TokenizerUnavailable as error:
        return None, [f"Lost words weren't checked. {error}"]
    if counter.limit is None:
        return None, [f"Lost words weren't checked: {counter.name} has no limit on record (model_max_length)."]
    return counter, []


def _look(
    catalog: Catalog,
    captions: Captions,
    settings: Settings,
    counter: TokenCounter | None,
    progress: Progress,
    stage: str,
) -> list[Seen]:
    """Every check over one state of a set."""
    steps: list[Callable[[], list[Seen]]] = [
        lambda: [checks.lost_words(captions, counter)] if counter else [],
        lambda: checks.simple(captions, settings.trigger),
        lambda: [checks.fused(captions, settings.allowed("fused-term"), settings.trigger)],
        lambda: [checks.duplicates(captions)],
        lambda: [checks.near(captions, settings.near, KINDS["fused-term"].allowed)],
        lambda: checks.unmentioned(catalog, captions, settings.fields) if settings.fields else [],
    ]
    seen: list[Seen] = []
    for done, step in enumerate(steps):
        progress(stage, done, len(steps))
        seen += step()
    progress(stage, len(steps), len(steps))
    return seen


@dataclass(frozen=True)
class _Judge:
    """Turns what was seen into findings."""

    catalog: Catalog
    captions: Captions
    settings: Settings
    before: Mapping[tuple[str, str | None], Seen] | None

    def finding(self, seen: Seen) -> Finding:
        """What was seen, against what is allowed and against the baseline."""
        kind = KINDS[seen.code]
        share = len(seen.keys) / seen.of if seen.of else 0.0
        known = self.before.get((seen.code, seen.subject)) if self.before is not None else None
        old = len(known.keys) / known.of if known and known.of else 0.0
        worse = None if self.before is None else share > old + SLACK
        allowed = self.settings.allowed(seen.code)
        fails = len(seen.keys) > 0 and share > allowed + SLACK and worse is not False
        return Finding(
            code=seen.code,
            subject=seen.subject,
            state=kind.severity if fails else "allowed" if len(seen.keys) else "clean",
            unit=kind.unit,
            count=len(seen.keys),
            of=seen.of,
            share=share,
            allowed=allowed,
            baseline_share=None if self.before is None else old,
            worse=worse,
            title=kind.title,
            parts=self._parts(seen),
            examples=self._examples(seen, known),
            advice=kind.advice,
        )

    def unchecked(self) -> Finding:
        """Lost words, where no tokenizer could count them."""
        kind = KINDS["lost-words"]
        return Finding(
            code=kind.code,
            subject=self.settings.tokenizer,
            state="unchecked",
            unit=kind.unit,
            count=0,
            of=self.captions.frame.height,
            share=0.0,
            allowed=self.settings.allowed(kind.code),
            baseline_share=None,
            worse=None,
            title=kind.title,
            advice="Name a tokenizer that is here: --tokenizer FOLDER; or --allow lost-words=1.",
        )

    def _parts(self, seen: Seen) -> list[Part]:
        names = self._names([image for part in seen.parts for image in part.images])
        return [
            Part(
                text=part.text, captions=part.captions, share=part.share, file_names=[names[one] for one in part.images]
            )
            for part in seen.parts
        ]

    def _names(self, images: list[str]) -> dict[str, str]:
        """A file name for each image."""
        rows = pl.DataFrame({"image_sha256": images}, schema={"image_sha256": pl.String}).unique()
        known = dict(self.catalog.names_of_images(self.captions.reference.dataset, rows).iter_rows())
        return {image: known.get(image, image[:12]) for image in images}

    def _examples(self, seen: Seen, known: Seen | None) -> list[Example]:
        """The first of its captions; with a baseline, what is new comes first."""
        shas = self.captions.frame["image_sha256"].gather(seen.rows)
        old = shas.is_in(known.keys.implode()) if known else pl.Series([False]).new_from_index(0, len(shas))
        rows = pl.concat([seen.rows.filter(~old), seen.rows.filter(old)]).head(self.settings.examples)
        new = [None if self.before is None else place < int((~old).sum()) for place in range(len(rows))]
        chosen = self.captions.frame[rows.to_list()]
        names = self._names(chosen["image_sha256"].to_list())
        found = zip(chosen.select("image_sha256", "text").iter_rows(), rows.to_list(), new, strict=True)
        return [
            Example(file_name=names[sha256], image_sha256=sha256, text=text, detail=seen.detail(row), new=is_new)
            for (sha256, text), row, is_new in found
        ]
