"""Every place that keeps images does the same; and a registry that fails, lies or wants to know who asks."""

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from images import distribution
from images.addresses import address_of
from images.base import embedded_base
from images.distribution import Registry, RegistryRefused, RegistryTrouble
from images.layer import sha256
from images.layout import Layout
from images.login import Login, login_on_host
from images.oci import CONFIG, DOCKER_MANIFEST, LAYER, MANIFEST, ImageDamaged, Repository, canonical
from images.package import Contents, package
from images.references import find, repository_of
from images.unpacked import unpack
from tests.release.registry import PASSWORD, USER, Answer, Front, LocalRegistry, skip_without_registry

LOGIN = Login(USER, PASSWORD)
WRITTEN = datetime(2013, 5, 1, tzinfo=UTC)


@pytest.fixture
def front(registry: LocalRegistry) -> Iterator[Front]:
    started = Front(registry)
    yield started
    started.stop()


@pytest.fixture(params=["folder", pytest.param("registry", marks=pytest.mark.integration)])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """What a platform file says: each test has a place of its own."""
    if request.param == "folder":
        return f"oci:{tmp_path / 'images'}"
    return f"{request.getfixturevalue('registry').host}/{tmp_path.name.replace('_', '-').lower()}"


def impatient(front: Front, name: str) -> Registry:
    return Registry(address_of(f"{front.host}/{name}/late"), pause_s=0.01)


