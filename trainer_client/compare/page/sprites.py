"""Sample grids as sprites: each sheet is embedded once, as WebP."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from schemas.digest import sha256_file
from schemas.errors import BadDocument, ChecksumMismatch, NotFound
from schemas.progress import Progress, silent
from schemas.run import Grid

BUDGET_BYTES = 4_000_000  # all sheets; base64 adds a third, and the page must stay below 6 MB
LOSSLESS = 101
STEPS = (  # (largest tile in px, WebP quality): the first that keeps within the budget
    *((192, quality) for quality in (LOSSLESS, 96, 92, 88, 84, 78, 72)),
    *((160, 68), (128, 64), (96, 60), (64, 50)),
)
PROBED = 6  # sheets encoded to estimate a step's size
WEBP_LIMIT_PX = 16_383
SMALL_TILE_PX = 96  # smaller tiles are enlarged without smoothing


@dataclass
class Sheet:
    """One grid file: its number on the page, its shape in tiles, its pixels (tiles at most STEPS[0] px)."""

    number: int
    columns: int
    rows: int
    tile_px: int
    image: Image.Image
    as_it_is: bytes | None  # a small WebP is embedded unchanged

    @property
    def name(self) -> str:
        return f"s{self.number}"


@dataclass
class Sheets:
    """All grids of a page. Equal files (the base's, shared by every run) are one sheet."""

    found: dict[tuple[str, int, int], Sheet] = field(default_factory=dict)

    def add(self, folder: Path, grid: Grid) -> Sheet:
        """Read a grid of the run in `folder`. Raises NotFound, ChecksumMismatch or BadDocument naming the file."""
        path = folder / grid.file.path
        if not path.is_file():
            raise NotFound(f"{path}: this grid is missing. Copy it again from where the run was made.")
        if sha256_file(path) != grid.file.sha256:
            raise ChecksumMismatch(
                f"{path}: its checksum differs from run.json. Copy it again from where the run was made."
            )
        key = (grid.file.sha256, grid.columns, grid.rows)
        if key not in self.found:
            self.found[key] = _read(path, grid, len(self.found))
        return self.found[key]

    def style(self, budget_bytes: int = BUDGET_BYTES, progress: Progress = silent) -> str:
        """Return CSS rules with every sheet as a data URI, at the best quality within the budget."""
        sheets = list(self.found.values())
        encoded: list[bytes] = []
        for step in STEPS:
            if step != STEPS[-1] and _expected_bytes(sheets, step) > budget_bytes:
                continue
            encoded = []
            for done, sheet in enumerate(sheets):
                progress("embedding grids", done, len(sheets), f"quality {step[1]}")
                encoded.append(_encode(sheet, *step))
            if sum(map(len, encoded)) <= budget_bytes:
                break
        progress("embedding grids", len(sheets), len(sheets))
        return "\n".join(_rule(sheet, content) for sheet, content in zip(sheets, encoded, strict=True))


def _read(path: Path, grid: Grid, number: int) -> Sheet:
    try:
        with Image.open(path) as file:
            image, is_webp = file.convert("RGB"), file.format == "WEBP"
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise BadDocument(
            f"{path}: not a readable image ({error}). Copy it again from where the run was made."
        ) from error
    if image.size != (grid.columns * grid.tile_px, grid.rows * grid.tile_px):
        raise BadDocument(
            f"{path}: {image.width}x{image.height} px, but run.json says {grid.columns}x{grid.rows} tiles of "
            f"{grid.tile_px} px. Copy it again from where the run was made."
        )
    tile_px = min(grid.tile_px, STEPS[0][0], WEBP_LIMIT_PX // max(grid.rows, grid.columns))
    as_it_is = path.read_bytes() if is_webp and tile_px == grid.tile_px else None
    image = _resized(image, grid.columns, grid.rows, grid.tile_px, tile_px)
    return Sheet(number, grid.columns, grid.rows, tile_px, image, as_it_is)


def _resized(image: Image.Image, columns: int, rows: int, from_px: int, to_px: int) -> Image.Image:
    """Scale tiles one by one, so none bleeds into its neighbour."""
    if from_px == to_px:
        return image
    scaled = Image.new("RGB", (columns * to_px, rows * to_px))
    for row in range(rows):
        for column in range(columns):
            box = (column * from_px, row * from_px, (column + 1) * from_px, (row + 1) * from_px)
            tile = image.resize((to_px, to_px), Image.Resampling.LANCZOS, box=box)
            scaled.paste(tile, (column * to_px, row * to_px))
    return scaled


def _expected_bytes(sheets: list[Sheet], step: tuple[int, int]) -> float:
    """Estimate the size of all sheets at a step from a few of them."""
    probed = sheets[:: max(1, len(sheets) // PROBED)]
    pixels = sum(sheet.image.width * sheet.image.height for sheet in sheets)
    seen = sum(sheet.image.width * sheet.image.height for sheet in probed)
    return sum(len(_encode(sheet, *step)) for sheet in probed) * pixels / max(seen, 1)


def _encode(sheet: Sheet, largest_px: int, quality: int) -> bytes:
    tile_px = min(sheet.tile_px, largest_px)
    image = _resized(sheet.image, sheet.columns, sheet.rows, sheet.tile_px, tile_px)
    buffer = io.BytesIO()
    if quality == LOSSLESS:
        image.save(buffer, "WEBP", lossless=True, method=4)
    else:
        image.save(buffer, "WEBP", quality=quality, method=4)
    content = buffer.getvalue()
    unchanged = sheet.as_it_is if tile_px == sheet.tile_px else None
    return content if unchanged is None or len(unchanged) > len(content) else unchanged


def _rule(sheet: Sheet, content: bytes) -> str:
    uri = f"data:image/webp;base64,{base64.b64encode(content).decode()}"
    crisp = ";--crisp:pixelated" if sheet.tile_px <= SMALL_TILE_PX else ""
    return f".{sheet.name}{{--w:{sheet.columns};--h:{sheet.rows}{crisp};background-image:url({uri})}}"
