"""Logins to registries, and answers to a registry's challenge (RFC 9110, and the token protocol of Docker's registry)."""

import base64
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from images.ecr import EcrLogin, ecr_login

HELPER_S = 30  # a helper may prompt its user, or call a remote service
PARAMETER = re.compile(r'(\w+)="([^"]*)"')


class NoLogin(Exception):
    """The registry demands a login or a token that cannot be given."""


class Login(NamedTuple):
    user: str
    password: str

    def __repr__(self) -> str:
        return f"Login({self.user!r}, …)"  # a password must not reach a log by accident

    @property
    def basic(self) -> str:
        return f"Basic {base64.b64encode(f'{self.user}:{self.password}'.encode()).decode()}"


AnyLogin = Login | EcrLogin


def login_on_host(registry: str) -> AnyLogin | None:
    """What `docker login` stored on this host for «HOST:PORT», in its file or a credential helper; else AWS's, for ECR.

    None without either.
    """
    path = Path(os.environ.get("DOCKER_CONFIG", Path.home() / ".docker"), "config.json")
    try:
        config = json.loads(path.read_bytes())
        helper = config.get("credHelpers", {}).get(registry) or config.get("credsStore")
        login = (helper and _from_helper(helper, registry)) or _from_config(config, registry)
    except (OSError, ValueError, TypeError, AttributeError):
        login = None
    return login or ecr_login(registry)


def _from_config(config: dict[str, Any], registry: str) -> Login | None:
    kept = config.get("auths", {}).get(registry, {}).get("auth", "")
    user, _, password = base64.b64decode(kept).decode().partition(":")
    return Login(user, password) if user else None


def _from_helper(helper: str, registry: str) -> Login | None:
    """From the program `docker-credential-HELPER`. None if it has no login, or an identity token, which is no password."""
    command = [f"docker-credential-{helper}", "get"]  # of Docker's own configuration
    try:
        done = subprocess.run(command, input=registry, capture_output=True, text=True, timeout=HELPER_S)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    answer = json.loads(done.stdout) if done.returncode == 0 else {}
    user, secret = answer.get("Username", ""), answer.get("Secret", "")
    return Login(user, secret) if user not in ("", "<token>") else None


def answer_challenge(challenge: str, login: AnyLogin | None, http: httpx.Client) -> str:
    """The value of Authorization that `WWW-Authenticate: challenge` asks for. Raises NoLogin."""
    scheme, _, rest = challenge.partition(" ")
    if scheme.lower() == "basic":
        if login is None:
            raise NoLogin("demands a user and a password; name an Airflow connection that has them in images.connection")
        return login.basic
    if scheme.lower() == "bearer":
        return f"Bearer {_token(dict(PARAMETER.findall(rest)), login, http)}"
    raise NoLogin(f"demands the authentication {challenge[:60]!r}, which is neither basic nor bearer")


def _token(challenge: dict[str, str], login: AnyLogin | None, http: httpx.Client) -> str:
    """From the service that the challenge names; without a login it may still give one for reading."""
    realm = challenge.pop("realm", "")
    if http.base_url.scheme == "https" and not realm.startswith("https://"):
        raise NoLogin(f"sends its callers to {realm or 'nowhere'} for a token, where a password would be read on the way")
    headers = {"Authorization": login.basic} if login else {}
    try:
        answer = http.get(realm, params=challenge, headers=headers)
        answer.raise_for_status()
        content = answer.json()
        token: str = content.get("token") or content["access_token"]
    except (httpx.HTTPError, ValueError, KeyError, AttributeError) as error:
        reason = f"{error.response.status_code}" if isinstance(error, httpx.HTTPStatusError) else type(error).__name__
        raise NoLogin(f"sends its callers to {realm or 'nowhere'} for a token, which gave none ({reason})") from None
    return token
