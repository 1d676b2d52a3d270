"""The store of a platform's `store` root."""

from contract.errors import StoreError
from contract.paths import StoreLayout
from contract.store.base import Store
from contract.store.local import LocalStore

PROTECTED = (StoreLayout.LEDGER,)  # folders that are never removed


def store_at(root: str) -> Store:
    if root.startswith("s3://"):
        from contract.store.s3 import S3Store

        return S3Store(root, PROTECTED)
    if root.startswith("hdfs://"):
        from contract.store.hdfs import HdfsStore

        return HdfsStore(root, PROTECTED)
    if "://" in root:
        raise StoreError(f"store {root}: a local folder, s3://BUCKET/PREFIX or hdfs://NAMENODE/PATH is supported")
    return LocalStore(root, PROTECTED)
