"""The operators of a retraining DAG: each keeps its settings, calls one function and shows the document that it wrote."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

from airflow.sdk import BaseOperator, BaseOperatorLink, BaseSensorOperator, Context, PokeReturnValue, conf

from contract import documents
from contract.base_model import Strict
from contract.comparison import Comparison, Verdict
from contract.documents import JOBS, Check, Image, Release, RunDocument, Training, ValidationReport
from contract.errors import InvalidFile
from contract.platform import Platform
from contract.spark import Spark
from contract.store.base import Store
from contract.store.factory import store_at
from plugins.retraining import alerts
from plugins.retraining.alerts import Audience, Message
from plugins.retraining.catalog import ModelFiles
from plugins.retraining.context import TaskContext
from plugins.retraining.delivery import accept_check, accept_release, package_version, request_outcome
from plugins.retraining.engines.base import Engine, EngineAway
from plugins.retraining.errors import EngineTrouble
from plugins.retraining.freeze_run import Trigger, freeze_run
from plugins.retraining.operators.links import ApplicationLink, DocumentLink, EndpointLink, MlflowLink
from plugins.retraining.spark import job_runner
from plugins.retraining.spark.job_log import forward_log
from plugins.retraining.spark.job_runner import JobState
from plugins.retraining.spark.task_states import WAITING, States, task_states
from release.ledger.entries import Outcome

# Airflow notices the end of a poke up to a heartbeat late, and fails a poke that began meanwhile, taking it for the ended one.
POKE_S = conf.getint("workers", "min_heartbeat_interval") + 3
# Poke interval: this share of the job's age, within limits. A longer one notices the end later; each poke costs a process.
MAX_DELAY_RATIO, MAX_POKE_INTERVAL_S = 0.1, 30


class Step(BaseOperator):
    """A subclass sets `inputs`, the steps whose documents it reads (in the order of its key), and `document_type`."""

    inputs: ClassVar[tuple[str, ...]] = ()
    document_type: ClassVar[type[Strict]]
    operator_extra_links: Sequence[BaseOperatorLink] = (DocumentLink(),)

    def __init__(self, *, platform: Platform, audience: Audience, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.platform = platform
        self.audience = audience
        self.link = ""

    @property
    def store(self) -> Store:
        return store_at(self.platform.store)

    def task_context(self, context: Context) -> TaskContext:
        """From the frozen run's documents; Airflow gives only their paths and the clear number. Raises EngineTrouble."""
        ti = context["ti"]
        paths = {step: ti.xcom_pull(task_ids=step) for step in ("freeze_run", *self.inputs)}
        absent = [step for step, path in paths.items() if not path]
        if absent:
            raise EngineTrouble(f"{absent[0]} left no document: clear it")
        run = documents.read(self.store, paths.pop("freeze_run"), RunDocument)
        return TaskContext(self.task_id, run, self.store, paths, context["dag_run"].clear_number or 0)

    def notify_once(self, task: TaskContext, message: Message, occasion: str = "notified") -> None:
        """Once per key and occasion; a try killed between sending and writing the marker sends twice, not never."""
        if task.store.read(task.beside(occasion)) is None:
            alerts.send(self.audience, message)
            task.store.create(task.beside(occasion), b"{}\n")

    def show(self, context: Context, path: str) -> Any:
        """Returns the document, and pushes it as an XCom for people."""
        document = documents.read(self.store, path, self.document_type)
        context["ti"].xcom_push("document", json.loads(document.model_dump_json()))
        return document


