"""The commands of `python -m release` that change something, as DAGs that a person triggers in the Airflow UI."""

from typing import Any

from airflow.sdk import DAG, BaseOperator, Context, Param

from contract.platform import Platform
from contract.store import store_at
from plugins.retraining.errors import Stopped
from release.people import WHAT, Command, answer, ask

PATIENCE_S = 120.0


class CommandStep(BaseOperator):
    """Asks the controller, and ends as it answers. It is not tried again: whoever asked sees what came of it."""

    def __init__(self, *, command: Command, platform: Platform, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "retries": 0})
        self.command = command
        self.platform = platform

    def execute(self, context: Context) -> str:
        params, store = context["params"], store_at(self.platform.store)
        who = context["dag_run"].triggering_user_name or "Airflow"
        request = ask(store, self.command, params["model"], who, params["why"], params.get("to_version"))
        outcome = answer(store, request, PATIENCE_S)
        if not outcome.done:
            raise Stopped(f"the {self.command} of {params['model']} was refused: {outcome.reason}")
        self.log.info("%s of %s: %s", self.command, params["model"], outcome.reason)
        return outcome.reason


def command_dag(command: Command, models: list[str], platform: Platform) -> DAG:
    what = f"{WHAT[command][0].upper()}{WHAT[command][1:]}"
    with DAG(
        f"retraining_{command}",
        description=what,
        doc_md=f"{what}. Trigger it with the model and a reason: both are kept in the ledger, with your name.",
        schedule=None,
        catchup=False,
        params=params_of(command, models),
        tags={"retraining", "by hand"},
    ) as dag:
        CommandStep(task_id=command, command=command, platform=platform)
    return dag


def params_of(command: Command, models: list[str]) -> dict[str, Param]:
    why = "Kept in the ledger, and told to those who ask later."
    found = {
        "model": Param(models[0], type="string", enum=models, title="Model"),
        "why": Param("", type="string", minLength=1, title="Why", description=why),
    }
    if command == "rollback":
        what = "One that was live before; absent: the previous one, which is kept warm."
        found["to_version"] = Param(None, type=["null", "integer"], minimum=1, title="To version", description=what)
    return found
