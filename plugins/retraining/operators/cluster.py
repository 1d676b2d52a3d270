"""The tasks that create and terminate a run's own cluster, before and after its Spark jobs."""

from collections.abc import Callable
from typing import Any

from airflow.sdk import Context, PokeReturnValue

from contract.spark import Spark
from plugins.retraining.context import TaskContext
from plugins.retraining.engines.base import ClusterEngine, Engine, EngineAway
from plugins.retraining.errors import EngineTrouble
from plugins.retraining.operators.base import Step, WaitingStep
from plugins.retraining.spark.job_log import Memory
from plugins.retraining.spark.job_runner import record_failure_or_end


class ClusterStep(WaitingStep):
    """Waits until the cluster takes steps; returns its id, for people."""

    def __init__(self, *, engine_for: Callable[[Spark], Engine], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.engine_for = engine_for

    def poke(self, context: Context) -> PokeReturnValue:
        task = self.task_context(context)
        try:
            id = self.ready(task, context["task_state_store"])
        except EngineAway as error:
            self.log.warning("%s", error)
            id = ""
        except EngineTrouble as error:
            record_failure_or_end(task, error)
            raise
        return PokeReturnValue(bool(id), id)

    def ready(self, task: TaskContext, memory: Memory) -> str:
        """The cluster's id, empty while it starts. Raises EngineTrouble if it ended; the next try creates another one."""
        engine, mark = engine_of(task, self.engine_for), f"cluster-{task.clear_number}"
        known = memory.get(mark, "")
        cluster = engine.known(str(known)) if known else engine.cluster(self.log)
        memory.set(mark, "" if cluster.phase == "ended" else cluster.id)
        if cluster.phase == "ended":
            problem = f"the cluster {cluster.id} ended before it ran a step ({cluster.reason or cluster.state})"
            raise EngineTrouble(f"{problem}: check its roles, subnets and instance types in the platform's spark.emr.job_flow")
        return "" if cluster.phase == "starting" else cluster.id


class EndClusterStep(Step):
    """Runs also after failed jobs and does not affect the run's state. If it fails, the cluster's idle timeout ends the cluster."""

    def __init__(self, *, engine_for: Callable[[Spark], Engine], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.engine_for = engine_for

    def execute(self, context: Context) -> None:
        engine_of(self.task_context(context), self.engine_for).end_clusters(self.log)


def engine_of(task: TaskContext, engine_for: Callable[[Spark], Engine]) -> ClusterEngine:
    """The engine of the run's own cluster. Raises EngineTrouble if the run was frozen with another engine."""
    engine = engine_for(task.run.platform.spark).of_run(task.run)
    if not isinstance(engine, ClusterEngine):
        raise EngineTrouble("this run was frozen on a platform without spark.emr.job_flow: trigger a new one")
    return engine
