"""The Spark jobs (validate, train, compare) and the export of their models to ONNX."""

import os

from contract.errors import TooNew

TooNew.reader = "the Spark jobs' code"
# From 1.29 on ONNX Runtime's Linux wheels report each session (file and graph name, hashes) to Microsoft unless this is set.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# XGBoost's threads then sleep while they wait for one another: on a busy host, spinning takes ten times the processor time.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
