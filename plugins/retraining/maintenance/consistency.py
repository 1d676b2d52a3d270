"""Compares what Airflow can observe with the ledger. Only reports; repairs are the controller's."""

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar

import httpx

from contract.documents import Image
from contract.errors import PermanentError, RetrainingError, TransientError
from contract.keys import digest_of
from contract.paths import StoreLayout
from contract.platform import Platform
from contract.store.base import Store
from plugins.retraining.delivery import login_of
from release.ledger.entries import State
from release.ledger.ledger import Ledger, LedgerBroken

TIMEOUT_S = 3.0
RECHECK_DELAY_S = 30.0  # by then the controller has finished a change that was under way
NO_ALIAS = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # MLflow's codes for «no model» and «no alias»


class LedgerDiffers(PermanentError):
    """An observed component differs from the ledger, in two observations."""


class OutOfReach(TransientError):
    """A component cannot be reached from here; that says nothing about any model."""


class Difference(NamedTuple):
    """Between the ledger and a component. `text` is stable over observations, `detail` may vary."""

    component: str
    text: str
    detail: str = ""

    @property
    def sentence(self) -> str:
        return f"{self.text}: {self.detail}" if self.detail else self.text


class EndpointAnswer(NamedTuple):
    """Answer of a model's endpoint: the digest that it reports; None without an answer, empty where it reports none."""

    digest: str | None
    summary: str


Observe = Callable[[str, State], list[str]]
Mark = TypeVar("Mark", int, str)


def confirmed(observe: Callable[[], list[Difference]], delay_s: float = RECHECK_DELAY_S) -> list[Difference]:
    """Differences seen in two observations."""
    first = {difference.text for difference in observe()}
    if not first:
        return []
    time.sleep(delay_s)
    return [difference for difference in observe() if difference.text in first]


def differences(platform: Platform, store: Store) -> list[Difference]:
    ledger, states, result = Ledger(store), {}, []
    for model in ledger.models():
        try:
            last = ledger.last(model)
        except LedgerBroken as error:
            result.append(Difference("its own entries", str(error)))
        else:
            states[model] = last.state if last else State()
    for component, observe in observers(platform).items():
        result += _differences_of(component, observe, states)
    return result


def observers(platform: Platform) -> dict[str, Observe]:
    http = httpx.Client(timeout=TIMEOUT_S)
    return {
        "MLflow": partial(alias_problems, http, platform.mlflow),
        "images": partial(image_problems, lambda: login_of(platform.images)),
        "router": partial(endpoint_problems, http, platform.serving.url),
    }


def unreported(store: Store, current: list[Difference], now: datetime) -> list[Difference]:
    """Differences not yet reported today."""
    return [difference for difference in current if store.read(_marker(difference, now)) is None]


def mark_reported(store: Store, reported: list[Difference], now: datetime) -> None:
    for difference in reported:
        store.create(_marker(difference, now), (difference.sentence + "\n").encode())


def alias_problems(http: httpx.Client, url: str, model: str, state: State) -> list[str]:
    live = state.live
    if live is None:  # the alias is not removed when the very first version is rolled back
        return []
    actual = _alias(http, url, model)
    if not _differs(actual, live.version, {image.version for image in _moving(state)}):
        return []
    return [f"MLflow's alias champion is {f'version {actual}' if actual else 'not set'}, but {_named(live)} is live"]


def image_problems(login: Callable[[], Any], model: str, state: State) -> list[str]:
    """Checks each image's own repository, which may differ from the platform's current one."""
    from images.oci import Repository
    from images.references import repository_of

    expected = {name: image for name, image in (("production", state.live), ("previous", state.previous)) if image}

    @cache
    def open_(address: str) -> Repository:
        root, name = address.rsplit("/", 1)
        return repository_of(root, name, login())

    actual = {name: open_(image.reference.rpartition("@")[0]).resolve(name) for name, image in expected.items()}
    moving = {image.digest for image in _moving(state)}
    return [
        f"the image tagged {name} is {digest or 'missing'}, but the ledger's is {_named(expected[name])}"
        for name, digest in actual.items()
        if _differs(digest, expected[name].digest, moving)
    ]


def endpoint_problems(http: httpx.Client, url: str, model: str, state: State) -> list[str]:
    live = state.live
    answer = _answer(http, f"{url}/{model}/version")
    if not _differs(answer.digest, live.digest if live else None, {image.digest for image in _moving(state)}):
        return []
    return [f"{url}/{model} {answer.summary}, but {f'{_named(live)} is' if live else 'nothing is'} live"]


def _differences_of(component: str, observe: Observe, states: dict[str, State]) -> Iterator[Difference]:
    """For an unreachable component one difference stands for all models."""
    for model, state in states.items():
        try:
            yield from (Difference(component, f"{model}: {text}") for text in observe(model, state))
        except RetrainingError as error:
            yield Difference(component, f"{component} could not be reached", str(error))
            return


def _moving(state: State) -> tuple[Image, ...]:
    """Both images of a release or rollback under way; either may be observed meanwhile, so neither is a difference."""
    if state.active is None or state.active.request.kind == "check":
        return ()
    return (state.active.image, *((state.live,) if state.live else ()))


def _differs(actual: Mark | None, expected: Mark | None, moving: set[Mark]) -> bool:
    return actual != expected and not (moving and (actual is None or actual in moving))


def _alias(http: httpx.Client, url: str, model: str) -> int | None:
    endpoint = f"{url.rstrip('/')}/api/2.0/mlflow/registered-models/alias"
    try:
        answer = http.get(endpoint, params={"name": model, "alias": "champion"})
        body: dict[str, Any] = answer.json()
        if answer.is_success:
            return int(body["model_version"]["version"])
        if body["error_code"] in NO_ALIAS:
            return None
    except httpx.TransportError as error:
        raise OutOfReach(f"{endpoint} does not answer ({type(error).__name__})") from None
    except (ValueError, KeyError, TypeError):
        pass
    raise OutOfReach(f"{endpoint} answers {answer.status_code}, and not as MLflow does")


def _answer(http: httpx.Client, url: str) -> EndpointAnswer:
    """Raises OutOfReach where nothing listens; a slow or missing model counts as an answer."""
    try:
        answer = http.get(url)
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise OutOfReach(f"{url} cannot be reached from here ({type(error).__name__})") from None
    except httpx.TransportError as error:
        return EndpointAnswer(None, f"does not answer ({type(error).__name__})")
    if not answer.is_success:
        return EndpointAnswer(None, f"answers {answer.status_code}")
    try:
        body = answer.json()
        return EndpointAnswer(body["digest"] or "", f"answers as version {body['version']} ({body['digest']})")
    except (ValueError, KeyError, TypeError):
        return EndpointAnswer("", "does not answer as a model server does")


def _named(image: Image) -> str:
    return f"version {image.version} ({image.digest})"


def _marker(difference: Difference, now: datetime) -> str:
    return f"{StoreLayout.DIFFERENCES}/{now:%Y-%m-%d}/{digest_of(difference.text)[:16]}.json"
