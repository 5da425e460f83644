"""`curator check`: find faults in captions before training.

A finding fails the check if its share is above the allowed one (curator.check.findings) and, with a baseline, above the
baseline's. A check that couldn't run is reported and fails too.
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
from curator.check.captions import Captions, Detection
from curator.check.findings import KINDS, Example, Finding, Part, State
from curator.check.mentions import check_fields
from curator.text import tokens
from curator.text.tokens import TokenCounter, TokenizerUnavailable
from schemas.errors import BadOption, NotFound
from schemas.progress import Progress, silent

NEAR = 0.9
EXAMPLES = 3
ROUNDING = 1e-12  # shares that differ by less are equal


@dataclass(frozen=True)
class Settings:
    """Options of a check. `near`: the least Jaccard similarity of near-duplicates, above 0.5, at most 1."""

    tokenizer: str = tokens.DEFAULT
    trigger: str | None = None
    fields: Sequence[str] = ()
    allow: Mapping[str, float] = field(default_factory=dict)
    near: float = NEAR
    examples: int = EXAMPLES

    def allowed(self, code: str) -> float:
        return self.allow.get(code, KINDS[code].allowed)


class CheckResult(BaseModel):
    """The result of `curator check`, with a finding for every check that ran, clean ones too."""

    reference: str
    committed: bool = Field(description="A version, or a set equal to its latest version.")
    baseline: str | None
    captions: int
    without_caption: int = Field(description="Images of the dataset without a caption in the set.")
    findings: list[Finding] = Field(description="Most severe first.")
    passed: bool = Field(description="No error, no warning, nothing unchecked.")
    notices: list[str]


def check(
    catalog: Catalog,
    reference: str,
    settings: Settings | None = None,
    baseline: str | None = None,
    progress: Progress = silent,
) -> CheckResult:
    """Check the captions of a version or of a current set; with `baseline`, fail only on findings that got worse.

    If the tokenizer is unavailable, lost words are not checked, and a notice says so. Raises BadOption, NotFound.
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
    detections = _run_checks(catalog, captions, settings, counter, progress, "checking captions")
    known = None
    if before:
        frame = catalog.caption_texts(before.dataset, before.set_name, before.last_caption_id)
        earlier = _run_checks(catalog, Captions(before, frame), settings, counter, progress, "checking the baseline")
        known = {(detection.code, detection.subject): detection for detection in earlier}
    judge = _Judge(catalog, captions, settings, known)
    findings = [judge.finding(detection) for detection in detections] + ([judge.unchecked()] if notices else [])
    order: list[State] = ["error", "warning", "unchecked", "allowed", "clean"]
    findings.sort(key=lambda finding: (order.index(finding.state), list(KINDS).index(finding.code)))
    return CheckResult(
        reference=str(named),
        committed=named.number is not None or is_committed(catalog, named),
        baseline=str(before) if before else None,
        captions=captions.frame.height,
        without_caption=catalog.file_names_of_images(named.dataset)
        .join(captions.frame, on="image_sha256", how="anti")
        .height,
        findings=findings,
        passed=all(finding.state in ("clean", "allowed") for finding in findings),
        notices=notices + [detection.notice for detection in detections if detection.notice],
    )


def _validate(catalog: Catalog, settings: Settings, dataset: str, other: str | None) -> None:
    if not 0.5 < settings.near <= 1:
        raise BadOption(f"--near {settings.near:g}: a similarity above 0.5, at most 1.")
    if settings.trigger is not None and not settings.trigger.strip():
        raise BadOption("--trigger: give the word, or leave the option out.")
    for name in dict.fromkeys([dataset, other or dataset]):
        check_fields(settings.fields, catalog.metadata_fields(name) if settings.fields else [], "--field")


