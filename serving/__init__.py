"""What runs inside an image: one model behind HTTP. Imports no other package of the project."""

import os

# From 1.29 on ONNX Runtime's Linux wheels report each session to Microsoft (file name, graph's name and hashes) unless this is set.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
