"""From block statistics of both sides to every metric with its intervals. Pure."""

from contract.algorithms import LOWER_IS_BETTER, METRICS, MetricName
from contract.documents import MetricResult
from contract.spec import ModelSpec
from spark_jobs.metrics import MEASURES, Statistics
from spark_jobs.paired import improvement, interval, jackknife


def results_of(statistics: Statistics, spec: ModelSpec) -> tuple[MetricResult, ...]:
    """Every metric of the task, the gate's first."""
    names = sorted(METRICS[spec.task], key=lambda name: name != spec.gate.metric)
    return tuple(_result(name, statistics, spec) for name in names)


def _result(name: MetricName, statistics: Statistics, spec: ModelSpec) -> MetricResult:
    challenger, opponent = (jackknife(statistics.of[side, name], MEASURES[name].value) for side in ("challenger", "opponent"))
    estimates = (challenger, opponent, improvement(challenger, opponent, name in LOWER_IS_BETTER))
    in_time_order = spec.examples.time is not None
    alone, against, gained = (
        interval(each, statistics.rows, in_time_order=in_time_order, confidence=spec.gate.confidence) for each in estimates
    )
    return MetricResult(metric=name, challenger=alone, against=against, improvement=gained)