def _tokenizer(settings: Settings) -> tuple[TokenCounter | None, list[str]]:
    """Load the tokenizer. Return None if lost words are all allowed, or None and a notice if they can't be counted."""
    if settings.allowed("lost-words") >= 1:
        return None, []
    try:
        counter = tokens.load(settings.tokenizer)
    except TokenizerUnavailable as error:
        return None, [f"Lost words weren't checked. {error}"]
    if counter.limit is None:
        return None, [f"Lost words weren't checked: {counter.name} names no limit (model_max_length)."]
    return counter, []


def _run_checks(
    catalog: Catalog,
    captions: Captions,
    settings: Settings,
    counter: TokenCounter | None,
    progress: Progress,
    stage: str,
) -> list[Detection]:
    steps: list[Callable[[], list[Detection]]] = [
        lambda: [checks.lost_words(captions, counter)] if counter else [],
        lambda: checks.per_caption(captions, settings.trigger),
        lambda: [checks.fused(captions, settings.allowed("fused-term"), settings.trigger)],
        lambda: [checks.duplicates(captions)],
        lambda: [checks.near(captions, settings.near, KINDS["fused-term"].allowed)],
        lambda: checks.unmentioned(catalog, captions, settings.fields) if settings.fields else [],
    ]
    detections: list[Detection] = []
    for done, step in enumerate(steps):
        progress(stage, done, len(steps))
        detections += step()
    progress(stage, len(steps), len(steps))
    return detections


@dataclass(frozen=True)
class _Judge:
    catalog: Catalog
    captions: Captions
    settings: Settings
    before: Mapping[tuple[str, str | None], Detection] | None

    def finding(self, detection: Detection) -> Finding:
        kind, count = KINDS[detection.code], len(detection.keys)
        share = count / detection.of if detection.of else 0.0
        known = self.before.get((detection.code, detection.subject)) if self.before is not None else None
        old = len(known.keys) / known.of if known and known.of else 0.0
        worse = None if self.before is None else share > old + ROUNDING
        allowed = self.settings.allowed(detection.code)
        fails = count > 0 and share > allowed + ROUNDING and worse is not False
        return Finding(
            code=detection.code,
            subject=detection.subject,
            state=kind.severity if fails else "allowed" if count else "clean",
            unit=kind.unit,
            count=count,
            of=detection.of,
            share=share,
            allowed=allowed,
            baseline_share=None if self.before is None else old,
            worse=worse,
            title=kind.title,
            parts=self._parts(detection),
            examples=self._examples(detection, known),
            advice=kind.advice,
        )

    def unchecked(self) -> Finding:
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
            advice="Name a local tokenizer: --tokenizer FOLDER; or skip the check: --allow lost-words=1.",
        )

    def _parts(self, detection: Detection) -> list[Part]:
        names = self._names([image for part in detection.parts for image in part.images])
        return [
            Part(
                text=part.text,
                captions=part.captions,
                share=part.share,
                file_names=[names[image] for image in part.images],
            )
            for part in detection.parts
        ]

    def _names(self, images: list[str]) -> dict[str, str]:
        rows = pl.DataFrame({"image_sha256": images}, schema={"image_sha256": pl.String}).unique()
        known = dict(self.catalog.names_of_images(self.captions.reference.dataset, rows).iter_rows())
        return {image: known.get(image, image[:12]) for image in images}

    def _examples(self, detection: Detection, known: Detection | None) -> list[Example]:
        shas = self.captions.frame["image_sha256"].gather(detection.rows)
        old = shas.is_in(known.keys.implode()) if known else pl.Series([False]).new_from_index(0, len(shas))
        rows = pl.concat([detection.rows.filter(~old), detection.rows.filter(old)]).head(self.settings.examples)
        new = [None if self.before is None else index < int((~old).sum()) for index in range(len(rows))]
        chosen = self.captions.frame[rows.to_list()]
        names = self._names(chosen["image_sha256"].to_list())
        captions = zip(chosen.select("image_sha256", "text").iter_rows(), rows.to_list(), new, strict=True)
        return [
            Example(file_name=names[sha256], image_sha256=sha256, text=text, detail=detection.detail(row), new=is_new)
            for (sha256, text), row, is_new in captions
        ]