def stored(repository: Repository, content: bytes = b"layer", media_type: str = MANIFEST) -> str:
    config, layer = repository.put(CONFIG, canonical({"of": content.decode()})), repository.put(LAYER, content)
    manifest = {"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer]}
    return repository.put(media_type, canonical(manifest))["digest"]


def test_what_was_put_is_read_by_its_digest(root: str) -> None:
    repository = repository_of(root, "late")

    digest = stored(repository)

    assert digest == sha256(repository.manifest(digest))
    manifest = json.loads(repository.manifest(digest))
    assert repository.blob(manifest["layers"][0]["digest"]) == b"layer"
    opened, same = find(repository.reference(digest))
    assert (opened.manifest(same), same) == (repository.manifest(digest), digest)


def test_a_name_is_moved_and_the_bytes_stay(root: str) -> None:
    repository = repository_of(root, "late")
    old, new = stored(repository, b"old"), stored(repository, b"new")
    before = repository.manifest(old)

    assert repository.names() == {}
    for digest, name in ((old, "v1"), (old, "production"), (new, "v2"), (new, "production"), (old, "previous")):
        repository.name(digest, name)

    assert repository.names() == {"v1": old, "v2": new, "production": new, "previous": old}
    assert repository.manifest(old) == before


def test_what_is_missing_is_named(root: str) -> None:
    repository, nothing = repository_of(root, "late"), f"sha256:{'0' * 64}"
    stored(repository)

    for read in (repository.blob, repository.manifest, lambda digest: repository.name(digest, "v1")):
        with pytest.raises(ImageDamaged, match=r"0000.*clear the package task"):
            read(nothing)


def test_a_deleted_manifest_is_gone_with_all_its_names_and_no_other_is(root: str) -> None:
    repository = repository_of(root, "late")
    old, new = stored(repository, b"old"), stored(repository, b"new")
    for digest, name in ((old, "v1"), (old, "staging"), (new, "v2")):
        repository.name(digest, name)

    repository.delete(old)
    repository.delete(old)

    assert repository.names() == {"v2": new}
    assert repository.resolve("staging") is None
    with pytest.raises(ImageDamaged):
        repository.manifest(old)
    repository.confirm(json.loads(repository.manifest(new)))


@pytest.mark.parametrize("digest", ["latest", "sha256:../../etc/passwd", "sha512:00", ""])
def test_nothing_is_read_by_anything_but_a_digest(root: str, digest: str) -> None:
    with pytest.raises(ImageDamaged, match="is no sha256 digest"):
        repository_of(root, "late").blob(digest)


def test_a_blob_is_taken_over_from_another_repository(root: str) -> None:
    base, repository = repository_of(root, "base"), repository_of(root, "late")
    layer = base.put(LAYER, b"a base layer")

    repository.copy(layer, base)
    repository.copy(layer, base)

    assert repository.blob(layer["digest"]) == b"a base layer"


def test_a_blob_is_taken_over_from_a_place_of_another_kind(root: str, tmp_path: Path) -> None:
    elsewhere, repository = Layout(tmp_path / "elsewhere"), repository_of(root, "late")
    layer = elsewhere.put(LAYER, b"from a folder")

    repository.copy(layer, elsewhere)

    assert repository.blob(layer["digest"]) == b"from a folder"


def test_a_packaged_model_comes_out_as_it_went_in_and_the_same_input_is_the_same_digest(root: str, tmp_path: Path) -> None:
    code = tmp_path / "serving"
    code.mkdir()
    (code / "server.py").write_text("# server\n")
    (code / "requirements.lock").write_text("numpy==2.4.6\n")
    contents = Contents("late", 3, WRITTEN, {"model.onnx": b"onnx"}, {"run": "manual-1"})

    image, other = (
        package(contents, embedded_base(code, repository), repository)
        for repository in (repository_of(root, "late"), Layout(tmp_path / "other"))
    )

    assert other.digest == image.digest
    assert repository_of(root, "late").names() == {"v3": image.digest}
    unpack(*find(image.reference), tmp_path / "unpacked")
    assert (tmp_path / "unpacked/models/current/model.onnx").read_bytes() == b"onnx"


# A registry only.


@pytest.mark.parametrize(
    ("name", "url", "message"),
    [
        ("registry.example.com/models/late", "https://registry.example.com", "registry.example.com/models/late"),
        ("registry.example.com:5000/late", "https://registry.example.com:5000", "registry.example.com:5000/late"),
        ("127.0.0.1:5000/late", "http://127.0.0.1:5000", "127.0.0.1:5000/late"),
        ("http://registry.example.com/late", "http://registry.example.com", "http://registry.example.com/late"),
        ("https://localhost:5000/late/", "https://localhost:5000", "https://localhost:5000/late"),
    ],
)
def test_a_name_says_which_registry_and_how_it_is_spoken_to(name: str, url: str, message: str) -> None:
    assert (address_of(name).url, address_of(name).display) == (url, message)
    assert address_of(address_of(name).display) == address_of(name)


@pytest.mark.integration
def test_docker_s_own_manifests_keep_their_type_when_they_are_named(registry: LocalRegistry) -> None:
    repository = repository_of(f"{registry.host}/docker", "late")
    digest = stored(repository, media_type=DOCKER_MANIFEST)

    repository.name(digest, "production")

    assert repository.names() == {"production": digest}
    assert json.loads(repository.manifest(digest))["mediaType"] == DOCKER_MANIFEST


@pytest.mark.integration
def test_a_blob_costs_one_post_and_one_put_and_one_that_is_there_only_a_look(front: Front) -> None:
    repository = repository_of(f"{front.host}/cost", "late")

    digest = repository.put(LAYER, b"once")["digest"]
    first, front.requests = [line.split("?")[0] for line in front.requests], []
    repository.put(LAYER, b"once")

    assert [line.partition(" ")[0] for line in first] == ["HEAD", "POST", "PUT"]
    assert front.requests == [f"HEAD /v2/cost/late/blobs/{digest}"]


@pytest.mark.integration
def test_a_mount_moves_no_byte_and_where_it_is_refused_the_blob_is_sent(front: Front) -> None:
    base, repository = repository_of(f"{front.host}/mount", "base"), repository_of(f"{front.host}/mount", "late")
    mounted, sent = base.put(LAYER, b"mounted"), base.put(LAYER, b"sent")

    front.requests = []
    repository.copy(mounted, base)
    assert [line.partition(" ")[0] for line in front.requests] == ["HEAD", "POST"]

    def refuse_mounts(request) -> Answer | None:
        request.path = request.path.partition("?mount")[0]  # then it answers 202, an upload begun

    front.before = refuse_mounts
    repository.copy(sent, base)
    assert repository.blob(sent["digest"]) == b"sent"


@pytest.mark.integration
@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_tried_again(front: Front, status: int) -> None:
    left = [status] * 3
    front.before = lambda request: (left.pop(), {}, b"") if left else None

    digest = impatient(front, "again").put(LAYER, f"{status}".encode())["digest"]

    front.before = lambda request: None
    assert repository_of(f"{front.host}/again", "late").blob(digest) == f"{status}".encode()


@pytest.mark.integration
def test_a_registry_that_stays_down_is_told_with_what_to_do(front: Front) -> None:
    front.before = lambda request: (503, {}, b"")
    message = r"registry of 127.0.0.1:\d+/down/late answers HEAD .* with 503, 4 times; see that it runs, then clear this task"
    with pytest.raises(RegistryTrouble, match=message):
        impatient(front, "down").put(LAYER, b"x")

    front.stop()
    with pytest.raises(RegistryTrouble, match=r"does not answer HEAD .*Connection refused.*, 4 times"):
        impatient(front, "down").put(LAYER, b"x")


@pytest.mark.integration
def test_a_registry_that_says_another_digest_is_not_trusted(front: Front) -> None:
    front.after = lambda request, answer: (answer[0], {**answer[1], "docker-content-digest": f"sha256:{'0' * 64}"}, answer[2])

    with pytest.raises(RegistryTrouble, match="something on the way alters what is sent"):
        stored(repository_of(f"{front.host}/liar", "late"))


@pytest.mark.integration
def test_altered_bytes_are_never_served(front: Front) -> None:
    repository = repository_of(f"{front.host}/altered", "late")
    digest = stored(repository)
    front.after = lambda request, answer: (answer[0], answer[1], answer[2].replace(b"layer", b"lawyer"))

    with pytest.raises(ImageDamaged, match="its storage was altered"):
        repository.manifest(digest)


@pytest.mark.integration
def test_a_lost_blob_is_found_after_the_push(registry: LocalRegistry) -> None:
    repository = repository_of(f"{registry.host}/lost", "late")
    manifest = json.loads(repository.manifest(stored(repository)))
    repository.confirm(manifest)

    shutil.rmtree(
        registry.home / "data/docker/registry/v2/repositories/lost/late/_layers/sha256" / manifest["layers"][0]["digest"][7:]
    )

    with pytest.raises(RegistryTrouble, match=f"does not have {manifest['layers'][0]['digest']}, which it accepted"):
        repository.confirm(manifest)


@pytest.mark.integration
def test_a_registry_that_does_not_let_images_be_deleted_is_told(tmp_path: Path) -> None:
    skip_without_registry()
    registry = LocalRegistry(tmp_path / "keeper", deletes=False)
    repository = repository_of(f"{registry.host}/keeper", "late")
    try:
        with pytest.raises(RegistryRefused, match=r"keeper/late does not allow deletion: allow it there .*DELETE_ENABLED=true"):
            repository.delete(stored(repository))
    finally:
        registry.stop()


@pytest.mark.integration
def test_many_names_come_page_by_page(front: Front) -> None:
    repository = repository_of(f"{front.host}/pages", "late")
    digest = stored(repository)
    for number in range(103):
        repository.name(digest, f"v{number}")

    assert len(repository.names()) == 103


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[LocalRegistry]:
    skip_without_registry()
    started = LocalRegistry(tmp_path / "guarded", login=True)
    yield started
    started.stop()


@pytest.mark.integration
def test_a_registry_that_wants_a_password_gets_it(guarded: LocalRegistry) -> None:
    repository = repository_of(f"{guarded.host}/models", "late", LOGIN)
    digest = stored(repository)
    repository.name(digest, "v1")

    assert repository.names() == {"v1": digest}


@pytest.mark.integration
def test_a_host_asks_as_who_is_logged_in_there(guarded: LocalRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = repository_of(f"{guarded.host}/models", "late", LOGIN)
    reference = repository.reference(stored(repository))
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {guarded.host: {"auth": auth}}}))

    with pytest.raises(RegistryRefused, match="demands a user"):
        find(reference)[0].manifest(find(reference)[1])
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert json.loads(find(reference)[0].manifest(find(reference)[1]))["mediaType"] == MANIFEST


