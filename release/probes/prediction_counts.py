"""The servers' prediction histograms, summed by digest and made monotonic: a server's own counts restart at 0.

Reading a server takes at most TIMEOUT_S; as hanging servers would delay the loop, callers read in the background.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import NamedTuple

import httpx
from prometheus_client.parser import text_string_to_metric_families

from release.decisions.prediction_drift import add, since
from release.ledger.entries import PredictionHistogram
from release.targets.base import Server

TIMEOUT_S = 1.0
DIGESTS_KEPT = 8  # of a model: a release has two
NONE = PredictionHistogram()


class GrowingCount(NamedTuple):
    """`passed` was counted before the server's last restart, `last` since."""

    passed: PredictionHistogram
    last: PredictionHistogram


class PredictionCounts:
    """In memory: after a restart of this process the counts are the servers' own."""

    def __init__(self) -> None:
        self._client = httpx.Client(timeout=TIMEOUT_S, trust_env=False)
        self._grown = GrowingCounts()

    def predictions(self, model: str, servers: Sequence[Server]) -> dict[str, PredictionHistogram]:
        """By digest; a server that does not answer keeps its last counts."""
        read = {server: self._read_histogram(server) for server in servers if server.model == model}
        return self._grown.by_digest(model, {server: histogram for server, histogram in read.items() if histogram})

    def _read_histogram(self, server: Server) -> PredictionHistogram | None:
        try:
            answer = self._client.get(f"{server.url}/metrics").raise_for_status()
        except httpx.HTTPError:
            return None
        serves = answer.headers.get("X-Image-Digest", server.digest)  # another one, on a port that has changed hands
        return histogram_of(answer.text) if serves == server.digest else None


class GrowingCounts:
    """Counts of each digest's servers, also of those that have stopped."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, dict[str, GrowingCount]]] = defaultdict(dict)

    def by_digest(self, model: str, read: Mapping[Server, PredictionHistogram]) -> dict[str, PredictionHistogram]:
        counts = self._counts[model]
        for server, now in read.items():
            counts[server.digest] = of_digest = counts.pop(server.digest, {})
            passed, last = of_digest.get(server.name, GrowingCount(NONE, NONE))
            of_digest[server.name] = GrowingCount(add(passed, last) if since(now, last) is None else passed, now)
        for digest in list(counts)[:-DIGESTS_KEPT]:
            del counts[digest]
        return {digest: reduce(add, (add(*count) for count in of_servers.values())) for digest, of_servers in counts.items()}


def histogram_of(metrics: str) -> PredictionHistogram:
    """From the text of a server's /metrics; empty for images of an older serving base."""
    rows, squares = {}, 0
    lines = (line for line in metrics.splitlines() if line.startswith("serving_answers_"))
    for family in text_string_to_metric_families("\n".join(lines)):
        for sample in family.samples:
            if sample.name == "serving_answers_total":
                rows[sample.labels["bin"]] = int(sample.value)
            elif sample.name == "serving_answers_squares_total":
                squares = int(sample.value)
    return PredictionHistogram(rows=rows, squares=squares)
