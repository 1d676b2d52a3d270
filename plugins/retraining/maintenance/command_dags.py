"""The commands of `python -m release` that change something, as DAGs that people trigger in the Airflow UI."""

from typing import Any

from airflow.sdk import DAG, BaseOperator, Context, Param

from contract.platform import Platform
from contract.store.factory import store_at
from plugins.retraining.delivery import login_of
from plugins.retraining.errors import Stopped
from release.ledger.commands import WHAT, Command, await_outcome, submit
from release.ledger.ledger import Ledger
from release.registries.image_retention import clean, plan, plan_lines

OUTCOME_TIMEOUT_S = 120.0
EVERY = "every model"  # cannot be a model's name: it contains a blank


class CommandStep(BaseOperator):
    """Sends the command to the controller and ends with its outcome. Not retried: the person who triggered it decides."""

    def __init__(self, *, command: Command, platform: Platform, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "retries": 0})
        self.command = command
        self.platform = platform

    def execute(self, context: Context) -> str:
        params, store = context["params"], store_at(self.platform.store)
        who = context["dag_run"].triggering_user_name or "Airflow"
        version = params.get("to_version") or params.get("version")
        request = submit(store, self.command, params["model"], who, params["why"], version)
        outcome = await_outcome(store, request, OUTCOME_TIMEOUT_S)
        if not outcome.done:
            raise Stopped(f"the {self.command} of {params['model']} was refused: {outcome.reason}")
        self.log.info("%s of %s: %s", self.command, params["model"], outcome.reason)
        return outcome.reason


class CleanImagesStep(BaseOperator):
    """Logs which images would be removed and why the others are kept; deletes only with the param `delete`."""

    def __init__(self, *, platform: Platform, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "retries": 0})
        self.platform = platform

    def execute(self, context: Context) -> dict[str, int]:
        from images.references import repository_of

        params, where, ledger = context["params"], self.platform.images, Ledger(store_at(self.platform.store))
        act = clean if params["delete"] else plan
        going = {}
        for model in ledger.models() if params["model"] == EVERY else [params["model"]]:
            result = act(repository_of(where.repository, model, login_of(where)), model, ledger, where.keep)
            self.log.info("%s", "\n".join(plan_lines(result)))
            going[model] = len(result.going)
        self.log.info("deleted" if params["delete"] else "nothing was deleted: trigger it with `delete` to remove them")
        return going


def command_dag(command: Command, models: list[str], platform: Platform) -> DAG:
    what = f"{WHAT[command][0].upper()}{WHAT[command][1:]}"
    advice = "Trigger it with the model and a reason: the ledger keeps both, with your name."
    with _dag(command, what, advice, params_of(command, models)) as dag:
        CommandStep(task_id=command, command=command, platform=platform)
    return dag


def images_dag(models: list[str], platform: Platform) -> DAG:
    what = "Removes old images, never those that had traffic, are among the newest, or have a tag of their own"
    params = {
        "model": Param(EVERY, type="string", enum=[EVERY, *models], title="Model"),
        "delete": Param(False, type="boolean", title="Delete", description="Off: the log lists what would be deleted; nothing is."),
    }
    with _dag("images_clean", what, "Read the plan in its log first, then trigger it with `delete`.", params) as dag:
        CleanImagesStep(task_id="images_clean", platform=platform)
    return dag


def _dag(name: str, what: str, advice: str, params: dict[str, Param]) -> DAG:
    return DAG(
        f"retraining_{name}",
        description=what,
        doc_md=f"{what}. {advice}",
        schedule=None,
        catchup=False,
        is_paused_upon_creation=False,  # must be usable at once in an emergency
        params=params,
        tags={"retraining", "by hand"},
    )


def params_of(command: Command, models: list[str]) -> dict[str, Param]:
    why = "Kept in the ledger and shown in its history."
    params = {
        "model": Param(models[0], type="string", enum=models, title="Model"),
        "why": Param("", type="string", minLength=1, title="Why", description=why),
    }
    if command == "rollback":
        what = "A version that was live before; absent: the previous one, which is warm during a probation."
        params["to_version"] = Param(None, type=["null", "integer"], minimum=1, title="To version", description=what)
    if command == "unquarantine":
        what = "The version that was taken back; `python -m release status` lists those in quarantine."
        params["version"] = Param(type="integer", minimum=1, title="Version", description=what)
    return params
