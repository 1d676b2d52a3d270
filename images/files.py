"""Files that others read while they are written."""

import os
import tempfile
from pathlib import Path

from contract.store.local import sync_folder


def write_whole(path: Path, content: bytes) -> None:
    """The new content or the old, never a part; on disk when this returns. Its folder is made if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o444)
        os.rename(temporary, path)
        sync_folder(path.parent)
    finally:
        Path(temporary).unlink(missing_ok=True)
