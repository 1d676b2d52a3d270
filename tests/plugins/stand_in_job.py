"""What the stub of spark-submit starts in the place of spark_jobs/run.py: a job that behaves as STAND_IN says."""

import os
import sys
import time

from contract.documents import JobRequest, read
from contract.store.factory import store_at
from spark_jobs.runtime.parent_watch import watch_parents
from tests.plugins.fakes import leave

if __name__ == "__main__":
    watch_parents(every_s=0.1)
    name, _, root, _, path, _, claim = sys.argv[1:]
    request = read(store_at(root), path, JobRequest)
    assert request.job == name
    print(f"{name}: at work as process {os.getpid()}", flush=True)
    print("WARN something of Spark's", file=sys.stderr, flush=True)
    behaviour = os.environ.get("STAND_IN", "well")
    if behaviour == "tells":
        print(" ".join(sorted(name for name in os.environ if "AIRFLOW" in name)) or "nothing of Airflow", flush=True)
        behaviour = "well"
    if behaviour == "hangs":
        time.sleep(60)
    sys.exit(leave(request, behaviour))
