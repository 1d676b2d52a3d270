"""AWS through an Airflow connection: clients, error translation, and the last lines of logs in S3."""

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

TRIES = 4  # botocore's attempts; longer outages are left to Airflow, which waits without a slot
LOOKBACK = timedelta(days=14)  # jobs older than this are not searched for
LAST_LINES = 20
BUSY = re.compile(r"Throttl|TooManyRequests|RequestLimitExceeded|SlowDown")
EXPIRED = re.compile(r"Expired|InvalidClientTokenId|UnrecognizedClient|CredentialRetrieval|TokenRetrieval|UnauthorizedSSOToken")


def client(service: str, connection: str, tries: int = TRIES) -> Any:
    """Checks the connection first, because the hook replaces a missing one by boto3's default credentials."""
    from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
    from botocore.config import Config

    _require(connection)
    config = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": tries})
    with aws_errors(connection):
        return AwsBaseHook(aws_conn_id=connection, client_type=service, config=config).conn


def _require(connection: str) -> None:
    try:
        BaseHook.get_connection(connection)
    except AirflowNotFoundException:
        problem = f"the Airflow connection {connection} does not exist: add it (type aws)"
        raise EngineTrouble(f"{problem}; without login and password it uses the worker's own role") from None


@contextmanager
def aws_errors(connection: str) -> Iterator[None]:
    """Turns transient errors and expired credentials, which say nothing about a job, into EngineAway, others into EngineTrouble."""
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

    try:
        yield
    except ClientError as error:
        code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        passes = status in (408, 429) or status >= 500 or BUSY.search(code) is not None
        raise _engine_error(f"{error.operation_name}: {code}", message, passes, code, connection) from error
    except BotoCoreError as error:
        passes = isinstance(error, HTTPClientError)
        raise _engine_error(type(error).__name__, str(error), passes, type(error).__name__, connection) from error


def _engine_error(what: str, message: str, passes: bool, code: str, connection: str) -> EngineTrouble:
    if EXPIRED.search(code):
        return EngineAway(f"AWS rejects the credentials ({what}): they expired; renew the Airflow connection {connection}")
    if passes:
        return EngineAway(f"AWS is temporarily unavailable ({what})")
    advice = (
        f"grant this permission to the identity of the Airflow connection {connection}"
        if "AccessDenied" in code
        else "see the platform's file"
    )
    return EngineTrouble(f"AWS refuses ({what}): {message.strip().rstrip('.')[:300]}; {advice}")


def allocation(settings: Mapping[str, str], limits: Limits) -> dict[str, str]:
    """Overrides EMR's default of dynamic allocation where a number of executors or a limit is set."""
    if "spark.executor.instances" in settings:
        return {"spark.dynamicAllocation.enabled": "false"}
    most = limits.maxExecutors
    return {} if most is None else {"spark.dynamicAllocation.maxExecutors": str(most)}


def folder_of(uri: str) -> tuple[str, str]:
    """Bucket and prefix of s3://BUCKET/PREFIX."""
    parts = urlsplit(uri)
    return parts.netloc, parts.path.strip("/")


def log_names(s3: Any, uri: str) -> list[str]:
    """URIs of the objects below a folder; empty on any error, because logs are only informative."""
    bucket, prefix = folder_of(uri)
    try:
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
        return [f"s3://{bucket}/{entry['Key']}" for page in pages for entry in page.get("Contents", ())]
    except Exception:
        return []


def log_text(s3: Any, uri: str) -> str:
    """Text of a .gz object; empty if it is missing or unreadable."""
    bucket, key = folder_of(uri)
    try:
        return gzip.decompress(s3.get_object(Bucket=bucket, Key=key)["Body"].read()).decode(errors="replace")
    except Exception:
        return ""


def last_lines(text: str) -> list[str]:
    return text.splitlines()[-LAST_LINES:]
