"""The tile that shows a (run, epoch, prompt, seed), for the template and the script."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from schemas.comparison import Group
from schemas.run import Prompt, Role
from trainer_client.compare.page.sprites import Sheets
from trainer_client.compare.runs import Run

ROLES: dict[Role, str] = {
    "seen-caption": "caption of a training image",
    "held-out-caption": "caption of a held-out image",
    "other-track-caption": "the same image in another track's words",
    "made-up-subject": "a made-up subject",
    "generic": "says nothing in particular",
    "fighting-style": "asks for another style",
    "unrelated": "nothing to do with the training",
    "custom": "your own prompt",
}
TELLING: tuple[Role, ...] = ("held-out-caption", "seen-caption", "custom", "made-up-subject")


@dataclass(frozen=True)
class Tile:
    """A tile's sheet and position, and its label."""

    sheet: str
    x: int
    y: int
    label: str


@dataclass(frozen=True)
class Pictures:
    """A group's tiles."""

    group: Group
    runs: list[Run]
    sheets: list[dict[int, str]]
    prompt_rows: list[list[int]]
    seed_columns: list[list[int]]
    references: str | None

    @property
    def epochs(self) -> list[int]:
        """Return every epoch at which any run has a grid."""
        return sorted({epoch for by_epoch in self.sheets for epoch in by_epoch})

    def tile(self, run: int, epoch: int, prompt: int, seed: int) -> Tile | None:
        """Return the sample's tile, or None if the run has none."""
        sheet = self.sheets[run].get(epoch)
        y, x = self.prompt_rows[run][prompt], self.seed_columns[run][seed]
        if sheet is None or x < 0 or y < 0:
            return None
        text = self.group.prompts[prompt].text
        label = f"{self.group.runs[run].label}, epoch {epoch}, “{text}”, seed {self.group.seeds[seed]}"
        return Tile(sheet, x, y, label)

    def real(self, prompt: int) -> Tile | None:
        """Return the real image whose caption is the prompt."""
        place = self.place(self.group.prompts[prompt])
        return None if place is None else self.example(place)

    def place(self, prompt: Prompt) -> int | None:
        """Return the index of a prompt's real image among the examples."""
        known = [example.image_sha256 for example in self.group.examples]
        return known.index(prompt.image_sha256) if prompt.image_sha256 in known else None

    def example(self, place: int) -> Tile | None:
        """Return a real image by its index among the examples."""
        return None if self.references is None else Tile(self.references, place, 0, "the real image")

    @property
    def telling_prompt(self) -> int | None:
        """Return the key figure's prompt: one that can't be memorised, with a real image."""
        roles = [prompt.role for prompt in self.group.prompts]
        return next((roles.index(role) for role in TELLING if role in roles), 0 if roles else None)

    @property
    def leaking_prompt(self) -> int | None:
        """Return an unrelated prompt, whose samples should not change."""
        roles = [prompt.role for prompt in self.group.prompts]
        return roles.index("unrelated") if "unrelated" in roles else None

    @property
    def shown_epoch(self) -> int | None:
        """Return the epoch of the static grids: the judged one, else the last."""
        epochs = self.epochs
        return self.group.judged_epoch if self.group.judged_epoch in epochs else (epochs[-1] if epochs else None)

    def for_script(self) -> dict[str, Any]:
        """Return the tiles as plain data."""
        return {
            "runs": [run.label for run in self.group.runs],
            "epochs": self.epochs,
            "shown": self.shown_epoch,
            "prompts": [
                {
                    "text": prompt.text,
                    "role": role_words(prompt),
                    "real": self.place(prompt) if self.references else None,
                }
                for prompt in self.group.prompts
            ],
            "seeds": self.group.seeds,
            "sheets": [{str(epoch): sheet for epoch, sheet in by_epoch.items()} for by_epoch in self.sheets],
            "rows": self.prompt_rows,
            "columns": self.seed_columns,
            "references": self.references,
            "telling": self.telling_prompt or 0,
        }


def role_words(prompt: Prompt) -> str:
    """Return a prompt's role in words, with its caption's track."""
    return f"{ROLES[prompt.role]} ({prompt.track})" if prompt.track else ROLES[prompt.role]


def collect(group: Group, runs: list[Run], sheets: Sheets) -> Pictures:
    """Read every grid of a group's runs into `sheets`."""
    texts = [[prompt.text for prompt in run.report.prompts] for run in runs]
    return Pictures(
        group=group,
        runs=runs,
        sheets=[_grids(run, sheets) for run in runs],
        prompt_rows=[[_index(own, prompt.text) for prompt in group.prompts] for own in texts],
        seed_columns=[[_index(run.report.seeds, seed) for seed in group.seeds] for run in runs],
        references=_references(group, runs, sheets),
    )


def _grids(run: Run, sheets: Sheets) -> dict[int, str]:
    points = [point for point in run.report.checkpoints if point.grid is not None]
    return {point.epoch: sheets.add(run.folder, point.grid).name for point in points if point.grid is not None}


def _references(group: Group, runs: list[Run], sheets: Sheets) -> str | None:
    """Return the sheet of the real images that the group shows."""
    shown = [example.image_sha256 for example in group.examples]
    for run in runs:
        grid = run.report.references
        if grid is not None and shown == [example.image_sha256 for example in run.report.examples]:
            return sheets.add(run.folder, grid).name
    return None


def _index(values: list[Any], wanted: Any) -> int:
    return values.index(wanted) if wanted in values else -1
