"""The tasks around a run's Spark jobs where each run has a cluster of its own: it is made before them, and ended after them."""

from collections.abc import Callable
from typing import Any

from airflow.sdk import BaseSensorOperator, Context, PokeReturnValue

from contract.spark import Spark
from plugins.retraining.context import TaskContext
from plugins.retraining.engines.base import EngineAway
from plugins.retraining.engines.emr_clusters import STARTING
from plugins.retraining.errors import EngineTrouble
from plugins.retraining.operators.base import Step
from plugins.retraining.spark.job_runner import fail


class ClusterStep(Step, BaseSensorOperator):
    """Waits without a slot until the cluster takes steps; what it returns is the cluster's id, for people."""

    def __init__(self, *, engine_for: Callable[[Spark], Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.engine_for = engine_for

    def poke(self, context: Context) -> PokeReturnValue:
        work = self.work(context)
        try:
            id = self.ready(work, context["task_state_store"])
        except EngineAway as error:
            self.log.warning("%s", error)
            id = ""
        except EngineTrouble as error:
            fail(work, error)
            raise
        return PokeReturnValue(bool(id), id)

    def ready(self, work: TaskContext, memory: Any) -> str:
        """Empty while it starts. One that does not start is left alone, and the next try makes another one."""
        engine, mark = engine_of(work, self.engine_for), f"cluster-{work.clear_number}"
        known = memory.get(mark, "")
        cluster = engine.known(known) if known else engine.cluster(self.log)
        memory.set(mark, "" if cluster.has_ended else cluster.id)
        if cluster.has_ended:
            told = f"the cluster {cluster.id} ended before it took a step ({cluster.said or cluster.state})"
            raise EngineTrouble(f"{told}: see its roles, subnets and types in the platform's spark.emr.job_flow")
        return "" if cluster.state in STARTING else cluster.id


class EndClusterStep(Step):
    """Also after jobs that failed; it never decides how the run ends. Where it fails, the cluster's idle timeout does its work."""

    def __init__(self, *, engine_for: Callable[[Spark], Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.engine_for = engine_for

    def execute(self, context: Context) -> None:
        engine_of(self.work(context), self.engine_for).end_clusters(self.log)


def engine_of(work: TaskContext, engine_for: Callable[[Spark], Any]) -> Any:
    """The one whose clusters are made for runs."""
    return engine_for(work.run.platform.spark).of_run(work.run)
