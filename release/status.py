"""What is live, what is under way, and how the last requests ended, for people (or with --json for programs)."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from contract.errors import RetrainingError
from contract.platform import load_platform
from contract.store import store_at
from release.drafts import name
from release.ledger import Ledger, State

OUTCOMES_SHOWN = 3


def status_of(ledger: Ledger, model: str) -> dict[str, Any]:
    """Plain JSON data; a ledger that cannot be read is said in place of the rest."""
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
        "active": state.active and f"{state.active.request.kind} of {name(state.active.image)}: {state.active.phase}",
        "waiting": len(state.queue),
        "last": last and f"{last.time:%Y-%m-%d %H:%M:%S} {last.what}",
        "outcomes": [f"{outcome.kind}: {outcome.reason}" for outcome in state.outcomes[-OUTCOMES_SHOWN:]],
    }


def lines_of(status: dict[str, Any]) -> list[str]:
    if "problem" in status:
        return [status["model"], f"  PROBLEM   {status['problem']}"]
    live = status["live"]
    rows = {
        "live": f"version {live['version']} {live['digest']}" if live else "nothing: requests are answered 503",
        "weights": ", ".join(f"{percent} % {digest}" for digest, percent in status["weights"].items()),
        "frozen": status["frozen"],
        "under way": status["active"],
        "waiting": f"{status['waiting']} request(s)" if status["waiting"] else "",
        "last entry": status["last"],
    }
    shown = [f"  {title:<11}{text}" for title, text in rows.items() if text]
    return [status["model"], *shown, *(f"  {'outcome':<11}{outcome}" for outcome in status["outcomes"])]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="release.status", description=__doc__)
    parser.add_argument("--platform", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    try:
        ledger = Ledger(
            store_at(load_platform(chosen.platform, Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser()).store)
        )
        found = [status_of(ledger, model) for model in ledger.models()]
    except RetrainingError as error:
        print(error, file=sys.stderr)
        return 1
    if chosen.json:
        print(json.dumps(found, indent=1))
    else:
        print("\n".join(line for status in found for line in lines_of(status)) or "no model has been checked or released yet")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
