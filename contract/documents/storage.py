"""How a document is written, once, and read."""

from typing import TypeVar

from contract.base_model import STORED, Strict
from contract.errors import StoreError
from contract.store.base import DocumentStore

Document = TypeVar("Document", bound=Strict)


def write(store: DocumentStore, path: str, document: Strict) -> str:
    """Creates the document and returns its path. The first writer wins: a retry reads the existing document."""
    store.create(path, (document.model_dump_json(indent=1) + "\n").encode())
    return path


def read(store: DocumentStore, path: str, kind: type[Document]) -> Document:
    document = find(store, path, kind)
    if document is None:
        raise StoreError(f"{path} is not in the store {store.root}; clear the task that writes it")
    return document


def find(store: DocumentStore, path: str, kind: type[Document]) -> Document | None:
    content = store.read(path)
    return None if content is None else parse(kind, content)


def parse(kind: type[Document], content: bytes | str) -> Document:
    """A document stored by an older, this or a newer version of the project. Raises TooNew, or pydantic's ValidationError."""
    return kind.model_validate_json(content, context=STORED)
