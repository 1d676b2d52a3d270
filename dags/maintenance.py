"""The platform's own Airflow DAGs; built by plugins/retraining/maintenance/dags.py."""

from pathlib import Path

from contract.errors import InvalidFile
from plugins.retraining.catalog import platform_for
from plugins.retraining.maintenance.dags import reconcile_dag, retention_dag

models = Path(__file__).parent / "models"

try:
    platform = platform_for(models / "any.yaml")
except InvalidFile:
    dags = []  # each model's DAG fails with the problems
else:
    dags = [reconcile_dag(platform, models), retention_dag(platform)]

globals().update({f"dag {dag.dag_id}": dag for dag in dags})
