"""Contact sheets: tiles with prompts on the left and seeds above."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

GAP_PX = 8
SMALLEST_TILE_PX = 128  # Smaller tiles are enlarged without smoothing.
INK, GREY, PAPER = "#1c1c1c", "#6b6b6b", "#ffffff"
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def contact_sheet(
    tiles_PSHWC: Tensor, rows: Sequence[str], columns: Sequence[str], title: str, detail: str = ""
) -> Image.Image:
    """Return uint8 tiles (P rows, S columns, H, W, 3) as one labelled image."""
    height, width = tiles_PSHWC.shape[2:4]
    scale = max(1, -(-SMALLEST_TILE_PX // width))
    tile_width, tile_height = width * scale, height * scale
    text_px = min(max(13, tile_width // 14), 22)
    font, bold = ImageFont.load_default(text_px), ImageFont.load_default(text_px + 3)
    label_px = max(170, tile_width // 2)
    top_px = GAP_PX * 4 + text_px * 3
    size = (
        label_px + len(columns) * (tile_width + GAP_PX) + 2 * GAP_PX,
        top_px + len(rows) * (tile_height + GAP_PX) + GAP_PX,
    )
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP_PX, GAP_PX), shortened(title, size[0] - 2 * GAP_PX, bold), INK, bold)
    draw.text((GAP_PX, GAP_PX + text_px * 1.6), detail, GREY, font)
    for column, label in enumerate(columns):
        left = GAP_PX + label_px + column * (tile_width + GAP_PX)
        draw.text((left, top_px - text_px * 1.4), shortened(label, tile_width, font), GREY, font)
    for row, label in enumerate(rows):
        top = top_px + row * (tile_height + GAP_PX)
        lines = wrapped(label, label_px - 2 * GAP_PX, font, max(1, int(tile_height // (text_px * 1.3))))
        draw.multiline_text((GAP_PX, top), "\n".join(lines), INK, font, spacing=text_px * 0.25)
        for column in range(len(columns)):
            tile = Image.fromarray(tiles_PSHWC[row, column].numpy())
            tile = tile.resize((tile_width, tile_height), Image.Resampling.NEAREST)
            sheet.paste(tile, (GAP_PX + label_px + column * (tile_width + GAP_PX), top))
    return sheet


def wrapped(text: str, width_px: float, font: Font, most: int) -> list[str]:
    """Wrap the text to this width. Cut longer words, and lines past `most`."""
    lines: list[str] = []
    words = (text or "(no words)").split()
    while words:
        line = words.pop(0)
        while words and font.getlength(f"{line} {words[0]}") <= width_px:
            line += f" {words.pop(0)}"
        lines.append(shortened(line, width_px, font))
        if len(lines) == most and words:
            lines[-1] = shortened(f"{lines[-1].removesuffix('…')} …", width_px, font)
            break
    return lines


def shortened(text: str, width_px: float, font: Font) -> str:
    """Cut the text to this width, with an ellipsis."""
    if font.getlength(text) <= width_px:
        return text
    while text and font.getlength(f"{text}…") > width_px:
        text = text[:-1]
    return f"{text.rstrip()}…"
