"""Explains in one sentence why a job died without recording an error, from its engine's diagnostics and its driver's log."""

import re
from typing import NamedTuple

from contract.errors import OutOfMemory, RetrainingError
from plugins.retraining.engines.base import Application
from plugins.retraining.errors import EngineTrouble

TAIL = 20


class Sign(NamedTuple):
    """A pattern in the diagnostics or the log, and its meaning; {1} is the pattern's first group."""

    pattern: str
    meaning: str
    kind: type[RetrainingError] = EngineTrouble


ON_AWS = (
    Sign(
        r"(?i)\bspot\b.{0,40}(?:interrupt|reclaim|terminat)",
        "AWS reclaimed a spot node that the job needed: raise on_demand in spark.emr.job_flow if this repeats",
    ),
    Sign(r"BOOTSTRAP_FAILURE", "the cluster's bootstrap failed: its log is in the cluster's folder of log_uri, below node/"),
    Sign(
        r"INSTANCE_FLEET_TIMEOUT|InsufficientInstanceCapacity|Insufficient capacity",
        "AWS had no such instances: name more instance_types or subnets in spark.emr.job_flow",
    ),
    Sign(r"VALIDATION_ERROR: ([^\n]{1,200})", "AWS refused the cluster ({1}): see spark.emr.job_flow"),
    Sign(r"INSTANCE_FAILURE", "the cluster lost its primary node: clear this task; if it repeats, see the cluster's nodes"),
    Sign(
        r"(?i)auto-termination",
        "the cluster had terminated after its idle timeout: clear cluster and the tasks after it, or raise idle_timeout",
    ),
    Sign(r"has ended: TERMINATED: USER_REQUEST", "the cluster was terminated from outside"),
    Sign(r"(?i)(?:application )?max(?:imum)? ?capacity", "the application's maximum capacity is smaller than the request"),
    Sign(r"AccessDenied|Access Denied|Status Code: 403", "the job's role lacks a permission: grant it (docs/emr.md)"),
)
SIGNS = (
    *ON_AWS,
    Sign(
        r"submitted by user \S+ to unknown queue: (\S+)|User \S+ (?:cannot|does not have permission to) submit[^\n]*queue (\S+)",
        "the queue {1} refused the application: set spark.queue to one that exists and that this user may submit to",
    ),
    Sign(
        r"Required executor memory|Required AM memory|[Rr]equested resource.{0,80}(?:maximum allowed|greater than)",
        "the cluster has no node large enough for the request: lower spark.driver or spark.executor memory and cores",
    ),
    Sign(
        r"running beyond physical memory limits|beyond the 'PHYSICAL' memory limit|exceeding memory limits",
        "YARN killed the driver's container, which exceeded its memory limit: raise spark.driver.memoryOverhead or memory",
        OutOfMemory,
    ),
    Sign(
        r"java\.lang\.OutOfMemoryError: ([^\n]{1,60})",
        "the driver ran out of memory ({1}): raise spark.driver.memory",
        OutOfMemory,
    ),
    Sign(r"MemoryError", "the driver's Python ran out of memory: raise spark.driver.memoryOverhead", OutOfMemory),
    Sign(
        r"[Ee]xit(?:ed with| code:?|Code:?) (?:a signal )?137|Killed by external signal",
        "the driver was killed from outside: by a person, or by a host short of memory; find out which, then clear this task",
    ),
    Sign(
        r"killed by user|Application killed|was killed",
        "the application was killed by a person or by the cluster; find out why, then clear this task",
    ),
    Sign(
        r"[Nn]ode .{0,60}(?:lost|unhealthy|LOST)|released on a \*lost\* node|expired|ApplicationMaster .* timed out",
        "the node of the driver was lost: clear this task; if it repeats, see the cluster's nodes",
    ),
    Sign(
        r"Connection refused|ConnectException|UnknownHostException",
        "a service could not be reached from the driver: see the log below for which, then clear this task",
    ),
    Sign(r"No space left on device", "a disk of the cluster is full: free space, then clear this task"),
)
NEXT = "clear this task to try again"


def diagnose(step: str, application: Application, lines: list[str]) -> RetrainingError:
    """Checks the engine's diagnostics first: a driver's last lines may show only consequences of its end."""
    diagnostics = application.diagnostics.strip()
    for text in (diagnostics, "\n".join(lines)):
        for sign in SIGNS:
            if match := re.search(sign.pattern, text):
                groups = [group for group in match.groups() if group]
                meaning = sign.meaning.replace("{1}", groups[0] if groups else "")
                return sign.kind(f"{step} ({application.id}): {meaning}{_shown(lines)}")
    detail = f": {diagnostics.splitlines()[0][:300]}" if diagnostics else ""
    return EngineTrouble(f"{step} ended without a result or a reason ({application.id}{detail}); {NEXT}{_shown(lines)}")


def _shown(lines: list[str]) -> str:
    last = [line for line in lines if line.strip()][-TAIL:]
    return "\nThe driver's last lines:\n  " + "\n  ".join(last) if last else ""
