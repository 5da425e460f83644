"""Stateless randomness: reference values, statistics, and that nothing but the key matters."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer_client.randomness import integers, key, keys, normal, order, uniform, words

SHA256S = [f"{number:064x}" for number in range(2000)]
GOLDEN_KEY = -4167712923227041216
GOLDEN_UNIFORM = [0.8357022404670715, 0.6104304194450378, 0.6741019487380981]
GOLDEN_NORMAL = [0.4867651, 0.3370619, 0.3493213, -0.9346502]
GOLDEN_INTEGER = 835
GOLDEN_ORDER = [0, 5, 4, 2, 3, 7, 6, 1]


def test_words_are_splitmix64() -> None:
    """The first outputs of the reference implementation for the seeds 1234567 and 0."""
    reference = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [int(word) % 2**64 for word in words(torch.tensor([1234567]), 5)[0]] == reference
    assert int(words(torch.tensor([0]), 1)[0, 0]) % 2**64 == 0xE220A8397B1DCDAF


def test_golden_values() -> None:
    """A change of these changes every run: resumed runs would go on with other noise."""
    one = key(7, "noise", 3, 0, "ab" * 32)
    keys_B = torch.tensor([one])
    assert one == GOLDEN_KEY
    assert uniform(keys_B, 3)[0].tolist() == GOLDEN_UNIFORM
    assert normal(keys_B, (4,))[0].tolist() == pytest.approx(GOLDEN_NORMAL, abs=1e-6)
    assert integers(keys_B, 1000).tolist() == [GOLDEN_INTEGER]
    assert order(SHA256S[:8], seed=1, epoch=2) == GOLDEN_ORDER


def test_every_part_of_a_key_matters() -> None:
    one = key(1, "noise", 2, 3, "a")
    others = [key(2, "noise", 2, 3, "a"), key(1, "flip", 2, 3, "a"), key(1, "noise", 3, 3, "a")]
    others += [key(1, "noise", 2, 4, "a"), key(1, "noise", 2, 3, "b"), key(12, "noise", 3, 3, "a")]
    assert len({one, *others}) == 7
    assert all(-(2**63) <= value < 2**63 for value in others)


@given(st.integers(1, 9), st.integers(0, 8), st.integers(1, 33))
def test_neighbours_in_the_batch_dont_matter(batch: int, place: int, n: int) -> None:
    keys_B = keys(0, "noise", 1, 0, SHA256S[:batch])
    alone = keys_B[place % batch][None]
    assert torch.equal(normal(keys_B, (n,))[place % batch], normal(alone, (n,))[0])
    assert torch.equal(uniform(keys_B, n)[place % batch], uniform(alone, n)[0])
    assert torch.equal(integers(keys_B, 999)[place % batch], integers(alone, 999)[0])


def test_uniform_begins_alike_however_many_are_asked_for() -> None:
    keys_B = keys(0, "dropout", 1, 0, SHA256S[:3])
    assert torch.equal(uniform(keys_B, 2), uniform(keys_B, 50)[:, :2])


def test_shapes_also_odd_and_empty() -> None:
    keys_B = keys(0, "noise", 0, 0, SHA256S[:2])
    assert normal(keys_B, (3, 5, 7)).shape == (2, 3, 5, 7)
    assert normal(keys_B, ()).shape == (2,)
    assert normal(keys_B[:0], (4, 8, 8)).shape == (0, 4, 8, 8)
    assert uniform(keys_B, 0).shape == (2, 0)


def test_normal_is_normal() -> None:
    """Mean, variance, skewness, kurtosis and tails of two million numbers, within five standard errors."""
    draws = normal(keys(3, "noise", 0, 0, SHA256S), (1000,)).double().flatten()
    error = 5 / math.sqrt(len(draws))
    assert abs(draws.mean()) < error
    assert abs(draws.var() - 1) < error * math.sqrt(2)
    assert abs((draws**3).mean()) < error * math.sqrt(15)
    assert abs((draws**4).mean() - 3) < error * math.sqrt(96)
    for limit, share in ((1.0, 0.317311), (2.0, 0.0455003), (3.0, 0.0026998)):
        assert abs((draws.abs() > limit).double().mean() - share) < error * math.sqrt(share)
    assert draws.isfinite().all()


def test_draws_are_independent() -> None:
    """Between the numbers of one image (also the two that one word gives), between images, epochs and purposes."""
    one = normal(keys(3, "noise", 0, 0, SHA256S), (500,))
    pairs = {
        "neighbours": (one[:, :-1], one[:, 1:]),
        "sine and cosine": (one[:, :250], one[:, 250:]),
        "squares of them": (one[:, :250] ** 2 - 1, one[:, 250:] ** 2 - 1),
        "images": (one[:-1], one[1:]),
        "epochs": (one, normal(keys(3, "noise", 1, 0, SHA256S), (500,))),
        "purposes": (one, normal(keys(3, "latent", 0, 0, SHA256S), (500,))),
    }
    for name, (first, second) in pairs.items():
        correlation = torch.corrcoef(torch.stack((first.flatten(), second.flatten())).double())[0, 1]
        assert abs(correlation) < 5 / math.sqrt(first.numel()), name


def test_uniform_and_integers_are_flat() -> None:
    draws = uniform(keys(5, "dropout", 0, 0, SHA256S), 500).flatten()
    assert draws.min() >= 0 and draws.max() < 1
    counts = torch.histc(draws, bins=100, min=0, max=1)
    chi_squared = float(((counts - 10_000) ** 2 / 10_000).sum())
    assert chi_squared < 99 + 5 * math.sqrt(2 * 99)
    steps = integers(keys(5, "timestep", 0, 0, SHA256S), 10)
    counts = torch.bincount(steps, minlength=10).double()
    assert len(counts) == 10
    assert float(((counts - 200) ** 2 / 200).sum()) < 9 + 5 * math.sqrt(18)


@pytest.mark.parametrize("high", [0, -1, 2**31 + 1])
def test_integers_refuses_what_it_cannot_draw(high: int) -> None:
    with pytest.raises(ValueError, match="between 1 and"):
        integers(torch.tensor([1]), high)


def test_integers_at_the_limits() -> None:
    keys_B = keys(0, "x", 0, 0, SHA256S)
    assert integers(keys_B, 1).tolist() == [0] * len(SHA256S)
    high = integers(keys_B, 2**31)
    assert int(high.min()) >= 0 and 2**31 * 0.99 < int(high.max()) < 2**31


def test_order_of_two_images_does_not_depend_on_the_others() -> None:
    full = [SHA256S[i] for i in order(SHA256S[:50], seed=4, epoch=9)]
    some = SHA256S[10:30][::-1]
    assert [some[i] for i in order(some, seed=4, epoch=9)] == [sha256 for sha256 in full if sha256 in some]
    assert order(SHA256S[:50], seed=4, epoch=10) != order(SHA256S[:50], seed=4, epoch=9)
    assert sorted(order(SHA256S[:50], seed=4, epoch=9)) == list(range(50))


@pytest.mark.gpu
def test_equal_on_the_gpu() -> None:
    keys_B = keys(0, "noise", 0, 0, SHA256S[:64])
    on_gpu_B = keys_B.cuda()
    assert torch.equal(words(keys_B, 100), words(on_gpu_B, 100).cpu())
    assert torch.equal(uniform(keys_B, 100), uniform(on_gpu_B, 100).cpu())
    assert torch.equal(integers(keys_B, 1000), integers(on_gpu_B, 1000).cpu())
    assert torch.allclose(normal(keys_B, (4, 64, 64)), normal(on_gpu_B, (4, 64, 64)).cpu(), atol=2e-6, rtol=2e-6)
