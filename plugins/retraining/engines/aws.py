"""AWS through an Airflow connection: its clients, what its refusals mean, and the ends of logs in S3."""

import gzip
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from contract.spark import Limits
from plugins.retraining.engines.base import EngineAway
from plugins.retraining.errors import EngineTrouble

TRIES = 4  # botocore's own, with its pauses: longer absences are for Airflow, which waits without a slot
LOOKBACK = timedelta(days=14)  # a job of which nobody has asked for so long is not looked for
LAST_LINES = 20
BUSY = re.compile(r"Throttl|TooManyRequests|RequestLimitExceeded|SlowDown")
EXPIRED = re.compile(r"Expired|InvalidClientTokenId|UnrecognizedClient|CredentialRetrieval|TokenRetrieval|UnauthorizedSSOToken")


def client(service: str, connection: str, tries: int = TRIES) -> Any:
    """The hook takes a connection that is missing for whatever boto3 finds by itself: here it is asked for first."""
    from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
    from botocore.config import Config

    _require(connection)
    config = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": tries})
    with asking(connection):
        return AwsBaseHook(aws_conn_id=connection, client_type=service, config=config).conn


def _require(connection: str) -> None:
    try:
        BaseHook.get_connection(connection)
    except AirflowNotFoundException:
        told = f"there is no Airflow connection {connection}: add it (type aws)"
        raise EngineTrouble(f"{told}; without login and password it stands for the role of the worker itself") from None


@contextmanager
def asking(connection: str) -> Iterator[None]:
    """Raises EngineAway for what passes or is for a person to renew, and says nothing about any job; EngineTrouble for the rest."""
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

    try:
        yield
    except ClientError as error:
        code, said = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        passes = status in (408, 429) or status >= 500 or BUSY.search(code) is not None
        raise _meaning(f"{error.operation_name}: {code}", said, passes, code, connection) from error
    except BotoCoreError as error:
        passes = isinstance(error, HTTPClientError)
        raise _meaning(type(error).__name__, str(error), passes, type(error).__name__, connection) from error


def _meaning(what: str, said: str, passes: bool, code: str, connection: str) -> EngineTrouble:
    if EXPIRED.search(code):
        return EngineAway(
            f"AWS does not take the credentials any more ({what}): they expired, renew the Airflow connection {connection}"
        )
    if passes:
        return EngineAway(f"AWS does not answer just now ({what})")
    advice = (
        f"give this right to whom the Airflow connection {connection} stands for"
        if "AccessDenied" in code
        else "see the platform's file"
    )
    return EngineTrouble(f"AWS refuses ({what}): {said.strip().rstrip('.')[:300]}; {advice}")


def allocation(settings: Mapping[str, str], limits: Limits) -> dict[str, str]:
    """EMR lets executors come and go unless it is told otherwise: a number of them that is set is kept, and the limit, too."""
    if "spark.executor.instances" in settings:
        return {"spark.dynamicAllocation.enabled": "false"}
    most = limits.maxExecutors
    return {} if most is None else {"spark.dynamicAllocation.maxExecutors": str(most)}


def folder_of(uri: str) -> tuple[str, str]:
    """Bucket and prefix of s3://BUCKET/PREFIX."""
    parts = urlsplit(uri)
    return parts.netloc, parts.path.strip("/")


def log_names(s3: Any, uri: str) -> list[str]:
    """Of the objects below a folder; empty if it cannot be looked at: logs only tell."""
    bucket, prefix = folder_of(uri)
    try:
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
        return [f"s3://{bucket}/{each['Key']}" for page in pages for each in page.get("Contents", ())]
    except Exception:
        return []


def log_text(s3: Any, uri: str) -> str:
    """Of a .gz; empty if it is not there, or cannot be read."""
    bucket, key = folder_of(uri)
    try:
        return gzip.decompress(s3.get_object(Bucket=bucket, Key=key)["Body"].read()).decode(errors="replace")
    except Exception:
        return ""


def last_lines(text: str) -> list[str]:
    return text.splitlines()[-LAST_LINES:]
