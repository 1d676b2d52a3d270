"""Shared by Airflow's side, the Spark jobs and the serving host: specs and platforms, stored documents, step keys, the store."""
