"""One Airflow DAG for each command that changes what is live; built by plugins/retraining/maintenance/command_dags.py."""

from pathlib import Path

from contract.errors import InvalidFile
from plugins.retraining.catalog import platform_for
from plugins.retraining.dag import model_files
from plugins.retraining.maintenance.command_dags import command_dag, images_dag
from release.ledger.commands import WHAT

models = sorted(model_files(Path(__file__).parent / "models"))

try:
    platform = platform_for(Path(__file__).parent / "models" / "any.yaml")
except InvalidFile:
    models = []  # each model's DAG fails with the problems

if models:
    dags = [*(command_dag(command, models, platform) for command in WHAT), images_dag(models, platform)]
    globals().update({f"dag {dag.dag_id}": dag for dag in dags})
