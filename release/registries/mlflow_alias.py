"""The alias `champion` in MLflow's registry, over its REST API: written for people, no decision depends on it."""

from typing import Any

import httpx

from contract.errors import TransientError

NAME = "champion"
TIMEOUT_S = 3.0  # of a background call of the controller


class AliasUnknown(TransientError):
    """MLflow did not answer, or refused; traffic does not depend on it."""


class MlflowAlias:
    def __init__(self, url: str) -> None:
        self._url = f"{url.rstrip('/')}/api/2.0/mlflow/registered-models/alias"
        self._http = httpx.Client(timeout=TIMEOUT_S)

    def set(self, model: str, version: int) -> None:
        answer = self._request("POST", json={"name": model, "alias": NAME, "version": str(version)})
        if answer.is_error:
            raise self._refused(answer, f"the alias of {model}'s version {version}")

    def get(self, model: str) -> int | None:
        """None where MLflow knows no such model, or one without this alias."""
        answer = self._request("GET", params={"name": model, "alias": NAME})
        if answer.is_success:
            return self._version(answer)
        if _error_code(answer) in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):  # MLflow's «no model», «no alias»
            return None
        raise self._refused(answer, f"the alias of {model}")

    def _request(self, method: str, **content: Any) -> httpx.Response:
        try:
            return self._http.request(method, self._url, **content)
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            raise AliasUnknown(f"MLflow does not answer at {self._url} ({reason}); see that it runs, the alias follows") from None

    def _version(self, answer: httpx.Response) -> int:
        try:
            return int(answer.json()["model_version"]["version"])
        except (ValueError, KeyError, TypeError):
            raise AliasUnknown(f"what answers at {self._url} is not MLflow; see `mlflow` in the platform's file") from None

    def _refused(self, answer: httpx.Response, what: str) -> AliasUnknown:
        reason = f"{answer.status_code} {_error_code(answer)}".rstrip()
        return AliasUnknown(f"MLflow at {self._url} refused {what} ({reason}); see that the version is registered there")


def _error_code(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error_code"])
    except (ValueError, KeyError, TypeError):
        return ""
