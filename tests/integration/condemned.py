"""A plugin of Airflow's, in the tests' checkout only: a condemned task is killed with −9 once its document is in the store and
Airflow has not heard of it. From outside, that moment could not be hit.
"""

import os
import signal
import sys
from pathlib import Path

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

from plugins.retraining.operators.base import Step

FOLDER = Path(os.environ["AIRFLOW_HOME"], "condemned")


class Condemned(AirflowPlugin):
    name = "condemned"
    listeners = [sys.modules[__name__]]


@hookimpl
def on_task_instance_running(task_instance):
    mark = FOLDER / task_instance.task_id
    if mark.exists():
        Step.show = lambda *_: die(mark)


def die(mark: Path):
    mark.unlink()
    os.kill(os.getpid(), signal.SIGKILL)
