"""One retraining Airflow DAG per file in dags/models/; plugins/retraining/dag.py has its shape."""

from pathlib import Path

from airflow.sdk import get_parsing_context

from plugins.retraining.dag import dag_for, model_files

wanted = get_parsing_context().dag_id  # set in a task's process, which needs its own DAG only

for dag_id, path in model_files(Path(__file__).parent / "models").items():
    if wanted in (None, dag_id):
        globals()[f"dag {dag_id}"] = dag_for(path, dag_id=dag_id)  # a file that cannot be used becomes a DAG that says so
