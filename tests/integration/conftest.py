import os
from collections.abc import Iterator

import pytest

from demo.place import PORTS
from tests.integration.checkout import ROOT, Checkout, taken_port
from tests.integration.product import Product, Run


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


@pytest.fixture(scope="session")
def first_run(product: Product) -> Run:
    """The first version's run, which every later one is compared with."""
    return product.ended(product.trigger())


@pytest.fixture
def live(product: Product, first_run: Run) -> Product:
    """The product while a version serves and nothing else is under way."""
    assert product.serving_version() == str(product.ledger.champion("trip_delay").version)
    return product