@pytest.mark.parametrize("content", ["", "[]", '{"auths": {"r.example.com": {"auth": "%%%"}}}', '{"credsStore": "desktop"}'])
def test_without_a_readable_login_nobody_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text(content)

    assert login_on_host("r.example.com") is None


@pytest.mark.integration
@pytest.mark.parametrize(
    ("login", "message"),
    [
        (None, "demands a user and a password; name an Airflow connection that has them in images.connection"),
        (Login(USER, "wrong"), "with 401; requested as the user pusher. Correct the Airflow connection"),
    ],
)
def test_who_may_not_is_told_so_without_the_password(guarded: LocalRegistry, login: Login | None, message: str) -> None:
    with pytest.raises(RegistryRefused, match=message) as raised:
        stored(repository_of(f"{guarded.host}/models", "late", login))

    assert "wrong" not in f"{raised.value!r}{login!r}"


def bearer(front: Front, lasts: int) -> Callable[[object], Answer | None]:
    """Asks for a token, which `lasts` so many requests."""
    known = {"token": 0, "left": 0}

    def guard(request) -> Answer | None:
        if request.path.startswith("/token"):
            if request.headers.get("Authorization") != LOGIN.basic:
                return 403, {}, b"{}"
            known["token"], known["left"] = known["token"] + 1, lasts
            return 200, {"content-type": "application/json"}, json.dumps({"token": f"t{known['token']}"}).encode()
        known["left"] -= 1
        if request.headers.get("Authorization") == f"Bearer t{known['token']}" and known["left"] >= 0:
            return None
        challenge = f'Bearer realm="http://{front.host}/token",service="tests",scope="repository:late:pull,push"'
        return 401, {"WWW-Authenticate": challenge}, b""

    return guard


