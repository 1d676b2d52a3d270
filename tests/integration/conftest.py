import os
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from contract.documents import Image
from demo.place import PORTS
from tests.integration.checkout import ROOT, Checkout, taken_port
from tests.integration.product import MODEL, Product, Run


@pytest.fixture(scope="session")
def product() -> Iterator[Product]:
    """All services, running; nothing is live yet. They are stopped at the end, and what they wrote stays for people to read."""
    port = taken_port()
    if port:
        told = f"port {port}, which {PORTS[port]} needs, is taken: stop its owner (`make stop`, if it is the demo) and try again"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(told)
    checkout = Checkout(ROOT / ".build/integration/checkout")
    checkout.make()
    product = Product(checkout)
    try:
        product.start()
        yield product
    finally:
        left = checkout.end()
    assert left == [], "make stop left processes"


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
