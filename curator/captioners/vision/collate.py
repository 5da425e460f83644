"""Stack the inputs of single images into batches.

Text is padded on the side that the model supports. Images are never padded; other shapes go into other batches. So a
neighbour changes only the last bits of a sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

Inputs = Mapping[str, Any]
"""A processor's output for one image and prompt: tensors by the names of the model's arguments."""

Padding = Literal["left", "right", "none"]

TOKENS = "input_ids"
TEXTS = (TOKENS, "attention_mask", "token_type_ids", "mm_token_type_ids")
"""Inputs of shape (1, text length)."""


def groups(prepared: Sequence[Inputs], padding: Padding) -> list[list[int]]:
    by_shape: dict[Any, list[int]] = {}
    for index, inputs in enumerate(prepared):
        by_shape.setdefault(_shape_key(inputs, padding, index), []).append(index)
    return list(by_shape.values())


def _shape_key(inputs: Inputs, padding: Padding, index: int) -> Any:
    """Return equal keys for stackable inputs. Other than text, inputs may differ in the first dimension (patches)."""
    shape: list[Any] = []
    for name, value in sorted(inputs.items()):
        if not isinstance(value, Tensor):
            shape.append((name, index))
        elif name in TEXTS:
            shape.append((name, None if padding != "none" else tuple(value.shape)))
        else:
            shape.append((name, value.dtype, tuple(value.shape[1:])))
    return tuple(shape)


def stack(prepared: Sequence[Inputs], padding: Padding, pad_token: int) -> dict[str, Any]:
    if len(prepared) == 1:
        return dict(prepared[0])
    stacked: dict[str, Any] = {}
    for name in prepared[0]:
        values = [inputs[name] for inputs in prepared]
        if name in TEXTS:
            values = _padded(values, pad_token if name == TOKENS else 0, padding)
        stacked[name] = torch.cat(values)
    return stacked


def _padded(rows: Sequence[Tensor], fill: int, padding: Padding) -> list[Tensor]:
    longest = max(row.shape[1] for row in rows)
    widths = [longest - row.shape[1] for row in rows]
    sides = [(width, 0) if padding == "left" else (0, width) for width in widths]
    return [torch.nn.functional.pad(row, side, value=fill) for row, side in zip(rows, sides, strict=True)]
