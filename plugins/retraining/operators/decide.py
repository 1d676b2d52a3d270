"""The task that gives the verdict, and requests an approval where one is needed."""

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
from plugins.retraining.operators.base import Step
from plugins.retraining.operators.links import DocumentLink, ResultLink


class VerdictLink(ResultLink):
    name = "Verdict page"


class DecideStep(Step, HITLOperator, SkipMixin):
    """Gives the verdict, requests an approval if needed, and skips the rest of the run if the challenger is not to be released."""

    inputs = ("train", "compare")
    document_type = Verdict
    operator_extra_links = (DocumentLink(), VerdictLink())
    inherits_from_skipmixin = True  # read by the scheduler: without it, clearing a skipped task would run it

    def __init__(self, **kwargs: Any) -> None:
        description = "Kept with the version; required to override a verdict."
        reason = Param("", type=["null", "string"], title="Reason", description=description)
        kwargs |= {"subject": "Release this version?", "options": [approval.NO], "defaults": [approval.NO]}
        super().__init__(**{**kwargs, "params": {"reason": reason}})  # Airflow adds the DAG's params to these

    def execute(self, context: Context) -> str:
        task = self.task_context(context)
        evaluation, known = evaluate(task), task.find(Verdict)
        if known:  # from a try that was killed before it finished
            return self.conclude(context, task, evaluation, known)
        request = approval.approval_request(task, evaluation)
        if request is None:
            return self.conclude(context, task, evaluation, evaluation.verdict)
        ti = context["ti"]
        left = approval.patience(task, evaluation, ti.start_date)
        self.options = [approval.yes_to(task.read("train", Training).version), approval.NO]
        self.subject, self.body, self.response_timeout = request.subject, request.body, left
        link = f"{alerts.run_url(ti.dag_id, ti.run_id)}/tasks/{self.task_id}/required_actions"
        self.notify_once(
            task, alerts.approval_needed(task.run.model, evaluation.verdict.reason, left, link), f"asked-{ti.try_number}"
        )
        path: str = super().execute(context)
        return path

    def execute_complete(self, context: Context, event: dict[str, Any]) -> str:
        task = self.task_context(context)
        evaluation, version = evaluate(task), task.read("train", Training).version
        until = context["ti"].start_date + approval.patience(task, evaluation, context["ti"].start_date)
        self.options = [approval.yes_to(version), approval.NO, *event.get("chosen_options", [])]  # the choice is judged below
        verdict = approval.with_answer(evaluation.verdict, version, super().execute_complete(context, event), until)
        return self.conclude(context, task, evaluation, verdict)

    def conclude(self, context: Context, task: TaskContext, evaluation: Evaluation, verdict: Verdict) -> str:
        path = documents.write(task.store, task.path, verdict)
        verdict = self.show(context, path)
        training, comparison = task.read("train", Training), task.read("compare", Comparison)
        page = verdict_page(task.run, training.version, comparison, evaluation, verdict)
        self.link = mlflow_registry.record_verdict(task.run.platform.mlflow, task.run.model, training, verdict, page)
        reason = ends_here(task.run, verdict)
        context["ti"].xcom_push("reason", reason or verdict.reason)
        if reason:
            self.end(context, task, path, reason)
        self.log.info("continues: %s", verdict.reason)
        if verdict.decision != "promote" and verdict.approval:
            self.notify_once(task, alerts.overridden(task.run.model, verdict, verdict.approval, self.link), "overridden")
        return path

    def end(self, context: Context, task: TaskContext, path: str, reason: str) -> None:
        self.log.info("The run ends here: %s", reason)
        if task.run.release and not task.run.backfill:  # else nobody expects a release
            self.notify_once(task, alerts.stopped(task.run.model, self.task_id, reason, context["ti"].log_url))
        context["ti"].xcom_push("return_value", path)  # skip() raises
        self.skip(context["ti"], context["task"].get_flat_relatives(upstream=False))
