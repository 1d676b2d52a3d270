"""Compares the ledger with alias, router, servers and tags; reports differences and, where no controller runs, repairs them."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from contract.errors import RetrainingError
from contract.platform import Platform
from release.controller.loop import AlreadyRunning, Controller, controller_for, lock, parts_of
from release.controller.reconciler import Parts
from release.decisions.state_machine import Projection, project
from release.ledger.entries import State, version_name
from release.ledger.ledger import Ledger

REPAIR_WITHIN_S, PAUSE_S = 120.0, 1.0


def reconcile(platform: Platform, within_s: float = REPAIR_WITHIN_S, pause_s: float = PAUSE_S) -> tuple[list[str], bool]:
    """The remaining differences, and whether this call repaired. A system that cannot be reached is a difference, not an error."""
    parts, servers = parts_of(platform), platform.serving.servers
    try:
        held = lock(Path(platform.serving.home))
    except AlreadyRunning:
        return differences(parts, servers), False
    with held:
        _remove_leftovers(parts)
        return _repair(controller_for(platform), lambda: differences(parts, servers), within_s, pause_s), True


def differences(parts: Parts, servers: int) -> list[str]:
    """One sentence per difference, of all models and of servers without a ledger."""
    ledger = Ledger(parts.store)
    try:
        models = ledger.models()
    except RetrainingError as error:
        return [str(error)]
    problems = [f"{model}: {what}" for model in models for what in _of_model(parts, ledger, model, servers)]
    return [
        *problems,
        *_problems_of("the servers", lambda: [f"{m}: {d} runs, and no ledger names it" for m, d in _leftovers(parts)]),
    ]


def _repair(controller: Controller, find_problems: Callable[[], list[str]], within_s: float, pause_s: float) -> list[str]:
    until = time.monotonic() + within_s
    while True:
        controller.reconcile()
        problems = find_problems()
        if not problems or time.monotonic() > until:
            return problems
        time.sleep(pause_s)


def _of_model(parts: Parts, ledger: Ledger, model: str, servers: int) -> list[str]:
    try:
        last = ledger.last(model)
    except RetrainingError as error:
        return [str(error)]
    state = last.state if last else State()
    if state.active and state.active.request.kind != "check":
        return [
            f"a {state.active.request.kind} of {version_name(state.active.image)} is in work ({state.active.phase}): "
            "run this again when it has ended"
        ]
    projection = project(state, servers)
    return [
        *_problems_of("the router", lambda: _router(parts, model, projection)),
        *_problems_of("the servers", lambda: _servers(parts, model, projection)),
        *_problems_of("MLflow", lambda: _alias(parts, model, projection)),
        *_problems_of("the images' repository", lambda: _tags(parts, projection)),
    ]


def _problems_of(whom: str, find_problems: Callable[[], list[str]]) -> list[str]:
    try:
        return find_problems()
    except (RetrainingError, OSError) as error:
        return [f"{whom} could not be read: {error}"]


def _router(parts: Parts, model: str, projection: Projection) -> list[str]:
    seen = parts.router.seen(model)
    if seen is None:
        return ["the router does not report its weights, or routes to other servers than it was given"]
    return [] if seen == projection.weights else [f"the router has the weights {seen}, the ledger {projection.weights}"]


def _servers(parts: Parts, model: str, projection: Projection) -> list[str]:
    running = Counter(server.digest for server in parts.target.servers() if server.model == model)
    expected = {digest: count for digest, (_, count) in projection.servers.items()}
    digests = sorted(expected.keys() | running.keys())
    return [
        f"{running[d]} server(s) of {d} run, the ledger expects {expected.get(d, 0)}"
        for d in digests
        if running[d] != expected.get(d, 0)
    ]


def _alias(parts: Parts, model: str, projection: Projection) -> list[str]:
    registered, live = parts.alias.get(model), projection.champion.version if projection.champion else None
    return (
        []
        if live is None or registered == live
        else [f"MLflow's alias champion is version {registered or 'none'}, live is version {live}"]
    )


def _tags(parts: Parts, projection: Projection) -> list[str]:
    tagged = {tag: parts.tags.get(tag, image) for tag, image in projection.tags.items()}
    return [
        f"the tag {tag} is {tagged[tag] or 'nothing'}, not {version_name(image)}"
        for tag, image in projection.tags.items()
        if tagged[tag] != image.digest
    ]


def _leftovers(parts: Parts) -> Iterator[tuple[str, str]]:
    """Servers of models without a ledger, by (model, digest); the others are stopped by the controller."""
    models = set(Ledger(parts.store).models())
    yield from sorted({(server.model, server.digest) for server in parts.target.servers() if server.model not in models})


def _remove_leftovers(parts: Parts) -> None:
    for model, digest in _leftovers(parts):
        parts.target.stop(model, digest)
