"""Logins to registries: from Docker's configuration on this host, its helpers, and AWS."""

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from images.ecr import EcrLogin, delete_image, ecr_login, region_of
from images.layer import sha256
from images.login import Login, login_on_host
from images.oci import MANIFEST, RegistryRefused, RegistryTrouble, canonical

REGISTRY = "r.example.com:5000"
ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
HELPER = """#!{python}
import json, sys
known = {known}
host = sys.stdin.read()
assert sys.argv[1:] == ["get"]
if host not in known:
    sys.exit("credentials not found in native keychain")
print(json.dumps(dict(ServerURL=host, Username=known[host][0], Secret=known[host][1])))
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes Docker's configuration, with a helper «keys» that can be asked."""
    known = {REGISTRY: ("ann", "from a helper"), "token.example.com": ("<token>", "identity")}
    helper = tmp_path / "docker-credential-keys"
    helper.write_text(HELPER.format(python=sys.executable, known=known))
    helper.chmod(0o755)
    (tmp_path / "docker-credential-broken").write_text("#!/bin/sh\necho {\n")
    (tmp_path / "docker-credential-broken").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return lambda config: (tmp_path / "config.json").write_text(json.dumps(config))


def kept(host: str, user: str, password: str) -> dict:
    return {host: {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"auths": kept(REGISTRY, "bob", "written: down")}, Login("bob", "written: down")),
        ({"credHelpers": {REGISTRY: "keys"}}, Login("ann", "from a helper")),
        ({"credsStore": "keys"}, Login("ann", "from a helper")),
        ({"credsStore": "absent", "credHelpers": {REGISTRY: "keys"}}, Login("ann", "from a helper")),
        ({"credsStore": "keys", "auths": kept(REGISTRY, "bob", "old")}, Login("ann", "from a helper")),
        ({"credHelpers": {"other.example.com": "keys"}}, None),
        ({"credsStore": "absent"}, None),
        ({"credsStore": "absent", "auths": kept(REGISTRY, "bob", "b")}, Login("bob", "b")),
        ({"credsStore": "broken"}, None),
        ({"auths": {REGISTRY: {}}}, None),
        ({"auths": {REGISTRY: {"auth": None}}}, None),
        ({}, None),
    ],
)
def test_the_login_is_the_one_that_docker_would_use(docker, config: dict, expected: Login | None) -> None:
    docker(config)

    assert login_on_host(REGISTRY) == expected


@pytest.mark.parametrize("host", ["unknown.example.com", "token.example.com"])
def test_a_helper_that_has_no_password_names_nobody(docker, host: str) -> None:
    docker({"credsStore": "keys"})

    assert login_on_host(host) is None


# Amazon's.


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def aws(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"AWS_ENDPOINT_URL_ECR": moto, "AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("host", "region"),
    [
        (ECR, "eu-west-1"),
        ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("12345.dkr.ecr.eu-west-1.amazonaws.com", ""),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com.example.com", ""),
        ("evil.example.com/123456789012.dkr.ecr.eu-west-1.amazonaws.com", ""),
        ("public.ecr.aws", ""),
        ("registry.example.com:5000", ""),
        ("oci:", ""),
    ],
)
def test_a_host_says_whether_it_is_of_ecr_and_where(host: str, region: str) -> None:
    assert region_of(host) == region
    assert (ecr_login(host) is None) == (region == "")


def test_aws_is_asked_for_the_password_of_its_own_registry(aws: None, docker) -> None:
    docker({"credsStore": "keys"})

    login = login_on_host(ECR)

    assert isinstance(login, EcrLogin)
    assert (login.user, login.password) == ("AWS", "123456789012-auth-token")
    assert base64.b64decode(login.basic.removeprefix("Basic ")) == b"AWS:123456789012-auth-token"
    assert "auth-token" not in repr(login)


def test_docker_s_own_login_comes_before_aws(docker) -> None:
    docker({"auths": kept(ECR, "AWS", "of this morning")})

    assert login_on_host(ECR) == Login("AWS", "of this morning")


def test_a_deleted_image_is_gone_with_its_names_and_deleting_it_again_is_no_failure(aws: None) -> None:
    ecr = boto3.client("ecr", region_name="eu-west-1")
    ecr.create_repository(repositoryName="models/late")
    digests = [put(ecr, name) for name in ("v1", "v2")]
    put(ecr, "v1", tag="production")

    delete_image(ECR, "models/late", digests[0])
    delete_image(ECR, "models/late", digests[0])

    assert [entry["imageDigest"] for entry in ecr.list_images(repositoryName="models/late")["imageIds"]] == [digests[1]]


def put(ecr, content: str, tag: str = "") -> str:
    manifest = canonical({"schemaVersion": 2, "mediaType": MANIFEST, "layers": [], "config": {}, "annotations": {"of": content}})
    given = {"imageManifest": manifest.decode(), "imageManifestMediaType": MANIFEST, "imageDigest": sha256(manifest)}
    ecr.put_image(repositoryName="models/late", imageTag=tag or content, **given)
    return sha256(manifest)


def test_what_aws_refuses_is_told_with_the_right_that_it_takes(aws: None) -> None:
    with pytest.raises(RegistryRefused, match=r"RepositoryNotFoundException: .*absent.*; ecr:BatchDeleteImage is needed"):
        delete_image(ECR, "absent", f"sha256:{'0' * 64}")


def test_aws_that_does_not_answer_is_trouble_and_nobody_to_ask_as_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL_ECR": "http://127.0.0.1:1",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "absent"),
        "AWS_CONFIG_FILE": str(tmp_path / "absent"),
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RegistryTrouble, match="does not answer get_authorization_token of ECR in eu-west-1"):
        _ = EcrLogin("eu-west-1").password

    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(
        RegistryRefused, match=r"Unable to locate credentials.*check the credentials that boto3 finds for this user"
    ):
        _ = EcrLogin("eu-west-1").password
