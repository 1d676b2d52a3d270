"""Amazon ECR: its registries' hosts, and what only AWS's API does for them. Credentials are boto3's configuration."""

import base64
import re
from typing import Any

from images.oci import RegistryRefused, RegistryTrouble

HOST = re.compile(r"(\d{12})\.dkr\.ecr(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")
RIGHTS = {"get_authorization_token": "ecr:GetAuthorizationToken", "batch_delete_image": "ecr:BatchDeleteImage"}


class EcrLogin:
    """Fetched from AWS each time that a registry demands it: a password lasts 12 hours."""

    user = "AWS"

    def __init__(self, region: str) -> None:
        self._region = region

    def __repr__(self) -> str:
        return f"EcrLogin({self._region!r})"

    @property
    def password(self) -> str:
        return base64.b64decode(self._token()).decode().partition(":")[2]

    @property
    def basic(self) -> str:
        return f"Basic {self._token()}"

    def _token(self) -> str:
        token: str = _call(self._region, "get_authorization_token")["authorizationData"][0]["authorizationToken"]
        return token


def ecr_login(host: str) -> EcrLogin | None:
    """None for a registry outside ECR."""
    region = region_of(host)
    return EcrLogin(region) if region else None


def region_of(host: str) -> str:
    """Empty where the host is not of ECR."""
    match = HOST.fullmatch(host)
    return match[2] if match else ""


def delete_image(host: str, path: str, digest: str) -> bool:
    """With all its tags. One that is gone already is no failure. False where the host is not of ECR: nothing is deleted."""
    match = HOST.fullmatch(host)
    if match is None:
        return False
    account, region = match.groups()
    given = {"registryId": account, "repositoryName": path, "imageIds": [{"imageDigest": digest}]}
    failures = _call(region, "batch_delete_image", **given).get("failures", ())
    kept = [failure for failure in failures if failure["failureCode"] != "ImageNotFound"]
    if kept:
        raise RegistryRefused(f"{host}/{path} does not delete {digest}: {kept[0]['failureCode']}, {kept[0].get('failureReason')}")
    return True


def _call(region: str, action: str, **given: Any) -> Any:
    import boto3  # takes a second, which another registry must not cost
    from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError

    try:
        return getattr(boto3.Session().client("ecr", region_name=region), action)(**given)
    except (ConnectionError, HTTPClientError) as error:
        raise RegistryTrouble(f"AWS does not answer {action} of ECR in {region} ({error}); try again later") from None
    except ClientError as error:
        reason = f"{error.response['Error']['Code']}: {error.response['Error'].get('Message', '')[:200]}"
        if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500 or "Throttl" in reason:
            raise RegistryTrouble(f"AWS answers {action} of ECR in {region} with {reason}; try again later") from None
        raise RegistryRefused(f"AWS refuses {action} of ECR in {region} ({reason}); {RIGHTS[action]} is needed") from None
    except BotoCoreError as error:
        reason = f"AWS cannot be called for {action} of ECR in {region} ({error})"
        raise RegistryRefused(
            f"{reason}; check the credentials that boto3 finds for this user, or name an Airflow connection in images.connection"
        ) from None
