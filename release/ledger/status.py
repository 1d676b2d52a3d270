"""Status and history from the ledger, as data for programs and as lines for people."""

from collections.abc import Iterable
from datetime import datetime
from itertools import islice
from typing import Any

from contract.errors import RetrainingError
from release.ledger.entries import Entry, State, version_name
from release.ledger.ledger import Ledger

OUTCOMES_SHOWN = 3
CHANGING = ("shifting", "rolling_back")  # until the router is read back, the weights in force are not known


def status_of(ledger: Ledger, model: str) -> dict[str, Any]:
    """A ledger that cannot be read is reported as `problem`, without the other keys."""
    try:
        last = ledger.last(model)
    except RetrainingError as error:
        return {"model": model, "problem": str(error)}
    state = last.state if last else State()
    return {
        "model": model,
        "live": state.live and {"version": state.live.version, "digest": state.live.digest},
        "weights": state.weights,
        "frozen": state.frozen,
        "pinned": state.pinned,
        "probation": state.probation and state.probation.until.isoformat(),
        "quarantined": {entry.image.version: entry.why for entry in state.quarantined},
        "active": state.active and f"{state.active.request.kind} of {version_name(state.active.image)}: {state.active.phase}",
        "waiting": len(state.queue),
        "last": last and f"{last.time:%Y-%m-%d %H:%M:%S} {last.what}",
        "outcomes": [f"{outcome.kind}: {outcome.reason}" for outcome in state.outcomes[-OUTCOMES_SHOWN:]],
    }


def status_lines(status: dict[str, Any]) -> list[str]:
    if "problem" in status:
        return [status["model"], f"  PROBLEM   {status['problem']}"]
    live = status["live"]
    rows = {
        "live": f"version {live['version']} {live['digest']}" if live else "nothing: requests are answered 503",
        "weights": ", ".join(f"{percent} % {digest}" for digest, percent in status["weights"].items()),
        "probation": f"until {status['probation'][:19].replace('T', ' ')}: it is judged on" if status["probation"] else "",
        "frozen": status["frozen"],
        "pinned": status["pinned"],
        "quarantine": "; ".join(f"version {version}: {why}" for version, why in status["quarantined"].items()),
        "under way": status["active"],
        "waiting": f"{status['waiting']} request(s)" if status["waiting"] else "",
        "last entry": status["last"],
    }
    shown = [f"  {title:<11}{text}" for title, text in rows.items() if text]
    return [status["model"], *shown, *(f"  {'outcome':<11}{outcome}" for outcome in status["outcomes"])]


def history_of(ledger: Ledger, model: str, most: int) -> list[dict[str, Any]]:
    """The newest entries first."""
    keys = ("n", "time", "what", "who", "why")
    return [{key: entry.model_dump(mode="json")[key] for key in keys} for entry in islice(ledger.entries(model), most)]


def history_lines(entries: Iterable[dict[str, Any]]) -> list[str]:
    return [f"{entry['n']:>5} {entry['time'][:19].replace('T', ' ')} {_sentence(entry)}" for entry in entries]


def at_of(ledger: Ledger, model: str, when: datetime) -> dict[str, Any]:
    """The versions that had traffic at that time. `confirmed` is False while new weights were not read back yet."""
    entry = ledger.at(model, when)
    about = {"model": model, "time": when.isoformat()}
    if entry is None:
        return {**about, "weights": [], "confirmed": True, "entry": None}
    active = entry.state.active
    return {
        **about,
        "weights": [{**_image(entry, digest), "percent": percent} for digest, percent in entry.state.weights.items()],
        "confirmed": active is None or active.phase not in CHANGING,
        "entry": {"n": entry.n, "time": entry.time.isoformat(), "what": entry.what, "who": entry.who, "why": entry.why},
    }


def at_lines(report: dict[str, Any]) -> list[str]:
    if not report["weights"]:
        return [f"{report['model']}: nothing was live, requests were answered 503"]
    mark = "" if report["confirmed"] else "  (requested at that time, not yet confirmed by the router)"
    lines = [f"{share['percent']:>4} % version {share['version']} {share['digest']}{mark}" for share in report["weights"]]
    entry = report["entry"]
    return [
        f"{report['model']} at {report['time']}",
        *lines,
        f"  since entry {entry['n']}, {entry['time'][:19]}: {_sentence(entry)}",
    ]


def _sentence(entry: dict[str, Any]) -> str:
    return f"{entry['what']} ({entry['who']}: {entry['why']})"


def _image(entry: Entry, digest: str) -> dict[str, Any]:
    known = [entry.state.live, entry.state.active and entry.state.active.image]
    image = next(image for image in known if image and image.digest == digest)
    return {"version": image.version, "digest": digest}
