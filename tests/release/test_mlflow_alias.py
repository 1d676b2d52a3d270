import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import pytest

from release.registries.mlflow_alias import AliasUnknown, MlflowAlias

ALIAS = "/api/2.0/mlflow/registered-models/alias"


class Mlflow(ThreadingHTTPServer):
    """The alias endpoint as MLflow 3.17 answers it, for one model with versions 1 to 5."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        super().__init__((address, 0), Endpoint)
        self.aliases: dict[tuple[str, str], str] = {}
        self.broken = False
        self.instead: bytes | None = None
        self.seconds = 0.0

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self.server_address)


class Endpoint(BaseHTTPRequestHandler):
    server: Mlflow

    def do_GET(self):
        request = dict(parse_qsl(urlsplit(self.path).query))
        name, alias = request["name"], request["alias"]
        if name != "late":
            self._refuse(404, "RESOURCE_DOES_NOT_EXIST", f"Registered Model with name={name} not found")
        elif (name, alias) not in self.server.aliases:
            self._refuse(400, "INVALID_PARAMETER_VALUE", f"Registered model alias {alias} not found.")
        else:
            self._answer(200, {"model_version": {"name": name, "version": self.server.aliases[name, alias]}})

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name, version = request["name"], request["version"]
        if urlsplit(self.path).path != ALIAS or not isinstance(version, str):
            self._refuse(400, "INVALID_PARAMETER_VALUE", f"Invalid value {version!r} for parameter 'version'")
        elif (name, version) not in {("late", str(known)) for known in range(1, 6)}:
            self._refuse(404, "RESOURCE_DOES_NOT_EXIST", f"Model Version (name={name}, version={version}) not found")
        else:
            self.server.aliases[name, request["alias"]] = version
            self._answer(200, {})

    def _refuse(self, code: int, error: str, message: str) -> None:
        self._answer(code, {"error_code": error, "message": message})

    def _answer(self, code: int, content: dict) -> None:
        time.sleep(self.server.seconds)
        body = b"<html>Bad Gateway</html>" if self.server.broken else self.server.instead or json.dumps(content).encode()
        self.send_response(502 if self.server.broken else code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(BrokenPipeError):  # who did not want to wait
            self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def mlflow() -> Iterator[Mlflow]:
    with Mlflow() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        yield server
        server.shutdown()


def test_the_alias_that_was_set_is_read_back(mlflow):
    alias = MlflowAlias(mlflow.url + "/")

    alias.set("late", 3)
    alias.set("late", 4)

    assert mlflow.aliases == {("late", "champion"): "4"}
    assert alias.get("late") == 4


@pytest.mark.parametrize("model", ["late", "never_registered"])
def test_a_model_without_the_alias_has_none(mlflow, model):
    assert MlflowAlias(mlflow.url).get(model) is None


def test_a_version_that_is_not_registered_is_an_error(mlflow):
    with pytest.raises(AliasUnknown, match=r"refused the alias of late's version 9 \(404 RESOURCE_DOES_NOT_EXIST\)"):
        MlflowAlias(mlflow.url).set("late", 9)


def test_a_broken_answer_is_never_read_as_no_alias(mlflow):
    mlflow.broken = True

    with pytest.raises(AliasUnknown, match=r"refused the alias of late \(502\)"):
        MlflowAlias(mlflow.url).get("late")


@pytest.mark.parametrize("body", [b"<html>Log in</html>", b"{}", b"[]", b'{"model_version": {"version": "latest"}}', b"\xff"])
def test_what_is_not_mlflow_is_never_read_as_an_alias(mlflow, body):
    mlflow.aliases["late", "champion"] = "4"
    mlflow.instead = body

    with pytest.raises(AliasUnknown, match=f"what answers at {mlflow.url}{ALIAS} is not MLflow; see `mlflow` in"):
        MlflowAlias(mlflow.url).get("late")


def test_a_registry_that_is_down_or_slow_does_not_hold_up_the_caller(mlflow):
    mlflow.seconds = 5
    begun = time.monotonic()
    for url in (mlflow.url, "http://127.0.0.1:1"):
        with pytest.raises(AliasUnknown, match=f"MLflow does not answer at {url}{ALIAS}"):
            MlflowAlias(url).get("late")
    assert time.monotonic() - begun < 4
