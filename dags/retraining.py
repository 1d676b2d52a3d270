"""One retraining Airflow DAG per file in dags/models/; built by plugins/retraining/dag.py."""

from pathlib import Path

from airflow.sdk import get_parsing_context

from plugins.retraining.dag import dag_for, model_files

parsed_dag_id = get_parsing_context().dag_id  # set in a task's process, which needs only its own DAG

for dag_id, path in model_files(Path(__file__).parent / "models").items():
    if parsed_dag_id in (None, dag_id):
        globals()[f"dag {dag_id}"] = dag_for(path, dag_id=dag_id)  # an invalid file becomes a DAG that fails with its problems
