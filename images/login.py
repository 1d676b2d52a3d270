"""Who asks a registry, and how its challenge is answered (RFC 9110, and the token protocol of Docker's registry)."""

import base64
import json
import os
import re
from pathlib import Path
from typing import NamedTuple

import httpx

PARAMETER = re.compile(r'(\w+)="([^"]*)"')


class NobodyKnown(Exception):
    """The registry wants to know who asks, and that cannot be told."""


class Login(NamedTuple):
    user: str
    password: str

    def __repr__(self) -> str:
        return f"Login({self.user!r}, …)"  # a password must not reach a log by accident

    @property
    def basic(self) -> str:
        return f"Basic {base64.b64encode(f'{self.user}:{self.password}'.encode()).decode()}"


def login_on_host(registry: str) -> Login | None:
    """What `docker login` left on this host for «HOST:PORT»; None where nobody logged in. A credential helper is not asked."""
    place = Path(os.environ.get("DOCKER_CONFIG", Path.home() / ".docker"), "config.json")
    try:
        kept = json.loads(place.read_bytes()).get("auths", {}).get(registry, {}).get("auth", "")
        user, _, password = base64.b64decode(kept).decode().partition(":")
    except (OSError, ValueError, AttributeError):
        return None
    return Login(user, password) if user else None


def answer_challenge(challenge: str, login: Login | None, http: httpx.Client) -> str:
    """The value of Authorization that `WWW-Authenticate: challenge` asks for. Raises NobodyKnown."""
    scheme, _, rest = challenge.partition(" ")
    if scheme.lower() == "basic":
        if login is None:
            raise NobodyKnown("wants a user and a password; name an Airflow connection that has them in images.connection")
        return login.basic
    if scheme.lower() == "bearer":
        return f"Bearer {_token(dict(PARAMETER.findall(rest)), login, http)}"
    raise NobodyKnown(f"wants to be asked by {challenge[:60]!r}, which is neither basic nor bearer")


def _token(wanted: dict[str, str], login: Login | None, http: httpx.Client) -> str:
    """Of the service that the challenge names; without a login it may give one for reading."""
    realm = wanted.pop("realm", "")
    if http.base_url.scheme == "https" and not realm.startswith("https://"):
        raise NobodyKnown(f"sends its callers to {realm or 'nowhere'} for a token, where a password would be read on the way")
    headers = {"Authorization": login.basic} if login else {}
    try:
        answer = http.get(realm, params=wanted, headers=headers)
        answer.raise_for_status()
        found = answer.json()
        return found.get("token") or found["access_token"]
    except (httpx.HTTPError, ValueError, KeyError, AttributeError) as error:
        reason = f"{error.response.status_code}" if isinstance(error, httpx.HTTPStatusError) else type(error).__name__
        raise NobodyKnown(f"sends its callers to {realm or 'nowhere'} for a token, which gave none ({reason})") from None
