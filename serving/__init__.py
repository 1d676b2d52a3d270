"""What runs inside an image: one model behind HTTP. Imports nothing of the other rooms."""

import os

# From 1.29 on ONNX Runtime's Linux wheels tell Microsoft of each session (file name, graph's name and hashes) unless this is set.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