@pytest.mark.integration
def test_a_token_is_fetched_and_fetched_anew_when_it_has_run_out(front: Front) -> None:
    front.before = bearer(front, lasts=2)

    stored(repository_of(f"{front.host}/bearer", "late", LOGIN))

    tokens = [line for line in front.requests if line.startswith("GET /token")]
    assert len(tokens) >= 3
    assert set(tokens) == {"GET /token?service=tests&scope=repository%3Alate%3Apull%2Cpush"}


@pytest.mark.integration
def test_no_token_no_image(front: Front) -> None:
    front.before = bearer(front, lasts=2)

    with pytest.raises(RegistryRefused, match=r"sends its callers to http://.*/token for a token, which gave none \(403\)"):
        stored(repository_of(f"{front.host}/bearer", "late"))


def test_a_password_is_not_sent_where_it_could_be_read() -> None:
    from images.login import NoLogin, answer_challenge

    with Registry(address_of("registry.example.com/late"))._http as http, pytest.raises(NoLogin, match="read on the way"):
        answer_challenge('Bearer realm="http://other.example.com/token"', LOGIN, http)


class NewEachTime:
    """A login whose password is another one at each look, as AWS gives them."""

    user = "AWS"

    def __init__(self) -> None:
        self.given = 0

    @property
    def basic(self) -> str:
        self.given += 1
        return f"Basic {self.given}"


@pytest.mark.integration
@pytest.mark.parametrize("status", [401, 403])
def test_a_password_that_runs_out_is_asked_for_anew(front: Front, status: int) -> None:
    """Some registries answer 401 then, and others 403: those are not given an old one."""
    login = NewEachTime()
    left = {"with this one": 2}

    def guard(request) -> Answer | None:
        authorization = request.headers.get("Authorization")
        if authorization is None or left["with this one"] == 0:
            left["with this one"] = 2
            return (401 if authorization is None else status), {"WWW-Authenticate": 'Basic realm="r"'}, b""
        left["with this one"] -= 1
        return None

    front.before = guard
    stored(Registry(address_of(f"{front.host}/anew/late"), login, fresh_s=1e9 if status == 401 else 0))

    assert login.given >= 3


@pytest.mark.integration
def test_a_repository_that_ecr_does_not_have_is_told_with_the_command_that_makes_it(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distribution, "region_of", lambda host: "eu-west-1")
    said = b'{"errors": [{"code": "NAME_UNKNOWN", "message": "The repository with name x does not exist"}]}'
    front.before = lambda request: (404, {"content-type": "application/json"}, said)

    message = "NAME_UNKNOWN: .* does not exist; make it: aws ecr create-repository --region eu-west-1 --repository-name models/late"
    with pytest.raises(RegistryRefused, match=message):
        stored(repository_of(f"{front.host}/models", "late"))
