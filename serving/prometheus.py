"""Counters and histograms in Prometheus' text format."""

from bisect import bisect_left
from collections import Counter
from itertools import accumulate

from serving.prediction_histogram import PredictionCounter

# Seconds. Steps of a quarter or less up to 1 s, so that a limit such as 50 ms can be judged by interpolation.
BUCKETS = (
    *(0.0005, 0.00075, 0.001, 0.00125, 0.0015, 0.002, 0.0025, 0.003, 0.004, 0.005, 0.006, 0.0075, 0.01),
    *(0.0125, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.06, 0.075, 0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.75, 1.0),
    *(1.5, 2.0, 3.0, 5.0, 7.5, 10.0),
)


class Metrics:
    """Every request is counted; only predictions are timed, or health checks would lower the model's latency."""

    def __init__(self, model: str, version: str, histogram: PredictionCounter):
        self._labels = f'model="{_escaped(model)}",version="{_escaped(version)}"'
        self._histogram = histogram
        self._requests: Counter[tuple[str, int]] = Counter()
        self._buckets = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0

    def count(self, endpoint: str, status: int) -> None:
        self._requests[endpoint, status] += 1

    def time(self, seconds: float) -> None:
        self._buckets[bisect_left(BUCKETS, seconds)] += 1
        self._seconds += seconds

    def text(self) -> bytes:
        counts = list(accumulate(self._buckets))
        limits = [*map(str, BUCKETS), "+Inf"]
        lines = [
            "# HELP serving_requests_total Requests answered.",
            "# TYPE serving_requests_total counter",
            *(
                f'serving_requests_total{{{self._labels},endpoint="{endpoint}",code="{status}"}} {number}'
                for (endpoint, status), number in sorted(self._requests.items())
            ),
            "# HELP serving_prediction_seconds From the start of a prediction request to its answer, refusals included.",
            "# TYPE serving_prediction_seconds histogram",
            *(
                f'serving_prediction_seconds_bucket{{{self._labels},le="{limit}"}} {number}'
                for limit, number in zip(limits, counts, strict=True)
            ),
            f"serving_prediction_seconds_sum{{{self._labels}}} {self._seconds:.6f}",
            f"serving_prediction_seconds_count{{{self._labels}}} {counts[-1]}",
            "# HELP serving_answers_total Rows answered, by the bin that the answer lies in.",
            "# TYPE serving_answers_total counter",
            *(
                f'serving_answers_total{{{self._labels},bin="{_escaped(name)}"}} {number}'
                for name, number in self._histogram.rows().items()
            ),
            "# HELP serving_answers_squares_total Sum of each request's rows squared: how far rows came together.",
            "# TYPE serving_answers_squares_total counter",
            f"serving_answers_squares_total{{{self._labels}}} {self._histogram.squares}",
        ]
        return ("\n".join(lines) + "\n").encode()


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
