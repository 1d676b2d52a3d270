"""One repository of a registry, over the OCI distribution API. Digests are computed here and compared with the registry's.

https://github.com/opencontainers/distribution-spec, version 1.1; Docker's own registry from 2.8 on speaks it too.
"""

import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from images.addresses import RepositoryAddress
from images.ecr import delete_image, region_of
from images.layer import sha256
from images.login import AnyLogin, NoLogin, answer_challenge
from images.oci import (
    INDEXES,
    MANIFESTS,
    Descriptor,
    ImageDamaged,
    RegistryRefused,
    RegistryTrouble,
    Repository,
    check_digest,
    descriptor,
)

TRIES, PAUSE_S, TIMEOUT_S = 4, 0.5, 60.0
FRESH_S = 6 * 3600.0  # some registries answer an expired password with 403, like a missing permission
RETRYABLE = {408, 425, 429, 500, 502, 503, 504}
ANY_MANIFEST = {"Accept": ", ".join((*MANIFESTS, *INDEXES))}


class _MayPass(Exception):
    """An answer, or none, that a later try may change."""


@cache
def _authorities() -> ssl.SSLContext:
    return httpx.create_ssl_context()


def _verify(url: str) -> ssl.SSLContext | bool:
    """Loading the CA certificates takes as long as packing a version: done once, and not for http."""
    return _authorities() if url.startswith("https://") else False


