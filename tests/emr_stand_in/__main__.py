"""AWS on this machine: moto's EMR, EMR Serverless and S3, where each step and each job run really runs its command.

`python -m tests.emr_stand_in PROGRAMS NODES` prints its address. PROGRAMS is a folder with the `spark-submit` and the `yarn` of the
cluster; NODES one below which its nodes write what containers say. POST /faults makes the next answers fail.
"""

import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import boto3
from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from tests.emr_stand_in import job_runs, steps
from tests.emr_stand_in.machine import Machine


class Faults:
    """Before moto: an answer that fails, for the next so many requests whose operation is `of`; `done`: after it was done."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self.app = app
        self.waiting: list[dict[str, Any]] = []
        self.operations: list[str] = []

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if path == "/faults":
            fault = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
            self.waiting = [*self.waiting, fault] if fault["times"] else []
            return answer(start_response, "200 OK", {})
        if path == "/asked":
            return answer(start_response, "200 OK", self.operations)
        operation = environ.get("HTTP_X_AMZ_TARGET", f"{method} {path}").removeprefix("ElasticMapReduce.")
        self.operations.append(operation)
        for fault in [fault for fault in self.waiting if re.search(fault["of"], operation) and fault["times"]]:
            fault["times"] -= 1
            if fault.get("done"):
                list(self.app(environ, lambda *_: None))
            return answer(start_response, fault["status"], {"__type": fault["code"], "message": fault.get("message", "")})
        return self.app(environ, start_response)


def answer(start_response: Callable[..., Any], status: str, body: Any) -> list[bytes]:
    content = json.dumps(body).encode()
    headers = [("Content-Type", "application/x-amz-json-1.1"), ("Content-Length", str(len(content)))]
    if isinstance(body, dict) and "__type" in body:
        headers.append(("x-amzn-ErrorType", body["__type"]))
    start_response(status, headers)
    return [content]


def main(programs: Path, nodes: Path) -> None:
    machine = Machine(programs, nodes)
    steps.install(machine)
    job_runs.install(machine)
    app = Faults(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, True, request_handler=MotoRequestHandler)
    url = f"http://127.0.0.1:{server.server_port}"
    known = {"aws_access_key_id": "stand-in", "aws_secret_access_key": "stand-in", "region_name": "eu-central-1"}
    machine.s3 = boto3.client("s3", endpoint_url=url, **known)
    print(url, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*(Path(folder).resolve() for folder in sys.argv[1:]))
