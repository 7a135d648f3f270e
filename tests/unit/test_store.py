"""Where evidence is kept: a directory, and a bucket of a real S3-compatible server on loopback."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

boto3 = pytest.importorskip("boto3", reason="the extra s3 is not installed")
moto_server = pytest.importorskip("moto.server", reason="moto is not installed")

from harness import store_s3  # noqa: E402
from harness.environment.gate import S3Store  # noqa: E402
from harness.environment.loader import load  # noqa: E402
from harness.errors import HarnessError  # noqa: E402
from harness.secrets import Secret, SecretStore  # noqa: E402
from harness.store import AlreadyThere, DirectoryStore, Store, open_store  # noqa: E402
from harness.store_s3 import S3Bucket  # noqa: E402
from tests.attack.stand import write_tree  # noqa: E402
from tests.promotion_stand import PRODUCTION, Deposit  # noqa: E402

ACCESS, SECRET = "sentinel-access-key", "sentinel-secret-5kQ2vT9wLk"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def settings(endpoint: str, bucket: str = "evidence") -> S3Store:
    return S3Store(endpoint=endpoint, bucket=bucket, access_key="env:ACCESS", secret_key="env:SECRET")


def bucket_at(endpoint: str, bucket: str = "evidence") -> S3Bucket:
    return S3Bucket(settings(endpoint, bucket), Secret(ACCESS), Secret(SECRET))


@pytest.fixture
def bucket(endpoint: str, request: pytest.FixtureRequest) -> S3Bucket:
    """A new bucket for each test."""
    name = f"evidence-{abs(hash(request.node.nodeid)) % 10**9}"
    made = bucket_at(endpoint, name)
    made._client.create_bucket(Bucket=name)
    return made


@pytest.fixture(params=["directory", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "directory":
        return DirectoryStore(tmp_path / "evidence")
    return request.getfixturevalue("bucket")


def test_what_is_put_is_got(store: Store) -> None:
    store.put("runs/local/a.intoto.json", b"\x00one")
    assert store.get("runs/local/a.intoto.json") == b"\x00one"
    assert store.get("runs/local/b.intoto.json") is None
    assert "runs/local/a.intoto.json" in store.where("runs/local/a.intoto.json")


def test_nothing_is_replaced(store: Store) -> None:
    store.put("promotions/x.json", b"first")
    with pytest.raises(AlreadyThere, match="exists already; evidence is never replaced"):
        store.put("promotions/x.json", b"second")
    assert store.get("promotions/x.json") == b"first"


def test_of_many_at_once_one_succeeds(store: Store) -> None:
    store.put("other", b"0")
    start, told = threading.Barrier(6), []

    def put(number: int) -> None:
        start.wait()
        try:
            store.put("promotions/raced.json", str(number).encode())
            told.append(number)
        except AlreadyThere:
            told.append(None)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [winner] = [number for number in told if number is not None]
    assert store.get("promotions/raced.json") == str(winner).encode()


def test_names_are_listed_in_order_by_prefix(store: Store) -> None:
    for name in ("runs/b/2.json", "runs/b/1.json", "runs/a/1.json", "runs/bb/1.json"):
        store.put(name, b"x")
    assert store.names("runs/b/") == ["runs/b/1.json", "runs/b/2.json"]
    assert store.names("nothing/") == []


def test_what_is_deleted_is_gone(store: Store) -> None:
    store.put("a", b"x")
    store.delete("a")
    store.delete("a")
    assert store.get("a") is None


def test_a_promotion_through_a_bucket_counts_once(bucket: S3Bucket, tmp_path: Path) -> None:
    deposit = Deposit(write_tree(tmp_path / "tree"))
    for name in deposit.store.names("runs/"):
        bucket.put(name, deposit.store.get(name) or b"")
    deposit.store = bucket
    deposit.approve()
    promotion = deposit.promotion()
    assert promotion.decide().open
    promotion.claim(PRODUCTION)
    promotion.finish("GO")
    deposit.is_denied("was used already: begun ")
    assert promotion.evidence and promotion.evidence.where.startswith("s3://")


def test_more_than_a_page_of_objects(bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_s3, "_PAGE", 2)
    for number in range(5):
        bucket.put(f"runs/{number}", b"x")
    assert bucket.names("runs/") == [f"runs/{number}" for number in range(5)]


# --- a store that is wrong ---------------------------------------------------------------------------


def test_a_bucket_that_does_not_exist(endpoint: str) -> None:
    with pytest.raises(HarnessError, match=r"bucket nowhere: NoSuchBucket; see gate\.s3"):
        bucket_at(endpoint, "nowhere").put("a", b"x")


def test_a_store_that_is_out_of_reach() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(HarnessError, match="EndpointConnectionError") as caught:
            bucket_at(url).get("a")
    assert ACCESS not in str(caught.value) and SECRET not in str(caught.value)


class Overwrites(BaseHTTPRequestHandler):
    """A store that has never heard of If-None-Match."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def overwriting() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Overwrites)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_store_that_overwrites_is_refused(overwriting: str) -> None:
    with pytest.raises(HarnessError, match="a promotion could be used twice in it"):
        bucket_at(overwriting).put("promotions/x.json", b"x")


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(HarnessError, match=r"gate\.s3 needs boto3"):
        bucket_at("http://127.0.0.1:1")


def test_an_environment_names_its_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    root = write_tree(tmp_path / "tree")
    path = root / "environments" / "production.yaml"
    keys = "    access_key: env:A\n    secret_key: env:S\n"
    s3 = f"  s3:\n    endpoint: {endpoint}\n    bucket: evidence\n{keys}"
    path.write_text(path.read_text().replace("  maximum_age_hours: 12\n", f"  maximum_age_hours: 12\n{s3}"))
    environment = load("production", root).environment
    with pytest.raises(HarnessError, match="the environment variable A is not set"):
        open_store(environment, root, SecretStore(root, tmp_path))
    monkeypatch.setenv("A", ACCESS)
    monkeypatch.setenv("S", SECRET)
    store = open_store(environment, root, SecretStore(root, tmp_path))
    assert store.where("a") == "s3://evidence/a"
