"""What the demo reads of the product: the ledger, documents, and rows to send to a live model."""

from pathlib import Path
from typing import TypeVar

from contract import documents
from contract.base_model import Strict
from contract.documents import GoldenRows, Image
from contract.platform import Platform, load_platform
from contract.store.factory import store_at
from demo.paths import HOME, platform
from demo.platforms import cluster
from release.ledger.ledger import Ledger

Document = TypeVar("Document", bound=Strict)


class Live:
    """Platform, store and ledger of the demo."""

    def __init__(self) -> None:
        cluster.find_hdfs()
        self.platform: Platform = load_platform(platform(), HOME)
        self.store = store_at(self.platform.store)
        self.ledger = Ledger(self.store)

    def champion(self, model: str) -> Image | None:
        return self.ledger.champion(model)

    def document(self, path: str, kind: type[Document]) -> Document:
        return documents.read(self.store, path, kind)

    def golden_rows(self, model: str) -> GoldenRows:
        """The golden rows of the newest check: real rows, to be sent to a live model."""
        paths = (entry.state.active.request.golden for entry in self.ledger.entries(model) if entry.state.active)
        return self.document(next(path for path in paths if path), GoldenRows)

    def url(self, model: str) -> str:
        return f"{self.platform.serving.url}/{model}/invocations"

    def newest_job_log(self) -> Path | None:
        logs = sorted(HOME.glob("logs/spark/*/*.log"), key=lambda path: path.stat().st_mtime)
        return logs[-1] if logs else None
