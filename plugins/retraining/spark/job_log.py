"""What a job on a cluster says while it works, passed on into its task's log, each line once."""

from logging import Logger
from typing import Protocol

from plugins.retraining.context import TaskContext


class Memory(Protocol):
    """Airflow's state of a task, which outlives its process."""

    def get(self, key: str, default: int) -> int: ...

    def set(self, key: str, value: int) -> None: ...


def forward_log(work: TaskContext, memory: Memory, log: Logger) -> None:
    """`<step>-<key>.progress-<n>.txt` in the order of n; how many were told is remembered over a task's looks and tries."""
    marks = f"{work.step}-{work.key}.progress-"
    parts = sorted(name for name in work.store.names(work.run.folder) if name.startswith(marks))
    if not parts:
        return
    told = memory.get(marks, 0)
    for name in parts[told:]:
        for line in (work.store.read(f"{work.run.folder}/{name}") or b"").decode(errors="replace").splitlines():
            log.info(line)
    if told < len(parts):
        memory.set(marks, len(parts))
