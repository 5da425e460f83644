"""Stateless random numbers: a pure function of a key, whatever the position, batch, device or earlier calls.

A key is 64 bits of (run seed, purpose, epoch, repeat, image sha256). Its n-th number is the SplitMix64 finaliser of key
+ (n + 1) * gamma (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014). So resuming
needs no state, the number of devices changes nothing, and two tracks train on the same noise. Integer arithmetic is
exact on every device; log, sin and cos in `normal` may differ in the last bit.

Shapes: B keys. `normal` launches about 30 kernels whatever its size.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

GAMMA = 0x9E3779B97F4A7C15 - (1 << 64)  # as int64
MIX_1 = 0xBF58476D1CE4E5B9 - (1 << 64)
MIX_2 = 0x94D049BB133111EB - (1 << 64)
LOW_24_BITS = (1 << 24) - 1
UNIT = 2.0**-24


def key(seed: int, purpose: str, epoch: int, repeat: int, sha256: str) -> int:
    """Return the 64-bit key as a signed integer. `sha256` may be any text."""
    text = f"{seed}\0{purpose}\0{epoch}\0{repeat}\0{sha256}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little", signed=True)


def keys(
    seed: int,
    purpose: str,
    epoch: int,
    repeat: int,
    sha256s: Sequence[str],
    device: torch.device | str | None = None,
) -> Tensor:
    """Return int64 (B,)."""
    return torch.tensor([key(seed, purpose, epoch, repeat, sha256) for sha256 in sha256s], dtype=torch.int64).to(device)


def words(keys_B: Tensor, n: int) -> Tensor:
    """Return the first n 64-bit words per key: int64 (B, n)."""
    counters_N = torch.arange(1, n + 1, dtype=torch.int64, device=keys_B.device).mul_(GAMMA)
    z_BN = keys_B[:, None] + counters_N
    z_BN = z_BN.bitwise_xor_(_shift(z_BN, 30)).mul_(MIX_1)
    z_BN = z_BN.bitwise_xor_(_shift(z_BN, 27)).mul_(MIX_2)
    return z_BN.bitwise_xor_(_shift(z_BN, 31))


def _shift(z: Tensor, bits: int) -> Tensor:
    """Shift right logically; torch's own operator keeps the sign."""
    return (z >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def uniform(keys_B: Tensor, n: int) -> Tensor:
    """Return float32 (B, n) in [0, 1), multiples of 2^-24; equal on every device."""
    return _shift(words(keys_B, n), 40).float().mul_(UNIT)


def normal(keys_B: Tensor, shape: Sequence[int]) -> Tensor:
    """Return standard normal noise, float32 (B, *shape), equal on every device to rounding; at most 5.77.

    Box and Muller (1958): one 64-bit word gives two 24-bit uniforms, and so two normals.
    """
    count = math.prod(shape)
    words_BH = words(keys_B, (count + 1) // 2)
    radius_BH = _shift(words_BH, 40).add_(1).float().mul_(UNIT).log_().mul_(-2.0).sqrt_()  # in (0, 1]: log(0) is -inf
    angle_BH = words_BH.bitwise_and_(LOW_24_BITS).float().mul_(2.0 * math.pi * UNIT)
    normals_BN = torch.cat((radius_BH * angle_BH.cos(), radius_BH * angle_BH.sin()), dim=1)
    return normals_BN[:, :count].reshape(len(keys_B), *shape)


def integers(keys_B: Tensor, high: int) -> Tensor:
    """Return int64 (B,) in [0, high), high up to 2^31; equal on every device.

    Multiplication instead of a remainder (Lemire 2019): the bias is below high / 2^32.
    """
    if not 0 < high <= 1 << 31:
        raise ValueError(f"high is {high}; it must be between 1 and 2^31.")
    return _shift(_shift(words(keys_B, 1)[:, 0], 32) * high, 32)


def order(sha256s: Sequence[str], seed: int, epoch: int, repeat: int = 0) -> list[int]:
    """Return the epoch's order as indices into `sha256s`, sorted by hash.

    Two images keep their order in a larger or reordered set.
    """
    return sorted(range(len(sha256s)), key=lambda i: (key(seed, "order", epoch, repeat, sha256s[i]), sha256s[i]))
