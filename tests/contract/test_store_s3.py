"""The store in a bucket: lost or late answers, an S3 that ignores conditions, several pages."""

import uuid

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from contract.errors import StoreError
from contract.store.factory import store_at
from contract.store.s3 import S3Store


@pytest.fixture
def bucket(s3):
    return S3Store(f"{s3}/{uuid.uuid4().hex}", pause_s=0.01)


def test_more_names_than_one_answer_holds(bucket):
    client = boto3.client("s3")
    for number in range(1100):
        client.put_object(Bucket="store", Key=f"{bucket.root.rpartition('/')[2]}/many/{number:04}", Body=b"")

    assert bucket.names("many") == [f"{number:04}" for number in range(1100)]


def test_more_objects_than_one_request_removes(bucket):
    client = boto3.client("s3")
    for number in range(1100):
        client.put_object(Bucket="store", Key=f"{bucket.root.rpartition('/')[2]}/many/{number:04}", Body=b"")

    assert bucket.remove("many") == 1100
    assert list(bucket.files("many")) == []


def test_objects_that_may_not_be_removed_are_told(bucket, monkeypatch):
    bucket.create("runs/a", b"")
    refused = {"Errors": [{"Key": "a", "Code": "AccessDenied"}]}
    monkeypatch.setattr(bucket._s3, "delete_objects", lambda **_: refused)

    with pytest.raises(StoreError, match=r"/runs could not be removed: 1 of its objects stay \(AccessDenied\); see that this user"):
        bucket.remove("runs")


def test_a_store_that_ignores_the_condition_is_refused_before_anything_is_written(bucket):
    def drop(params, **_):
        params["headers"].pop("If-None-Match", None)

    bucket._s3.meta.events.register("before-call.s3.PutObject", drop)

    for _ in range(2):
        with pytest.raises(StoreError, match=r"ignores «If-None-Match: .»: two writers could both win there"):
            bucket.create("a.json", b"x")
    assert bucket.names("") == []
    assert bucket.read("a.json") is None


def failing(bucket, monkeypatch, failures: list[tuple[bool, Exception]]) -> None:
    """The next puts: whether each is done, and its answer."""
    bucket.create("probed", b"")
    put = bucket._s3.put_object

    def spoilt(**given):
        if not failures:
            return put(**given)
        done, error = failures.pop(0)
        if done:
            put(**given)
        raise error

    monkeypatch.setattr(bucket._s3, "put_object", spoilt)


def said(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": ""}}, "PutObject")


LOST = EndpointConnectionError(endpoint_url="http://s3")


@pytest.mark.parametrize(
    "failures",
    [
        [(True, LOST)],  # the answer was lost, not the write
        [(False, LOST), (True, LOST)],
        [(False, said("SlowDown")), (False, said("503"))],
        [(False, said("ConditionalRequestConflict"))] * 3,  # another one was writing at that moment, and gave up
    ],
)
def test_a_write_that_seemed_to_fail_is_won_by_who_wrote_it(bucket, monkeypatch, failures):
    failing(bucket, monkeypatch, list(failures))

    assert bucket.create("a.json", b"mine") is True
    assert bucket.read("a.json") == b"mine"
    assert bucket.create("a.json", b"mine") is False


def test_a_write_that_failed_is_not_won_because_another_wrote_the_name(bucket, monkeypatch):
    bucket.create("a.json", b"theirs")
    failing(bucket, monkeypatch, [(False, LOST)])

    assert bucket.create("a.json", b"mine") is False
    assert bucket.read("a.json") == b"theirs"


def test_a_bucket_that_stays_away_is_told_with_what_to_do(bucket, monkeypatch):
    failing(bucket, monkeypatch, [(False, said("SlowDown"))] * 9)
    with pytest.raises(StoreError, match=r"a.json could not be written: SlowDown, 5 times; see that the bucket answers"):
        bucket.create("a.json", b"x")
    failing(bucket, monkeypatch, [(False, said("AccessDenied"))])
    with pytest.raises(StoreError, match=r"b.json could not be written: permission is denied to this user"):
        bucket.create("b.json", b"x")


def test_a_bucket_that_is_not_there_is_named(s3):
    for use in (lambda store: store.create("a", b""), lambda store: store.read("a"), lambda store: store.names("a")):
        with pytest.raises(StoreError, match=r"there is no bucket nowhere"):
            use(store_at("s3://nowhere/x"))
