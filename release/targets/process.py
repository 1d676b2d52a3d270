"""Servers as programs of a running supervisord, one configuration file each; isolation is a process, not a container."""

import hashlib
import http.client
import random
import shlex
import xmlrpc.client
from pathlib import Path
from typing import Any

import psutil
from pydantic import ValidationError
from supervisor.states import RUNNING_STATES, STOPPED_STATES, ProcessStates
from supervisor.xmlrpc import Faults, SupervisorTransport

from contract.documents import Image
from contract.errors import PermanentError, TransientError
from contract.paths import Digest
from contract.platform import ServingHost
from contract.serving import REPLAY_ENV
from images.files import write_whole
from images.references import find
from images.unpacked import HASHES, unpack
from release.targets.base import Server
from release.targets.ports import PORTS, is_free

SOCKET = "supervisor.sock"  # below serving.home, as the three folders
PROGRAMS, IMAGES, LOGS = "servers", "images", "logs"
ANSWERING = (ProcessStates.STARTING, ProcessStates.RUNNING)


class HostUnreachable(TransientError):
    """supervisord does not answer; what it runs goes on as it is, or died with it."""


class WrongEnvironment(PermanentError):
    """This host's packages are not those that the image was built for."""


class ProcessTarget:
    def __init__(self, serving: ServingHost) -> None:
        self._home = Path(serving.home)
        if serving.python is None:
            raise WrongEnvironment("serving.python is missing: the target process needs the interpreter of serving's environment")
        self._python = Path(serving.python)

    def ensure(self, image: Image, count: int) -> None:
        names = [f"{_prefix(image.model, image.digest)}{i}" for i in range(count)]
        self._drop([name for name in self._programs(image.model, image.digest) if name not in names])
        states = self._states()
        missing = [name for name in names if states.get(name) not in (*RUNNING_STATES, ProcessStates.STOPPING)]
        if missing:
            self._start(image, missing, states)

    def servers(self) -> list[Server]:
        states = self._states()
        return [server for server in self._configured() if states.get(server.name) in ANSWERING]

    def digests(self, model: str) -> set[str]:
        return {server.digest for server in self._configured() if server.model == model}

    def stop(self, model: str, digest: str) -> None:
        self._drop(self._programs(model, digest))

    def memory_mb(self, server: Server) -> float | None:
        """Proportional set size of the program and its children: what they share counts once."""
        try:
            program = psutil.Process(self._call_supervisor("getProcessInfo", server.name)["pid"])
            tree = [program, *program.children(recursive=True)]
            size: float = sum(process.memory_full_info().pss for process in tree) / 2**20
            return size
        except (psutil.Error, HostUnreachable):
            return None

    def _start(self, image: Image, names: list[str], states: dict[str, int]) -> None:
        """A program starts when it is added. One that supervisord gave up is added again, for its port may be taken by now."""
        folder = self._home / IMAGES / Digest(image.digest).hex
        repository, digest = find(image.reference)
        passed = _passed(unpack(repository, digest, folder).env)
        self._refuse_other_lock(image, folder / "app/requirements.lock")
        new = [name for name in names if name not in states or self._remove(name)]
        for name in new:
            server = Server(model=image.model, digest=image.digest, url=f"http://127.0.0.1:{self._port(name)}", name=name)
            write_whole(self._conf(name), self._render(server, image.version, folder, passed).encode())
        self._call_supervisor("reloadConfig")
        for name in new:
            self._call_supervisor("addProcessGroup", name)

    def _drop(self, names: list[str]) -> None:
        """Files are deleted first: a restarted supervisord must not bring the servers back. Programs without a file are removed."""
        for name in names:
            self._conf(name).unlink()
        for name, state in self._states().items():
            if not self._conf(name).exists():
                self._forget(name, state)

    def _forget(self, name: str, state: int) -> None:
        """Takes two calls, as nothing waits: stops a running program, and removes a stopped one."""
        if state in RUNNING_STATES:
            self._call_supervisor("stopProcess", name, False, tolerated=Faults.NOT_RUNNING)
        elif state in STOPPED_STATES:
            self._remove(name)

    def _remove(self, name: str) -> bool:
        """False if it is running again."""
        return bool(self._call_supervisor("removeProcessGroup", name, tolerated=Faults.STILL_RUNNING))

    def _states(self) -> dict[str, int]:
        """Name: state of the servers' programs; supervisord's other programs have no digest in their names."""
        return {info["name"]: info["state"] for info in self._call_supervisor("getAllProcessInfo") if "-" in info["name"]}

    def _programs(self, model: str, digest: str) -> list[str]:
        return sorted(path.stem for path in self._folder.glob(f"{_prefix(model, digest)}*.conf"))

    def _configured(self) -> list[Server]:
        servers = [self._server(path) for path in sorted(self._folder.glob("*.conf"))]
        return [server for server in servers if server is not None]

    def _server(self, path: Path) -> Server | None:
        """The first line says what the program serves. None if the file was removed since it was listed."""
        try:
            return Server.model_validate_json(path.read_text().split("\n", 1)[0].removeprefix("; "))
        except FileNotFoundError:
            return None
        except ValidationError:
            raise PermanentError(
                f"{path} is no server's configuration; remove it, a server that is needed is started again"
            ) from None

    def _port(self, name: str) -> int:
        """The program's own port as long as nobody else took it, else one that no other program has."""
        servers = {path.stem: self._server(path) for path in self._folder.glob("*.conf")}
        taken = {other: int(server.url.rpartition(":")[2]) for other, server in servers.items() if server}
        own = taken.pop(name, None)
        if own is not None and is_free(own):
            return own
        for port in random.sample(PORTS, len(PORTS)):
            if port not in taken.values() and is_free(port):
                return port
        raise TransientError(f"no port of {PORTS.start}-{PORTS.stop - 1} on 127.0.0.1 is free; stop what uses them")

    def _render(self, server: Server, version: int, folder: Path, passed: dict[str, str]) -> str:
        program = {
            "command": escaped(shlex.join(["/bin/sh", "-c", self._command(server, version, passed)])),
            "directory": escaped(str(folder / "app")),
            "autorestart": "true",
            "stopwaitsecs": "30",  # a server gives its last requests 25 s
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": escaped(str(self._home / LOGS / f"{server.name}.log")),
            "stdout_logfile_maxbytes": "5MB",
            "stdout_logfile_backups": "2",
        }
        lines = [f"; {server.model_dump_json()}", f"[program:{server.name}]", *(f"{key}={value}" for key, value in program.items())]
        return "\n".join(lines) + "\n"

    def _command(self, server: Server, version: int, passed: dict[str, str]) -> str:
        """Each start, also supervisord's own restart, verifies the files first; the host's environment is not passed on."""
        environment = {
            "MODEL_NAME": server.model,
            "MODEL_VERSION": str(version),
            "IMAGE_DIGEST": server.digest,
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",  # the unpacked folder stays as it is
            **passed,
        }
        port = server.url.rpartition(":")[2]
        serve = [str(self._python), "-m", "serving", "--model", "../models/current", "--host", "127.0.0.1", "--port", port]
        start = ["setpriv", "--pdeathsig", "TERM", "env", "-i", *(f"{key}={value}" for key, value in environment.items()), *serve]
        return f"(cd .. && sha256sum --check --quiet --strict {HASHES}) && exec {shlex.join(start)}"

    def _refuse_other_lock(self, image: Image, expected: Path) -> None:
        installed = self._python.parent.parent / "requirements.lock"
        if not installed.exists() or _sha256(installed) != _sha256(expected):
            raise WrongEnvironment(
                f"version {image.version} of {image.model} was packaged for other packages than {installed} records;"
                " run `make setup` on this host with that version's code"
            )

    def _call_supervisor(self, method: str, *arguments: str | bool, tolerated: int | None = None) -> Any:
        """None for the tolerated fault."""
        socket_path = self._home / SOCKET
        transport = SupervisorTransport(serverurl=f"unix://{socket_path}")
        try:
            with xmlrpc.client.ServerProxy("http://localhost", transport=transport) as proxy:
                return getattr(proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == tolerated:
                return None
            raise HostUnreachable(f"supervisord at {socket_path} refused {method}{arguments}: {fault.faultString}") from None
        except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError) as error:
            raise HostUnreachable(
                f"nothing answers at {socket_path} ({error}); start supervisord: python -m release.routing.host --platform FILE"
            ) from None

    def _conf(self, name: str) -> Path:
        return self._folder / f"{name}.conf"

    @property
    def _folder(self) -> Path:
        return self._home / PROGRAMS


def _prefix(model: str, digest: str) -> str:
    return f"{model}-{Digest(digest).short}-"


def _passed(env: dict[str, str]) -> dict[str, str]:
    """Of the image's own environment only what this host knows the meaning of: the rest may be meant for a container."""
    return {name: env[name] for name in REPLAY_ENV if name in env}


def escaped(text: str) -> str:
    """For a value of a supervisor file, where a percent sign names a variable."""
    return text.replace("%", "%%")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
