"""The tasks of a retraining DAG: each stores its settings, then calls one function and shows the document that it left."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

from airflow.sdk import BaseOperator, BaseOperatorLink, BaseSensorOperator, Context, PokeReturnValue, conf

from contract import documents
from contract.base_model import Strict
from contract.comparison import Comparison, Verdict
from contract.documents import Check, Image, Release, RunDocument, Training, ValidationReport
from contract.errors import InvalidFile
from contract.platform import Platform
from contract.spark import Spark
from contract.store.base import Store
from contract.store.factory import store_at
from plugins.retraining import alerts
from plugins.retraining.alerts import Audience, Message
from plugins.retraining.catalog import ModelFiles
from plugins.retraining.context import TaskContext
from plugins.retraining.delivery import accept_check, accept_release, ask, package_version
from plugins.retraining.engines.base import Engine, EngineAway
from plugins.retraining.errors import EngineTrouble
from plugins.retraining.freeze_run import Trigger, freeze_run
from plugins.retraining.spark import job_runner
from plugins.retraining.spark.job_log import forward_log
from release.ledger.entries import Outcome

# Airflow notices the end of a look up to a heartbeat late. A look that began meanwhile is taken for the one that ended, and failed.
POKE_S = conf.getint("workers", "min_heartbeat_interval") + 3
LATE, SELDOM_S = 0.1, 30  # a job's end may be noticed so late, in parts of its age and in seconds: each look costs a process


class DocumentLink(BaseOperatorLink):
    """To the task's XComs, where its document is shown; the store itself may be out of a browser's reach."""

    name = "Document"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        return f"{alerts.run_url(ti_key.dag_id, ti_key.run_id)}/tasks/{ti_key.task_id}/xcom"


class ResultLink(BaseOperatorLink):
    """To a place that the task itself has found out; empty until then."""

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        return getattr(operator, "link", "")


class ApplicationLink(BaseOperatorLink):
    """To the cluster's page of the job, also while it is waited for."""

    name = "Spark application"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        return getattr(operator, "application", "")


class MlflowLink(ResultLink):
    name = "MLflow run"


class EndpointLink(ResultLink):
    name = "Live endpoint"


