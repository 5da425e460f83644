"""BLIP's vision tower and text decoder (Li et al. 2022) over transformers' weights, with fused attention.

It computes the same function as `BlipForConditionalGeneration`, faster. Attention is torch's fused kernel, a decoder
layer's query, key and value are one product, the image's keys and values are computed once for all steps, and the
caller allocates the caches, so that every step has the fixed shapes and addresses that CUDA graphs need.

Shapes: B images, G beams, R = B * G rows, T image tokens (class token first), L text length in tokens, N text tokens
read at once, D width, H heads, K width of a head, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

Activation = Callable[[Tensor], Tensor]


class Affine(NamedTuple):
    """x -> x @ weight.T + bias."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self.bias)


class Norm(NamedTuple):
    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class VisionLayer(NamedTuple):
    """A pre-norm transformer layer."""

    norm1: Norm
    qkv: Affine
    projection: Affine
    norm2: Norm
    inner: Affine
    outer: Affine


class TextLayer(NamedTuple):
    """A post-norm transformer layer: self-attention, cross-attention to the image, feed-forward."""

    qkv: Affine
    attended: Affine
    attended_norm: Norm
    query: Affine
    key_value: Affine
    crossed: Affine
    crossed_norm: Norm
    inner: Affine
    outer: Affine
    outer_norm: Norm


@dataclass(frozen=True)
class Tower:
    scale_C11: Tensor
    shift_C11: Tensor
    patch: Affine
    patch_px: int
    class_1D: Tensor
    positions_TD: Tensor
    layers: tuple[VisionLayer, ...]
    last_norm: Norm
    heads: int
    activation: Activation

    def __call__(self, pixels_BCHW: Tensor) -> Tensor:
        """Encode uint8 pixels (B, 3, side, side) as image tokens (B, T, D)."""
        hidden_BTD = self._tokens(pixels_BCHW)
        for layer in self.layers:
            mixed_3BHTK = split_heads(layer.qkv(layer.norm1(hidden_BTD)), 3, self.heads)
            hidden_BTD = hidden_BTD + layer.projection(attend(*mixed_3BHTK))
            hidden_BTD = hidden_BTD + layer.outer(self.activation(layer.inner(layer.norm2(hidden_BTD))))
        return self.last_norm(hidden_BTD)

    def _tokens(self, pixels_BCHW: Tensor) -> Tensor:
        """Embed patches. Pixels are normalised here, so that only a byte a value is copied to the device."""
        batch, channels, side, _ = pixels_BCHW.shape
        patches = side // self.patch_px
        normal_BCHW = (pixels_BCHW.float() * self.scale_C11 - self.shift_C11).to(self.patch.weight.dtype)
        cut = normal_BCHW.view(batch, channels, patches, self.patch_px, patches, self.patch_px)
        cut_BTP = cut.permute(0, 2, 4, 1, 3, 5).reshape(batch, patches * patches, -1)
        first_B1D = self.class_1D.expand(batch, 1, -1)
        return torch.cat([first_B1D, self.patch(cut_BTP)], dim=1) + self.positions_TD


