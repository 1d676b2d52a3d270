"""`python -m serving --model FOLDER --host HOST --port PORT`: serves one model until SIGTERM."""

import argparse
import asyncio
import os
import sys
from pathlib import Path

from serving.errors import CannotServe
from serving.listener import serve
from serving.model import Model
from serving.request_buffer import RequestBuffer
from serving.server import App, Identity


def main() -> None:
    arguments = _arguments()
    identity = Identity(os.environ.get("MODEL_NAME", "model"), os.environ.get("MODEL_VERSION", "0"), os.environ.get("IMAGE_DIGEST"))
    try:
        model = Model.load(arguments.model)  # the port opens after this: whoever can connect gets an answer
        buffer = RequestBuffer.from_environment(os.environ, model.columns.names)
        asyncio.run(serve(App(model, identity, buffer), arguments.host, arguments.port))
    except CannotServe as error:
        sys.exit(str(error))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m serving", description="Serves one model over HTTP until SIGTERM.")
    parser.add_argument("--model", type=Path, required=True, help="folder with model.onnx and model.json")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    return parser.parse_args()


if __name__ == "__main__":
    main()
