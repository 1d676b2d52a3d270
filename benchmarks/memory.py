"""Peak of memory of each job of a run, where one application does all three and where each has its own: JVM, driver's Python and
workers together, in MiB of proportional set size.

`python -m benchmarks.memory` with the demo's services running; ten minutes on two cores.
"""

import os
import re
import shutil
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.cold import OUT, requests_of, run_document
from benchmarks.figures import keep, spread
from benchmarks.loop import FIRST, spark_seconds
from benchmarks.timed_model import FOLDER
from contract.documents import JOBS
from contract.paths import JobFiles
from contract.spec import parse_spec
from contract.store.local import LocalStore
from demo.live import Live
from demo.paths import MODEL, ROOT

RUNS, EVERY_S = 3, 0.5
Peaks = dict[str, float]  # by job


def main() -> None:
    live, taken = Live(), list[dict[str, Peaks]]()
    shutil.rmtree(OUT, ignore_errors=True)
    for number in range(RUNS):
        ways = {"one application": [tuple(JOBS)], "three applications": [(job,) for job in JOBS]}
        taken.append({way: peaks_of(live, ways[way]) for way in sorted(ways, reverse=number % 2 == 0)})
        print({way: {job: round(peak) for job, peak in peaks.items()} for way, peaks in taken[-1].items()}, flush=True)
    ratios = [max(one["one application"].values()) / max(one["three applications"].values()) for one in taken]
    compares = [one["one application"]["compare"] / max(one["three applications"].values()) for one in taken]
    print(f"peak of one application / of the largest single job: {spread(ratios)}; compare's peak in it: {spread(compares)}")
    keep("memory", {"runs": taken, "ratios": ratios, "compare": compares})


def peaks_of(live: Live, applications: list[tuple[str, ...]]) -> Peaks:
    store, path = LocalStore(str(OUT / "stores" / uuid.uuid4().hex)), FOLDER / f"{MODEL}.yaml"
    run = run_document(live.platform, parse_spec(path.read_text(), path), store, FIRST)
    requests = dict(zip(JOBS, requests_of(run, store), strict=True))
    peaks: Peaks = {}
    for jobs in applications:
        parts = [part for job in jobs for part in ("--job", requests[job], "0")]
        started = {job: Path(store.root, JobFiles(run.folder, job, run.run_id).beside("started")) for job in jobs}
        with sampling(peaks, started):
            spark_seconds(run.platform, run.spec, ROOT / "spark_jobs" / "run.py", "--store", store.root, *parts)
    return peaks


@contextmanager
def sampling(peaks: Peaks, started: dict[str, Path]) -> Iterator[None]:
    """The memory of this process's descendants goes to the job that has begun last."""
    done = threading.Event()

    def sample() -> None:
        while not done.wait(EVERY_S):
            begun = [job for job, path in started.items() if path.exists()]
            if begun:
                peaks[begun[-1]] = max(peaks.get(begun[-1], 0.0), sum(map(memory, descendants(os.getpid()))))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def descendants(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with suppress(OSError):
            for child in map(int, (task / "children").read_text().split()):
                yield child
                yield from descendants(child)


def memory(pid: int) -> float:
    """MiB; 0 where the process has ended."""
    with suppress(OSError):
        pss = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        return int(pss[1]) / 1024 if pss else 0.0
    return 0.0


if __name__ == "__main__":
    main()