@dataclass(frozen=True)
class Decoder:
    """The text decoder, from text tokens and the image's keys and values to scores of the next token.

    If not `fused`, attention is two batched products, whose rows are equal to the bit. Torch's fused CPU kernel gives
    rows to threads whose arithmetic differs.
    """

    words_VD: Tensor
    positions_LD: Tensor
    first_norm: Norm
    layers: tuple[TextLayer, ...]
    heads: int
    activation: Activation
    head_inner: Affine
    head_norm: Norm
    head_outer: Affine
    fused: bool

    def new_cache(self, rows: int, length: int) -> Tensor:
        """Allocate keys and values of `length` text or image tokens: zeros (layers, 2, R, H, L, K)."""
        size = (len(self.layers), 2, rows, self.heads, length, self.words_VD.shape[1] // self.heads)
        return self.words_VD.new_zeros(size)

    def encode_images(self, image_BTD: Tensor, image_cache: Tensor) -> None:
        """Write each layer's keys and values of the image tokens into `image_cache` (layers, 2, B, H, T, K)."""
        for layer, cache_2BHTK in zip(self.layers, image_cache, strict=True):
            cache_2BHTK.copy_(split_heads(layer.key_value(image_BTD), 2, self.heads))

    def forward(self, tokens_RN: Tensor, start: int, cache: Tensor, image_cache: Tensor) -> Tensor:
        """Read N tokens from position `start` (N > 1 only at 0), and write their keys and values into `cache`.

        Returns hidden states (R, N, D). If `image_cache` has fewer images than rows, rows are beams, adjacent for each
        image.
        """
        end = start + tokens_RN.shape[1]
        hidden = self.first_norm(functional.embedding(tokens_RN, self.words_VD) + self.positions_LD[start:end])
        for layer, cache_2RHLK, image_2BHTK in zip(self.layers, cache, image_cache, strict=True):
            query, key, value = split_heads(layer.qkv(hidden), 3, self.heads)
            cache_2RHLK[0, :, :, start:end] = key
            cache_2RHLK[1, :, :, start:end] = value
            keys, values = cache_2RHLK[:, :, :, :end]
            context = self._attend(query, keys, values, causal=end - start > 1)
            hidden = layer.attended_norm(layer.attended(context) + hidden)
            hidden = layer.crossed_norm(layer.crossed(self._cross(layer.query(hidden), image_2BHTK)) + hidden)
            hidden = layer.outer_norm(layer.outer(self.activation(layer.inner(hidden))) + hidden)
        return hidden

    def _cross(self, query_RND: Tensor, image_2BHTK: Tensor) -> Tensor:
        """Attend to the image. Beams are further queries of their image, whose keys are read once for all."""
        rows, count, width = query_RND.shape
        batch = image_2BHTK.shape[1]
        query_BHNK = query_RND.view(batch, rows // batch * count, self.heads, -1).transpose(1, 2)
        return self._attend(query_BHNK, image_2BHTK[0], image_2BHTK[1]).view(rows, count, width)

    def _attend(self, query_BHNK: Tensor, key_BHTK: Tensor, value_BHTK: Tensor, causal: bool = False) -> Tensor:
        attention = attend if self.fused else attend_by_products
        return attention(query_BHNK, key_BHTK, value_BHTK, causal)

    def scores(self, hidden: Tensor) -> Tensor:
        """Convert hidden states (..., D) to logits (..., V), always float32."""
        return self.head_outer(self.head_norm(self.activation(self.head_inner(hidden)))).float()


@dataclass(frozen=True)
class Network:
    tower: Tower
    decoder: Decoder
    side_px: int
    begin_token: int
    end_token: int
    pad_token: int

    @property
    def device(self) -> torch.device:
        return self.decoder.words_VD.device

    @property
    def image_tokens(self) -> int:
        return len(self.tower.positions_TD)

    @property
    def max_text_tokens(self) -> int:
        return len(self.decoder.positions_LD)


def attend(query_BHNK: Tensor, key_BHTK: Tensor, value_BHTK: Tensor, causal: bool = False) -> Tensor:
    """Compute scaled dot-product attention and join the heads: (B, N, D)."""
    context_BHNK = functional.scaled_dot_product_attention(query_BHNK, key_BHTK, value_BHTK, is_causal=causal)
    return context_BHNK.transpose(1, 2).flatten(2)


def attend_by_products(query_BHNK: Tensor, key_BHTK: Tensor, value_BHTK: Tensor, causal: bool = False) -> Tensor:
    scores_BHNT = query_BHNK @ key_BHTK.transpose(-1, -2) * (1 / math.sqrt(query_BHNK.shape[-1]))
    if causal:
        later_NT = torch.ones(scores_BHNT.shape[-2:], dtype=torch.bool, device=scores_BHNT.device).triu(1)
        scores_BHNT = scores_BHNT.masked_fill(later_NT, -torch.inf)
    return (scores_BHNT.softmax(-1) @ value_BHTK).transpose(1, 2).flatten(2)


def split_heads(mixed_BTX: Tensor, parts: int, heads: int) -> Tensor:
    """View (B, T, parts * D) as (parts, B, H, T, K)."""
    batch, count, _ = mixed_BTX.shape
    return mixed_BTX.view(batch, count, parts, heads, -1).permute(2, 0, 3, 1, 4)


def from_transformers(model: Any, mean: Sequence[float], std: Sequence[float], rescale: float) -> Network:
    """Wrap a `BlipForConditionalGeneration`, sharing weights where possible. `mean`, `std`: of the pixels."""
    text = model.config.text_config
    return Network(
        tower=_tower(model.vision_model, mean, std, rescale),
        decoder=_decoder(model.text_decoder),
        side_px=int(model.config.vision_config.image_size),
        begin_token=int(text.bos_token_id),
        end_token=int(text.sep_token_id),
        pad_token=int(text.pad_token_id),
    )


def _tower(vision: Any, mean: Sequence[float], std: Sequence[float], rescale: float) -> Tower:
    embeddings, config = vision.embeddings, vision.config
    weight = embeddings.patch_embedding.weight.detach()
    std_C11 = torch.tensor(std, dtype=torch.float32, device=weight.device).view(-1, 1, 1)
    mean_C11 = torch.tensor(mean, dtype=torch.float32, device=weight.device).view(-1, 1, 1)
    return Tower(
        scale_C11=rescale / std_C11,
        shift_C11=mean_C11 / std_C11,
        patch=Affine(weight.flatten(1), embeddings.patch_embedding.bias.detach()),
        patch_px=weight.shape[-1],
        class_1D=embeddings.class_embedding.detach()[0],
        positions_TD=embeddings.position_embedding.detach()[0],
        layers=tuple(_vision_layer(layer) for layer in vision.encoder.layers),
        last_norm=_norm(vision.post_layernorm),
        heads=config.num_attention_heads,
        activation=_activation(config.hidden_act),
    )


def _vision_layer(layer: Any) -> VisionLayer:
    return VisionLayer(
        norm1=_norm(layer.layer_norm1),
        qkv=_affine(layer.self_attn.qkv),
        projection=_affine(layer.self_attn.projection),
        norm2=_norm(layer.layer_norm2),
        inner=_affine(layer.mlp.fc1),
        outer=_affine(layer.mlp.fc2),
    )


def _decoder(text: Any) -> Decoder:
    embeddings, head, config = text.bert.embeddings, text.cls.predictions, text.config
    return Decoder(
        words_VD=embeddings.word_embeddings.weight.detach(),
        positions_LD=embeddings.position_embeddings.weight.detach(),
        first_norm=_norm(embeddings.LayerNorm),
        layers=tuple(_text_layer(layer) for layer in text.bert.encoder.layer),
        heads=config.num_attention_heads,
        activation=_activation(config.hidden_act),
        head_inner=_affine(head.transform.dense),
        head_norm=_norm(head.transform.LayerNorm),
        head_outer=_affine(head.decoder),
        fused=head.decoder.weight.device.type != "cpu",
    )


def _text_layer(layer: Any) -> TextLayer:
    attention, cross = layer.attention, layer.crossattention
    return TextLayer(
        qkv=_affine(attention.self.query, attention.self.key, attention.self.value),
        attended=_affine(attention.output.dense),
        attended_norm=_norm(attention.output.LayerNorm),
        query=_affine(cross.self.query),
        key_value=_affine(cross.self.key, cross.self.value),
        crossed=_affine(cross.output.dense),
        crossed_norm=_norm(cross.output.LayerNorm),
        inner=_affine(layer.intermediate.dense),
        outer=_affine(layer.output.dense),
        outer_norm=_norm(layer.output.LayerNorm),
    )


def _affine(*modules: nn.Linear) -> Affine:
    if len(modules) == 1:
        bias = modules[0].bias
        return Affine(modules[0].weight.detach(), None if bias is None else bias.detach())
    weight = torch.cat([module.weight.detach() for module in modules])
    return Affine(weight, torch.cat([module.bias.detach() for module in modules]))


def _norm(module: nn.LayerNorm) -> Norm:
    return Norm(module.weight.detach(), module.bias.detach(), module.eps)


def _activation(name: str) -> Activation:
    """Return the activation of transformers' name; its `gelu` is torch's exact one."""
    if name == "gelu":
        return functional.gelu
    from transformers.activations import ACT2FN

    activation: Activation = ACT2FN[name]
    return activation
