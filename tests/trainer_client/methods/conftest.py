"""Short runs needn't time the device for long."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="package", autouse=True)
def quick() -> Iterator[None]:
    """One timed call of each thing at the start of a run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainer_client.train.preparation.SHORT_BUDGET_SECONDS", 0.0)
        yield
