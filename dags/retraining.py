"""One retraining Airflow DAG per file in dags/models/; plugins/retraining/dag.py has its shape."""

from pathlib import Path

from airflow.sdk import get_parsing_context

from plugins.retraining.dag import dag_for, dag_id_of

wanted = get_parsing_context().dag_id  # set in a task's process, which needs its own DAG only

for path in sorted((Path(__file__).parent / "models").glob("*.yaml")):
    if wanted in (None, dag_id_of(path)):
        dag = dag_for(path)  # a file that does not parse becomes a DAG that says so
        globals()[dag.dag_id] = dag
