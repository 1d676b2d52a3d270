from collections.abc import Iterator
from typing import NamedTuple

import pytest

from contract.documents import Image
from tests.integration.checkout import ROOT, Checkout
from tests.integration.product import MODEL, Product, Run, running


@pytest.fixture(scope="session")
def product() -> Iterator[Product]:
    """All services, running; nothing is live yet. They are stopped at the end, and what they wrote stays for people to read."""
    with running(Checkout(ROOT / ".build/integration/checkout")) as product:
        yield product


class First(NamedTuple):
    """How the first version's run ended, and what there was right after it."""

    run: Run
    champion: Image | None
    alias: int | None
    serving: str


@pytest.fixture(scope="session")
def first(product: Product) -> First:
    """Every later version is compared with this one."""
    run = product.ended(product.trigger())
    return First(run, product.ledger.champion(MODEL), product.alias.get(MODEL), product.serving_version())


@pytest.fixture
def live(product: Product, first: First) -> Product:
    """The product while a version serves and nothing else is under way."""
    assert product.serving_version() == str(product.ledger.champion(MODEL).version)
    return product