class Registry:
    def __init__(
        self,
        address: RepositoryAddress,
        login: AnyLogin | None = None,
        tries: int = TRIES,
        pause_s: float = PAUSE_S,
        fresh_s: float = FRESH_S,
    ) -> None:
        self.address, self._login = address, login
        self._tries, self._pause_s, self._fresh_s = tries, pause_s, fresh_s
        self._authorization, self._authorized_at = "", 0.0
        self._http = httpx.Client(
            base_url=f"{address.url}/v2/", timeout=TIMEOUT_S, follow_redirects=True, verify=_verify(address.url)
        )

    def put(self, media_type: str, content: bytes) -> Descriptor:
        blob = descriptor(media_type, content)
        if media_type in MANIFESTS:
            self._put_manifest(blob["digest"], media_type, content)
        elif not self._has(blob["digest"]):
            self._upload(blob["digest"], lambda: content)
        return blob

    def copy(self, descriptor: Descriptor, source: Repository) -> None:
        """By a mount, which transfers no bytes, where both are in one registry that allows it."""
        digest = descriptor["digest"]
        if not self._has(digest):
            beside = source.address.path if isinstance(source, Registry) and source.address.url == self.address.url else ""
            self._upload(digest, lambda: source.blob(digest), beside)

    def blob(self, digest: str) -> bytes:
        return self._checked(digest, self._get(f"blobs/{check_digest(digest)}").content)

    def manifest(self, digest: str) -> bytes:
        return self._checked(digest, self._get(f"manifests/{check_digest(digest)}", ANY_MANIFEST).content)

    def name(self, digest: str, name: str) -> None:
        """The same bytes under another name: written anew they would be another digest.

        One that has it already is left alone: registries with immutable names refuse even to repeat them.
        """
        if self.resolve(name) == digest:
            return
        answer = self._get(f"manifests/{check_digest(digest)}", ANY_MANIFEST)
        self._put_manifest(name, answer.headers["content-type"], self._checked(digest, answer.content))

    def resolve(self, name: str) -> str | None:
        answer = self._request("GET", f"manifests/{name}", allowed=(404,), headers=ANY_MANIFEST)
        return None if answer.status_code == 404 else sha256(answer.content)

    def names(self) -> dict[str, str]:
        return {name: digest for name in self._tags() if (digest := self.resolve(name))}

    def delete(self, digest: str) -> None:
        """The space is freed by the registry's garbage collection."""
        if delete_image(self.address.host, self.address.path, check_digest(digest)):
            return
        if self._request("DELETE", f"manifests/{check_digest(digest)}", allowed=(404, 405)).status_code == 405:
            raise RegistryRefused(
                f"the registry of {self.address.display} does not allow deletion: allow it there (in Docker's own, "
                f"REGISTRY_STORAGE_DELETE_ENABLED=true), or leave cleaning to the registry's own rules"
            )

    def reference(self, digest: str) -> str:
        return f"{self.address.display}@{digest}"

    def confirm(self, manifest: dict[str, Any]) -> None:
        """Requests every blob: a registry that accepted an upload may have lost it since."""
        lost = [blob["digest"] for blob in (manifest["config"], *manifest["layers"]) if not self._has(blob["digest"])]
        if lost:
            raise RegistryTrouble(f"{self.address.display} does not have {', '.join(lost)}, which it accepted: see its storage")

    def _tags(self) -> Iterator[str]:
        path = "tags/list?n=100"
        while path:
            answer = self._request("GET", path, allowed=(404,))
            if answer.status_code == 404:
                return
            yield from answer.json()["tags"] or ()
            following = answer.links.get("next", {}).get("url", "")
            path = f"tags/list?{following.partition('?')[2]}" if following else ""

    def _has(self, digest: str) -> bool:
        return self._request("HEAD", f"blobs/{check_digest(digest)}", allowed=(404,)).status_code != 404

    def _upload(self, digest: str, content: Callable[[], bytes], beside: str = "") -> None:
        """One POST and one PUT. With `beside` the registry may take the blob from that repository of its own (201).

        A 404 to the PUT: the registry forgot the upload, which is begun again, or had completed it when the answer was lost.
        """
        mount = {"mount": digest, "from": beside} if beside else {}
        for _ in range(self._tries):
            begun = self._request("POST", "blobs/uploads/", params=mount)
            if begun.status_code == 201:
                return
            where = httpx.URL(f"{self.address.url}/").join(begun.headers["location"]).copy_merge_params({"digest": digest})
            sent = self._request("PUT", where, (404,), {"Content-Type": "application/octet-stream"}, content=content())
            if sent.status_code != 404:
                return self._confirmed(digest, sent)
            if self._has(digest):
                return
        raise RegistryTrouble(
            f"{self.address.display} forgot the upload of {digest} {self._tries} times: see its storage, clear this task"
        )

    def _put_manifest(self, name: str, media_type: str, content: bytes) -> None:
        answer = self._request("PUT", f"manifests/{name}", headers={"Content-Type": media_type}, content=content)
        self._confirmed(sha256(content), answer)

    def _confirmed(self, digest: str, answer: httpx.Response) -> None:
        stored = answer.headers.get("docker-content-digest", digest)
        if stored != digest:
            raise RegistryTrouble(f"{self.address.display} stored {digest} as {stored}: something on the way alters what is sent")

    def _get(self, path: str, headers: Mapping[str, str] = {}) -> httpx.Response:
        answer = self._request("GET", path, allowed=(404,), headers=headers)
        if answer.status_code == 404:
            raise ImageDamaged(f"{self.address.display} has no {path}; clear the package task of its run, which writes it again")
        return answer

    def _checked(self, digest: str, content: bytes) -> bytes:
        if sha256(content) != digest:
            raise ImageDamaged(f"{self.address.display} answers {digest} with {sha256(content)}: its storage was altered")
        return content

    def _request(
        self, method: str, path: str | httpx.URL, allowed: tuple[int, ...] = (), headers: Mapping[str, str] = {}, **content: Any
    ) -> httpx.Response:
        """Retries what a later try may resolve. `content`: httpx's `params` and `content`."""
        pauses, end = wait_exponential(self._pause_s), stop_after_attempt(self._tries)
        retrying = Retrying(retry=retry_if_exception_type(_MayPass), wait=pauses, stop=end, reraise=True)
        try:
            return retrying(self._try, method, path, allowed, headers, content)
        except _MayPass as trouble:
            sentence = f"the registry of {self.address.display} {trouble}, {self._tries} times"
            raise RegistryTrouble(f"{sentence}; see that it runs, then clear this task") from None

    def _try(
        self, method: str, path: str | httpx.URL, allowed: tuple[int, ...], headers: Mapping[str, str], content: dict[str, Any]
    ) -> httpx.Response:
        try:
            answer = self._authorized(method, path, headers, content)
        except httpx.TransportError as error:
            raise _MayPass(f"does not answer {method} ({str(error) or type(error).__name__})") from error
        if answer.is_success or answer.status_code in allowed:
            return answer
        trouble = f"answers {method} {answer.request.url.path} with {answer.status_code}{_reason(answer)}"
        if answer.status_code in RETRYABLE:
            raise _MayPass(trouble)
        raise RegistryRefused(f"{self.address.display} {trouble}{self._advice(answer)}")

    def _authorized(
        self, method: str, path: str | httpx.URL, headers: Mapping[str, str], content: dict[str, Any]
    ) -> httpx.Response:
        """First without login, then as the registry's challenge demands; an expired token is fetched again."""
        url = path if isinstance(path, httpx.URL) else f"{self.address.path}/{path}"
        if time.monotonic() - self._authorized_at > self._fresh_s:
            self._authorization = ""

        def send() -> httpx.Response:
            known = {"Authorization": self._authorization} if self._authorization else {}
            return self._http.request(method, url, headers={**headers, **known}, **content)

        answer = send()
        if answer.status_code == 401:
            try:
                self._authorization = answer_challenge(answer.headers.get("www-authenticate", ""), self._login, self._http)
            except NoLogin as error:
                raise RegistryRefused(f"{self.address.display} {error}") from None
            self._authorized_at = time.monotonic()
            answer = send()
        return answer

    def _advice(self, answer: httpx.Response) -> str:
        if answer.status_code in (401, 403):
            who = f"the user {self._login.user}" if self._login else "no user: no login is configured"
            return f"; requested as {who}. Correct the Airflow connection that images.connection names, or the user's rights"
        region = region_of(self.address.host)
        if answer.status_code == 404 and region:
            return f"; make it: aws ecr create-repository --region {region} --repository-name {self.address.path}"
        return ""


def _reason(answer: httpx.Response) -> str:
    """The registry's own words, if it has any."""
    try:
        first = answer.json()["errors"][0]
        return f" {first['code']}: {str(first.get('message', ''))[:200]}"
    except (ValueError, KeyError, TypeError, IndexError):
        return ""
