"""Airflow's side."""

from contract.errors import TooNew

TooNew.reader = "the bundle that Airflow runs"