class FreezeRunStep(Step):
    document_type = RunDocument

    def __init__(self, *, model: ModelFiles, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model

    def execute(self, context: Context) -> str:
        run = context["dag_run"]
        trigger = Trigger(
            run_id=run.run_id,
            run_type=str(getattr(run.run_type, "value", run.run_type)),
            clear_number=run.clear_number or 0,
            started=run.start_date or run.run_after,
            due=run.data_interval_end or run.run_after,
            conf=run.conf or {},
            url=alerts.run_url(run.dag_id, run.run_id),
        )
        params = {
            name: context["params"][name] for name in self.dag.params
        }  # context["params"] also contains unknown keys of `conf`
        path = freeze_run(self.model, self.platform, trigger, params, self.store)
        opened = self.show(context, path)
        live = f"version {opened.champion.version} is live" if opened.champion else "nothing is live yet"
        self.log.info("%s as of %s; %s", opened.model, opened.as_of.isoformat(), live)
        return path


class WaitingStep(Step, BaseSensorOperator):
    """Holds no slot between two pokes."""

    poke_s: ClassVar[float] = POKE_S

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(mode="reschedule", poke_interval=self.poke_s, **kwargs)


class SparkStep(WaitingStep):
    """A job of spark_jobs/, done by the platform's engine in the run's application; waiting for a cluster holds no slot."""

    operator_extra_links: Sequence[BaseOperatorLink] = (DocumentLink(), ApplicationLink())

    def __init__(self, *, engine_for: Callable[[Spark], Engine], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.engine_for = engine_for
        self.application_link = ""

    def poke(self, context: Context) -> PokeReturnValue:
        ti = context["ti"]
        states = task_states(ti, ti.dag_id, ti.run_id, list(JOBS))
        redone = [step for step in self.inputs if states[step] in WAITING]
        if redone:  # cleared without what follows it: only the first task of the run without a document submits
            self.log.info("waiting for %s, which is done again", redone[0])
            return PokeReturnValue(False)
        state = self.job_state(self.task_context(context), states, context)
        if state.path:
            self.link = getattr(self.show(context, state.path), "mlflow_url", "")
        return PokeReturnValue(state.path is not None, state.path)

    def job_state(self, task: TaskContext, states: States, context: Context) -> JobState:
        """The application outlives the poke, which Airflow may also kill by mistake; what nobody waits for is stopped elsewhere."""
        engine = self.engine_for(task.run.platform.spark).of_run(task.run)
        pass_on = partial(forward_log, task, context["task_state_store"], self.log)
        try:
            state = job_runner.poke(task, engine, states, self.log)
            if engine.waits_in_task and state.path is None:
                state = job_runner.wait(task, engine, pass_on, self.log)
        except EngineAway as error:
            self.log.warning("%s; next poke in %s s", error, self.poke_s)
            return JobState(None)
        finally:
            pass_on()
        self.application_link = state.link
        self.poke_interval = max(self.poke_s, min(MAX_POKE_INTERVAL_S, MAX_DELAY_RATIO * state.seconds))
        return state


class ValidateStep(SparkStep):
    document_type = ValidationReport


class TrainStep(SparkStep):
    inputs = JOBS["train"]
    document_type = Training
    operator_extra_links = (DocumentLink(), ApplicationLink(), MlflowLink())


class CompareStep(SparkStep):
    inputs = JOBS["compare"]
    document_type = Comparison


class PackageStep(Step):
    inputs = ("validate", "train", "decide")
    document_type = Image

    def execute(self, context: Context) -> str:
        path = package_version(self.task_context(context), self.log)
        self.show(context, path)
        return path


class RequestStep(WaitingStep):
    """Sends the controller a request of its `kind`, and waits for the outcome; holds no slot after `patience_s` seconds."""

    kind: ClassVar[Literal["check", "release"]]
    patience_s: ClassVar[float] = 0

    def poke(self, context: Context) -> PokeReturnValue:
        task = self.task_context(context)
        outcome = request_outcome(task, self.kind, self.patience_s)
        if outcome is None:
            return PokeReturnValue(False)
        self.accept(task, outcome)
        self.show(context, task.path)
        return PokeReturnValue(True, task.path)

    def accept(self, task: TaskContext, outcome: Outcome) -> None:
        raise NotImplementedError


class CheckStep(RequestStep):
    kind = "check"
    inputs = ("package", "compare", "decide")
    document_type = Check
    patience_s = 10  # most checks end within that time, and another poke would take as long again

    def accept(self, task: TaskContext, outcome: Outcome) -> None:
        check, approval = accept_check(task, outcome), task.read("decide", Verdict).approval
        if check.replay and approval:  # not known yet at approval
            version = task.read("package", Image).version
            self.notify_once(task, alerts.replayed(task.run.model, version, approval.by, check.replay, task.run.url), "replayed")


class ReleaseStep(RequestStep):
    kind = "release"
    inputs = ("package", "compare", "check")
    document_type = Release
    operator_extra_links = (DocumentLink(), EndpointLink())

    def accept(self, task: TaskContext, outcome: Outcome) -> None:
        accept_release(task, outcome)
        self.link = f"{task.run.platform.serving.url}/{task.run.model}/"
        version = task.read("package", Image).version
        self.notify_once(task, alerts.promoted(task.run.model, version, outcome.reason, self.link))


class BrokenStep(BaseOperator):
    """The only task of a DAG whose file is invalid."""

    def __init__(self, *, path: str, problems: list[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.problems = problems

    def execute(self, context: Context) -> None:
        raise InvalidFile(self.path, self.problems)
