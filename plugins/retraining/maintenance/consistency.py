"""Whether what can be seen from Airflow is as the ledger says. It only tells: the controller alone repairs."""

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar

import httpx

from contract.documents import Image
from contract.errors import RetrainingError
from contract.keys import digest_of
from contract.platform import Platform
from contract.store.base import Store
from plugins.retraining.delivery import login_of
from release.ledger.entries import State
from release.ledger.ledger import Ledger, LedgerBroken

TIMEOUT_S = 3.0
LOOK_AGAIN_S = 30.0  # what the controller is just about to bring about, it has brought about by then
NO_ALIAS = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # MLflow's «no model», «no alias»


class LedgerDiffers(RetrainingError):
    """The world is not as the ledger says, and stays so."""


class OutOfReach(RetrainingError):
    """A place could not be asked from here; that says nothing about any model."""


class Difference(NamedTuple):
    """Between the ledger and a place. `text` is the same at every look, `detail` may not be."""

    place: str
    text: str
    detail: str = ""

    @property
    def sentence(self) -> str:
        return f"{self.text}: {self.detail}" if self.detail else self.text


class EndpointAnswer(NamedTuple):
    """What came back from a model's path: the digest that it says it is, if it says one."""

    digest: str | None
    told: str


Observe = Callable[[str, State], list[str]]
Mark = TypeVar("Mark", int, str)


def lasting(observe: Callable[[], list[Difference]]) -> list[Difference]:
    """Those that two looks see."""
    first = {each.text for each in observe()}
    if not first:
        return []
    time.sleep(LOOK_AGAIN_S)
    return [each for each in observe() if each.text in first]


def differences(platform: Platform, store: Store) -> list[Difference]:
    ledger, states, found = Ledger(store), {}, []
    for model in ledger.models():
        try:
            last = ledger.last(model)
        except LedgerBroken as error:
            found.append(Difference("itself", str(error)))
        else:
            states[model] = last.state if last else State()
    for place, observe in observers(platform).items():
        found += _seen(place, observe, states)
    return found


def observers(platform: Platform) -> dict[str, Observe]:
    http = httpx.Client(timeout=TIMEOUT_S)
    return {
        "MLflow": partial(alias_problems, http, platform.mlflow),
        "images": partial(image_problems, lambda: login_of(platform.images)),
        "router": partial(endpoint_problems, http, platform.serving.url),
    }


def new(store: Store, found: list[Difference], now: datetime) -> list[Difference]:
    """Those that nobody was told of today."""
    return [each for each in found if store.read(_marker(each, now)) is None]


def note(store: Store, told: list[Difference], now: datetime) -> None:
    for each in told:
        store.create(_marker(each, now), (each.sentence + "\n").encode())


def alias_problems(http: httpx.Client, url: str, model: str, state: State) -> list[str]:
    live = state.live
    if live is None:  # nothing takes the alias away after the first version of all was taken back
        return []
    there = _alias(http, url, model)
    if not _differs(there, live.version, {image.version for image in _moving(state)}):
        return []
    return [f"MLflow's alias champion is {f'version {there}' if there else 'nowhere'}, but {_named(live)} is live"]


def image_problems(login: Callable[[], Any], model: str, state: State) -> list[str]:
    """In the repository of each image, which may be another than the platform's of today."""
    from images.references import repository_of

    wanted = {name: image for name, image in (("production", state.live), ("previous", state.previous)) if image}
    open_ = cache(lambda place: repository_of(*place.rsplit("/", 1), login()))
    there = {name: open_(image.reference.rpartition("@")[0]).named(name) for name, image in wanted.items()}
    moving = {image.digest for image in _moving(state)}
    return [
        f"the image named {name} is {digest or 'none'}, but the ledger's is {_named(wanted[name])}"
        for name, digest in there.items()
        if _differs(digest, wanted[name].digest, moving)
    ]


def endpoint_problems(http: httpx.Client, url: str, model: str, state: State) -> list[str]:
    live = state.live
    there = _answer(http, f"{url}/{model}/version")
    if not _differs(there.digest, live.digest if live else None, {image.digest for image in _moving(state)}):
        return []
    return [f"{url}/{model} {there.told}, but {f'{_named(live)} is' if live else 'nothing is'} live"]


def _seen(place: str, observe: Observe, states: dict[str, State]) -> Iterator[Difference]:
    """One that a place is out of reach stands for all of its models."""
    for model, state in states.items():
        try:
            yield from (Difference(place, f"{model}: {text}") for text in observe(model, state))
        except RetrainingError as error:
            yield Difference(place, f"{place} could not be asked", str(error))
            return


def _moving(state: State) -> tuple[Image, ...]:
    """Both sides of a release or rollback that is under way: what is found of them is the controller's to judge."""
    if state.active is None or state.active.request.kind == "check":
        return ()
    return (state.active.image, *((state.live,) if state.live else ()))


def _differs(there: Mark | None, wanted: Mark | None, moving: set[Mark]) -> bool:
    return there != wanted and not (moving and (there is None or there in moving))


def _alias(http: httpx.Client, url: str, model: str) -> int | None:
    place = f"{url.rstrip('/')}/api/2.0/mlflow/registered-models/alias"
    try:
        answer = http.get(place, params={"name": model, "alias": "champion"})
        said: dict[str, Any] = answer.json()
        if answer.is_success:
            return int(said["model_version"]["version"])
        if said["error_code"] in NO_ALIAS:
            return None
    except httpx.TransportError as error:
        raise OutOfReach(f"{place} does not answer ({type(error).__name__})") from None
    except (ValueError, KeyError, TypeError):
        pass
    raise OutOfReach(f"{place} answers {answer.status_code}, and not as MLflow does")


def _answer(http: httpx.Client, place: str) -> EndpointAnswer:
    """Raises OutOfReach where nobody listens; a model that is slow, or not there, is an answer."""
    try:
        answer = http.get(place)
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise OutOfReach(f"{place} cannot be reached from here ({type(error).__name__})") from None
    except httpx.TransportError as error:
        return EndpointAnswer(None, f"does not answer ({type(error).__name__})")
    if not answer.is_success:
        return EndpointAnswer(None, f"answers {answer.status_code}")
    try:
        said = answer.json()
        return EndpointAnswer(said["digest"] or "", f"answers as version {said['version']} ({said['digest']})")
    except (ValueError, KeyError, TypeError):
        return EndpointAnswer("", "does not answer as a model server does")


def _named(image: Image) -> str:
    return f"version {image.version} ({image.digest})"


def _marker(found: Difference, now: datetime) -> str:
    return f"differences/{now:%Y-%m-%d}/{digest_of(found.text)[:16]}.json"
