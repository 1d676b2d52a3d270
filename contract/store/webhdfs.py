"""WebHDFS client, authenticated by user.name. Addresses are from Hadoop's configuration in HADOOP_CONF_DIR."""

import getpass
import os
import xml.etree.ElementTree as ElementTree
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from contract.errors import StoreError

Answer = TypeVar("Answer")
TRIES, PAUSE_S = 7, 0.3  # 19 s: as long as a NameNode takes to start again, or the other one of a pair to take over
CONNECT_S, ANSWER_S, LARGE_ANSWER_S = 5, 20, 120
MISSING, TAKEN = "FileNotFoundException", "FileAlreadyExistsException"
DENIED, FULL = "permission is denied to the user {user}", "the quota is used up: free space, then clear this task"
FINAL = {
    MISSING: "{message}",
    TAKEN: "{message}",
    "AccessControlException": DENIED,
    "SecurityException": DENIED,
    "NSQuotaExceededException": FULL,
    "DSQuotaExceededException": FULL,
    "QuotaByStorageTypeExceededException": FULL,
    "ParentNotDirectoryException": "{message}",
    "IllegalArgumentException": "{message}",
    "InvalidPathException": "{message}",
}


class Refused(Exception):
    """A refusal that a retry does not change."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


class Unavailable(Exception):
    """No answer, or none from an active NameNode: the operation may have been done."""


class WebHdfs:
    """Client of one root's NameNodes; the one that answered last is tried first."""

    def __init__(self, root: str, tries: int, pause_s: float):
        import requests  # another store must not cost its import

        self.tries, self._pause_s = tries, pause_s
        self._addresses = deque(web_addresses(root, configuration()))
        self._user = os.environ.get("HADOOP_USER_NAME") or getpass.getuser()
        self._http = requests.Session()

    def again(self, send: Callable[[], Answer]) -> Answer:
        """Tries one NameNode after the other, and pauses when none has answered."""
        retrying = Retrying(
            retry=retry_if_exception_type(Unavailable),
            after=lambda _: self._addresses.rotate(-1),
            stop=stop_after_attempt(self.tries * len(self._addresses)),
            wait=self._pause,
            reraise=True,
        )
        return retrying(send)

    def _pause(self, state: RetryCallState) -> float:
        rounds, rest = divmod(state.attempt_number, len(self._addresses))
        return 0.0 if rest else self._pause_s * 2 ** (rounds - 1)

    def request(self, method: str, path: str, op: str, content: bytes | Path | None = None, **given: str) -> Any:
        """Content is exchanged with the DataNode that the NameNode redirects to: two HTTP requests."""
        import requests

        address = self._addresses[0]
        query = {"op": op, "user.name": self._user, **given}
        timeout = (CONNECT_S, LARGE_ANSWER_S if isinstance(content, Path) else ANSWER_S)
        once: dict[str, Any] = {"allow_redirects": False, "timeout": timeout}
        try:
            answer = self._http.request(method, f"{address}/webhdfs/v1{quote(path)}", params=query, **once)
            if answer.is_redirect:
                with content.open("rb") if isinstance(content, Path) else nullcontext(content) as body:
                    answer = self._http.request(method, _next(address, answer.headers["Location"]), data=body, **once)
            elif content is not None and answer.ok:
                raise Refused("", f"{address} does not redirect to a DataNode")
        except requests.RequestException as error:
            raise Unavailable(f"{address} does not answer ({type(error).__name__})") from error
        return _accepted(address, answer)

    def advice(self, refused: Refused) -> str:
        return FINAL.get(refused.code, "{message}").format(user=self._user, message=refused)


def _next(address: str, location: str) -> str:
    if urlsplit(location).scheme not in ("https", urlsplit(address).scheme):
        raise Refused("", f"{address} redirects to {location.partition('?')[0]}, which is refused")
    return location


def _accepted(address: str, answer: Any) -> Any:
    if answer.status_code in (200, 201):
        return answer
    if "Negotiate" in answer.headers.get("WWW-Authenticate", ""):
        raise StoreError(f"{address} asks for Kerberos, which is not supported yet")
    try:
        failure = answer.json()["RemoteException"]
    except (ValueError, LookupError, TypeError):
        failure = {}
    code, message = failure.get("exception", str(answer.status_code)), str(failure.get("message", ""))
    if not failure and answer.status_code < 500:
        raise Refused("", f"{address} answers {code}: it is no NameNode's WebHDFS")
    if code in FINAL:
        raise Refused(code, message.partition("\n")[0][:300])
    raise Unavailable(f"{address} answers {code}")


def configuration() -> dict[str, str]:
    """Properties of core-site.xml and hdfs-site.xml, as far as the files exist."""
    properties: dict[str, str] = {}
    folder = os.environ.get("HADOOP_CONF_DIR")
    for file in (Path(folder, name) for name in ("core-site.xml", "hdfs-site.xml") if folder):
        if file.exists():
            rows = ElementTree.parse(file).getroot().iter("property")  # noqa: S314 this machine's own configuration
            properties |= {(row.findtext("name") or "").strip(): (row.findtext("value") or "").strip() for row in rows}
    return properties


def web_addresses(root: str, conf: dict[str, str]) -> list[str]:
    """Of the root's NameNode, or of each NameNode of its nameservice. Another cluster's configuration is ignored."""
    name, host = urlsplit(root).netloc, urlsplit(root).hostname
    if not host:
        raise StoreError(f"store {root}: name the NameNode or the nameservice, as in hdfs://NAMENODE:8020/PATH")
    scheme, port = ("https", 9871) if conf.get("dfs.http.policy") == "HTTPS_ONLY" else ("http", 9870)
    key = f"dfs.namenode.{scheme}-address"
    nodes = [f"{key}.{name}.{node.strip()}" for node in conf.get(f"dfs.ha.namenodes.{name}", "").split(",") if node.strip()]
    if absent := [node for node in nodes if node not in conf]:
        raise StoreError(f"store {root}: {' and '.join(absent)} must be in the hdfs-site.xml of HADOOP_CONF_DIR")
    if nodes:
        return [f"{scheme}://{conf[node]}" for node in nodes]
    is_ours = urlsplit(conf.get("fs.defaultFS", root)).hostname == host
    configured = urlsplit(f"//{conf.get(key, '')}" if is_ours else "")
    listens = host if configured.hostname in (None, "0.0.0.0") else configured.hostname  # noqa: S104 a bind address is not the host's address
    return [f"{scheme}://{listens}:{configured.port or port}"]
