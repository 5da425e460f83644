"""From the inputs of single pictures to batches: what can be stacked together, and how.

A processor is called a picture at a time, on the threads that prepare. Texts are padded, on the side the model bears;
pictures never: those of other shapes go into another batch. So a neighbour changes nothing but the last bits of a sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

Inputs = Mapping[str, Any]
"""What a processor makes of one picture and its prompt: tensors by the names of the model's arguments."""

Padding = Literal["left", "right", "none"]

TOKENS = "input_ids"
TEXTS = (TOKENS, "attention_mask", "token_type_ids", "mm_token_type_ids")
"""Inputs as long as the text: (1, length) each."""


def groups(prepared: Sequence[Inputs], padding: Padding) -> list[list[int]]:
    """The places of those that can be stacked, group by group, in order of appearance."""
    found: dict[Any, list[int]] = {}
    for place, inputs in enumerate(prepared):
        found.setdefault(_shape_of(inputs, padding, place), []).append(place)
    return list(found.values())


def _shape_of(inputs: Inputs, padding: Padding, place: int) -> Any:
    """Equal where two can be stacked. Where it isn't text, the first dimension counts pictures or patches: any goes."""
    shape: list[Any] = []
    for name, value in sorted(inputs.items()):
        if not isinstance(value, Tensor):
            shape.append((name, place))
        elif name in TEXTS:
            shape.append((name, None if padding != "none" else tuple(value.shape)))
        else:
            shape.append((name, value.dtype, tuple(value.shape[1:])))
    return tuple(shape)


def stack(prepared: Sequence[Inputs], padding: Padding, pad_token: int) -> dict[str, Any]:
    """The inputs of several as one batch."""
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
