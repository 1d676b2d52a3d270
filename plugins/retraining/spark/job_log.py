"""Forwards a cluster job's progress lines to its task's log, each line once."""

from typing import Protocol

from plugins.retraining.context import TaskContext
from plugins.retraining.task_log import Log


class Memory(Protocol):
    """Airflow's task state store, which persists between pokes and tries."""

    def get(self, key: str, default: int | str, /) -> object: ...

    def set(self, key: str, value: int | str, /) -> None: ...


def forward_log(task: TaskContext, memory: Memory, log: Log) -> None:
    """Reads `<step>-<key>.progress-<n>.txt` in order of n; the number already logged is kept in `memory`."""
    parts, mark = task.files.progress_among(task.store.names(task.run.folder)), task.files.progress_prefix
    if not parts:
        return
    known = memory.get(mark, 0)
    logged = known if isinstance(known, int) else 0
    for path in parts[logged:]:
        for line in (task.store.read(path) or b"").decode(errors="replace").splitlines():
            log.info(line)
    if logged < len(parts):
        memory.set(mark, len(parts))