class Step(BaseOperator):
    """What all steps share. A subclass sets `inputs`, the steps whose documents it reads, in the order of its key, and `leaves`."""

    inputs: ClassVar[tuple[str, ...]] = ()
    leaves: ClassVar[type[Strict]]
    operator_extra_links: Sequence[BaseOperatorLink] = (DocumentLink(),)

    def __init__(self, *, platform: Platform, audience: Audience, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.platform = platform
        self.audience = audience
        self.link = ""

    @property
    def store(self) -> Store:
        return store_at(self.platform.store)

    def work(self, context: Context) -> TaskContext:
        """Everything from the frozen run; of Airflow only which clearing this is."""
        ti = context["ti"]
        paths = {step: ti.xcom_pull(task_ids=step) for step in ("freeze_run", *self.inputs)}
        absent = [step for step, path in paths.items() if not path]
        if absent:
            raise EngineTrouble(f"{absent[0]} left no document to work with: clear it")
        run = documents.read(self.store, paths.pop("freeze_run"), RunDocument)
        return TaskContext(self.task_id, run, self.store, paths, context["dag_run"].clear_number or 0)

    def tell(self, work: TaskContext, message: Message, occasion: str = "notified") -> None:
        """Once for each key and occasion; a try that is killed between sending and noting it says it twice rather than never."""
        if work.store.read(work.beside(occasion)) is None:
            alerts.send(self.audience, message)
            work.store.create(work.beside(occasion), b"{}\n")

    def show(self, context: Context, path: str) -> Any:
        """The document, also as an XCom for people."""
        document = documents.read(self.store, path, self.leaves)
        context["ti"].xcom_push("document", json.loads(document.model_dump_json()))
        return document


class FreezeRunStep(Step):
    leaves = RunDocument

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
        params = {name: context["params"][name] for name in self.dag.params}  # the context's hold whatever `conf` held, too
        path = freeze_run(self.model, self.platform, trigger, params, self.store)
        opened = self.show(context, path)
        live = f"version {opened.champion.version} is live" if opened.champion else "nothing is live yet"
        self.log.info("%s as of %s; %s", opened.model, opened.as_of.isoformat(), live)
        return path


class SparkStep(Step, BaseSensorOperator):
    """A job of spark_jobs/, run by the platform's engine; in a cluster it holds no slot while it is waited for."""

    operator_extra_links = (DocumentLink(), ApplicationLink())

    def __init__(self, *, engine_for: Callable[[Spark], Engine], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.engine_for = engine_for
        self.application = ""
        self.stop_job: Callable[[], None] | None = None

    def poke(self, context: Context) -> PokeReturnValue:
        work = self.work(context)
        engine = self.engine_for(work.run.platform.spark).of_run(work.run)
        # A job in a cluster outlives the look, which Airflow also ends by mistake: the sweep asks whether it is waited for.
        if engine.holds_slot:
            self.stop_job = partial(job_runner.stop, work, engine)
        try:
            path, self.application, age_s = job_runner.poke(work, engine, self.log)
            self.poke_interval = max(POKE_S, min(SELDOM_S, LATE * age_s))
        except EngineAway as error:
            self.log.warning("%s; looking again in %s s", error, POKE_S)
            return PokeReturnValue(False)
        finally:
            forward_log(work, context["task_state_store"], self.log)
        if path:
            self.link = getattr(self.show(context, path), "mlflow_url", "")
        return PokeReturnValue(path is not None, path)

    def on_kill(self) -> None:
        if self.stop_job:
            self.stop_job()


class ValidateStep(SparkStep):
    leaves = ValidationReport


class TrainStep(SparkStep):
    inputs = ("validate",)
    leaves = Training
    operator_extra_links = (DocumentLink(), ApplicationLink(), MlflowLink())


class CompareStep(SparkStep):
    inputs = ("validate", "train")
    leaves = Comparison


class PackageStep(Step):
    inputs = ("validate", "train", "decide")
    leaves = Image

    def execute(self, context: Context) -> str:
        path = package_version(self.work(context), self.log)
        self.show(context, path)
        return path


class AskingStep(Step, BaseSensorOperator):
    """Asks the controller for what the task is called, and waits for the outcome, holding no slot after `patience_s`."""

    patience_s: ClassVar[float] = 0

    def poke(self, context: Context) -> PokeReturnValue:
        work = self.work(context)
        outcome = ask(work, self.task_id, self.patience_s)
        if outcome is None:
            return PokeReturnValue(False)
        self.accept(work, outcome)
        self.show(context, work.path)
        return PokeReturnValue(True, work.path)

    def accept(self, work: TaskContext, outcome: Outcome) -> None:
        raise NotImplementedError


class CheckStep(AskingStep):
    inputs = ("package", "compare", "decide")
    leaves = Check
    patience_s = 10  # most checks are over by then, and coming back later takes as long again

    def accept(self, work: TaskContext, outcome: Outcome) -> None:
        check, approval = accept_check(work, outcome), work.read("decide", Verdict).approval
        if check.replay and approval:  # whoever approved it could not know this yet
            version = work.read("package", Image).version
            self.tell(work, alerts.replayed(work.run.model, version, approval.by, check.replay, work.run.url), "replayed")


class ReleaseStep(AskingStep):
    inputs = ("package", "compare", "check")
    leaves = Release
    operator_extra_links = (DocumentLink(), EndpointLink())

    def accept(self, work: TaskContext, outcome: Outcome) -> None:
        accept_release(work, outcome)
        self.link = f"{work.run.platform.serving.url}/{work.run.model}/"
        version = work.read("package", Image).version
        self.tell(work, alerts.promoted(work.run.model, version, outcome.reason, self.link))


class BrokenStep(BaseOperator):
    """The only task of a DAG whose file cannot be used."""

    def __init__(self, *, path: str, problems: list[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.problems = problems

    def execute(self, context: Context) -> None:
        raise InvalidFile(self.path, self.problems)
