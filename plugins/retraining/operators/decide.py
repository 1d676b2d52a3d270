"""The task that gives the verdict, and where people answer."""

from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Context, Param, SkipMixin

from contract import documents
from contract.comparison import Comparison, Verdict
from contract.documents import Training
from plugins.retraining import alerts, mlflow_registry
from plugins.retraining.context import TaskContext, ends_here
from plugins.retraining.decision import approval
from plugins.retraining.decision.evaluation_budget import Evaluation, evaluate
from plugins.retraining.decision.verdict_page import verdict_page
from plugins.retraining.operators.base import DocumentLink, ResultLink, Step


class VerdictLink(ResultLink):
    name = "Verdict page"


class DecideStep(Step, HITLOperator, SkipMixin):
    """Gives the verdict, asks a person where one is wanted, and ends the run green where the challenger is not to be released."""

    inputs = ("train", "compare")
    leaves = Verdict
    operator_extra_links = (DocumentLink(), VerdictLink())
    inherits_from_skipmixin = True  # the scheduler asks this, not the class: else clearing a skipped task would run it

    def __init__(self, **kwargs: Any) -> None:
        wanted = "Kept with the version. A verdict is overridden only with one."
        reason = Param("", type=["null", "string"], title="Reason", description=wanted)
        kwargs |= {"subject": "Release this version?", "options": [approval.NO], "defaults": [approval.NO]}
        super().__init__(**{**kwargs, "params": {"reason": reason}})  # Airflow adds the DAG's params to these

    def execute(self, context: Context) -> str:
        work = self.work(context)
        evaluation, said = evaluate(work), work.find(Verdict)
        if said:  # by a try that was killed before it told all
            return self.conclude(context, work, evaluation, said)
        question = approval.question(work, evaluation)
        if question is None:
            return self.conclude(context, work, evaluation, evaluation.verdict)
        ti = context["ti"]
        left = approval.patience(work, evaluation, ti.start_date)
        self.options = [approval.yes_to(work.read("train", Training).version), approval.NO]
        self.subject, self.body, self.response_timeout = question.subject, question.body, left
        link = f"{alerts.run_url(ti.dag_id, ti.run_id)}/tasks/{self.task_id}/required_actions"
        self.tell(work, alerts.asked(work.run.model, evaluation.verdict.reason, left, link), f"asked-{ti.try_number}")
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> str:
        work = self.work(context)
        evaluation, version = evaluate(work), work.read("train", Training).version
        until = context["ti"].start_date + approval.patience(work, evaluation, context["ti"].start_date)
        self.options = [approval.yes_to(version), approval.NO, *event.get("chosen_options", [])]  # what was said is judged below
        verdict = approval.answered(evaluation.verdict, version, super().execute_complete(context, event), until)
        return self.conclude(context, work, evaluation, verdict)

    def conclude(self, context: Context, work: TaskContext, evaluation: Evaluation, verdict: Verdict) -> str:
        path = documents.write(work.store, work.path, verdict)
        verdict = self.show(context, path)
        training, comparison = work.read("train", Training), work.read("compare", Comparison)
        page = verdict_page(work.run, training.version, comparison, evaluation, verdict)
        self.link = mlflow_registry.record_verdict(work.run.platform.mlflow, work.run.model, training, verdict, page)
        reason = ends_here(work.run, verdict)
        context["ti"].xcom_push("reason", reason or verdict.reason)
        if reason:
            self.end(context, work, path, reason)
        self.log.info("goes on: %s", verdict.reason)
        if verdict.decision != "promote":
            self.tell(work, alerts.overridden(work.run.model, verdict, self.link), "overridden")
        return path

    def end(self, context: Context, work: TaskContext, path: str, reason: str) -> None:
        self.log.info("The run ends here: %s", reason)
        if work.run.release and not work.run.backfill:  # else nobody expected a release
            self.tell(work, alerts.stopped(work.run.model, self.task_id, reason, context["ti"].log_url))
        context["ti"].xcom_push("return_value", path)  # skip() does not come back
        self.skip(context["ti"], context["task"].get_flat_relatives(upstream=False))
