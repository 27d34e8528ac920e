"""What only an object store can do wrong: the local copy, the server, claims of other machines."""

from __future__ import annotations

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import obstore
import pytest
from fixtures.object_store import BUCKET, make_bucket, on_another_machine, s3_address, s3_url  # noqa: F401
from fixtures.store import BASE_ID, Workshop
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from obstore.store import S3Store
from werkzeug.serving import make_server

from fly64_assets.errors import ArtifactError
from fly64_assets.store import claims, mirror, objects
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.claims import Claims
from fly64_assets.store.garbage import KINDS, find_garbage, remove_garbage
from fly64_assets.store.integrity import verify_folder
from fly64_assets.store.keys import Dose, StageKey
from fly64_assets.store.locks import HeldError
from fly64_assets.store.objects import ConflictError, Objects, expected_etag
from fly64_assets.store.sidecars import verified
from fly64_assets.store.storage import CACHE_SIZE_VARIABLE, MARK, cache_bytes, root_folder, root_name, storage_in

KEY = StageKey("simulated", Dose(1000))


def workshop_in(root: Path) -> Workshop:
    store = ArtifactStore(root, "demo")
    return Workshop(store, store.layout(BASE_ID))


@pytest.fixture
def workshop(s3_url: str) -> Workshop:  # noqa: F811
    return workshop_in(root_folder(s3_url))


@pytest.fixture
def bucket(s3_url: str) -> S3Store:  # noqa: F811
    """The objects of the data root, as any other program sees them."""
    return S3Store(BUCKET, prefix=s3_url.rpartition("/")[2], client_options={"allow_http": True})


def keys(bucket: S3Store, prefix: str) -> list[str]:
    return [str(entry["path"]) for entry in obstore.list(bucket, prefix=prefix).collect()]


def flip(bucket: S3Store, key: str) -> None:
    content = bytearray(obstore.get(bucket, key).bytes())
    content[len(content) // 2] ^= 1
    obstore.put(bucket, key, bytes(content))


def test_of_many_conditional_puts_one_is_carried_out(s3_url: str) -> None:  # noqa: F811
    """The server that the tests run on keeps to the conditions, which the store relies on."""
    store = Objects(s3_url)
    for attempt in range(10):
        tag = None
        for step in range(2):

            def put(number: int, key: str = f"race/{attempt}", tag: str | None = tag, step: int = step) -> str:
                with suppress(ConflictError):
                    return store.put(key, f"{step} {number}".encode(), tag)
                return ""

            with ThreadPoolExecutor(8) as pool:
                (tag,) = filter(None, pool.map(put, range(8)))
            found = store.get(f"race/{attempt}")
            assert found is not None
            assert (found.content[:1], found.etag) == (str(step).encode(), tag)


def test_contents_are_under_their_sha256_and_stored_once(workshop: Workshop, bucket: S3Store) -> None:
    record = workshop.simulated()
    workshop.simulated(dose=10_000)
    assert sorted(keys(bucket, "objects")) == sorted(f"objects/{sha256}" for sha256 in set(record.outputs.values()))
    assert sorted(keys(bucket, "folders")) == [
        f"folders/demo/{BASE_ID}/dose_1000/index.json", f"folders/demo/{BASE_ID}/dose_10000/index.json"
    ]  # fmt: skip
    assert keys(bucket, "clock") == []


@pytest.mark.parametrize("harm", ["flip", "delete", "truncate"])
def test_a_damaged_object_is_found_by_whoever_reads_it_and_a_rebuild_mends_it(
    workshop: Workshop, bucket: S3Store, s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str  # noqa: F811
) -> None:  # fmt: skip
    record = workshop.simulated()
    key = f"objects/{record.outputs['dose_1000/patched_train.npz']}"
    if harm == "flip":
        flip(bucket, key)
    elif harm == "delete":
        obstore.delete(bucket, key)
    else:
        obstore.put(bucket, key, b"short")
    other = workshop_in(on_another_machine(monkeypatch, tmp_path, s3_url))
    path = other.layout.patched(Dose(1000), "train")
    with pytest.raises(ArtifactError, match=r"patched_train\.npz.*objects/.*stage 'simulated' again"):
        verified(path)
    assert not path.exists()
    for seen in (other, workshop):  # also where the local copy is good
        assert seen.state(KEY).name == "missing"
        assert [bad.path for bad in verify_folder(seen.layout.folder).bad] == ["dose_1000/patched_train.npz"]
    other.simulated()
    assert verify_folder(other.layout.folder).ok
    assert workshop.state(KEY).name == "fresh"


def test_a_damaged_index_is_found_and_a_rebuild_mends_it(
    workshop: Workshop, bucket: S3Store, s3_url: str  # noqa: F811
) -> None:  # fmt: skip
    workshop.simulated()
    flip(bucket, f"folders/demo/{BASE_ID}/dose_1000/index.json")
    found = verify_folder(workshop.layout.folder)
    assert [bad.path for bad in found.bad] == ["dose_1000"]
    assert "this index was damaged" in found.bad[0].why
    assert workshop.state(KEY).name == "missing"
    workshop.simulated()
    assert verify_folder(workshop.layout.folder).ok
    assert workshop_in(root_folder(s3_url)).state(KEY).name == "fresh"


def test_a_damaged_local_copy_is_fetched_again(workshop: Workshop) -> None:
    workshop.simulated()
    path = workshop.layout.patched(Dose(1000), "train")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"?")
    verified(path)
    assert path.read_bytes() == content


def test_a_file_that_nobody_published_leaves_the_local_copy(workshop: Workshop) -> None:
    workshop.simulated()
    stray = workshop.layout.folder_of(KEY) / "stray.npz"
    stray.write_bytes(b"x")
    (workshop.layout.folder_of(KEY) / mirror.COPIED).unlink()  # as a crash leaves it
    workshop_in(workshop.store.data_root)
    assert not stray.exists()


def test_the_local_copy_keeps_to_its_size(
    workshop: Workshop, s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    for dose in (1, 2, 3):
        workshop.simulated(dose=dose, content=str(dose).encode() * 1000)
    monkeypatch.setenv(CACHE_SIZE_VARIABLE, "0.00025")
    monkeypatch.setattr(mirror, "KEEP_SECONDS", 0.0)
    other = workshop_in(on_another_machine(monkeypatch, tmp_path, s3_url))
    paths = [other.layout.patched(Dose(dose), split) for dose in (1, 2, 3) for split in ("train", "test")]
    for path in paths:
        verified(path)
    assert [path.exists() for path in paths] == [False, False, False, False, True, True]
    for dose in (1, 2, 3):
        assert other.state(StageKey("simulated", Dose(dose))).name == "fresh"
    assert verify_folder(other.layout.folder).ok
    monkeypatch.setattr(mirror, "KEEP_SECONDS", 600.0)
    for path in paths:
        verified(path)
    assert all(path.exists() for path in paths)  # what is in use stays


def test_a_claim_of_another_machine_is_waited_for_and_void_after_silence(
    workshop: Workshop, s3_url: str, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    workshop.simulated()
    key = f"folders/demo/{BASE_ID}/dose_1000/index.json"
    other = Claims(Objects(s3_url))
    monkeypatch.setattr(claims, "POLL_SECONDS", 0.05)
    said: list[str] = []
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(claims.socket, "gethostname", lambda: "elsewhere")
        claim = other.held(key, "somebody's build", None, lambda: None)
        claim.__enter__()
    storage = storage_in(workshop.layout.folder)
    assert storage.held(workshop.layout.folder_of(KEY))
    with pytest.raises(HeldError, match="on elsewhere"), storage.lock_now(workshop.layout.folder_of(KEY)):
        pass
    stray = [item for item in remove_garbage(workshop.store, KINDS) if item.kind != "temporary"]
    assert stray == []
    monkeypatch.setattr(claims, "SILENT_SECONDS", 1.5)
    workshop.simulated(content=b"others", announce=said.append, parameters={"seed": 43})
    assert "waiting for process" in said[0]
    assert "taken over from process" in said[1]
    with pytest.raises(ArtifactError, match="nothing was published"):
        other.replace(key, lambda index: index)  # the one that was only slow
    claim.__exit__(None, None, None)
    assert workshop.state(KEY, (), {"seed": 43}).name == "fresh"


def test_who_lost_its_claim_publishes_nothing(
    workshop: Workshop, s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    options: dict[str, Any] = {"inputs": (), "parameters": {"seed": 42}, "code_version": "1", "seeds": {}}
    options["design_sha256"] = workshop.design.sha256()
    with (  # noqa: PT012
        pytest.raises(ArtifactError, match="took over") as caught,
        workshop.store.build(workshop.layout, KEY, **options) as build,
    ):
        build.write_bytes(workshop.layout.patched(Dose(1000), "train"), b"of the slow one")
        build.succeed({})
        with monkeypatch.context() as late:
            late.setattr(claims, "SILENT_SECONDS", -1.0)
            other = workshop_in(on_another_machine(late, tmp_path, s3_url))
            record = other.simulated(content=b"of the quick one")
    assert "run the stage again" in str(caught.value)
    assert workshop_in(root_folder(s3_url)).store.record(workshop.layout, KEY) == record
    assert verify_folder(workshop.layout.folder).ok


def test_content_of_an_interrupted_build_is_listed_and_removed_when_it_is_old(
    workshop: Workshop, tmp_path: Path, s3_url: str, bucket: S3Store, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    workshop.simulated()
    left = tmp_path / "left"
    left.write_bytes(b"uploaded and never published")
    sha256 = hashlib.sha256(left.read_bytes()).hexdigest()
    Objects(s3_url).upload(left, sha256)
    assert find_garbage(workshop.store) == []
    for module in (mirror, objects):
        monkeypatch.setattr(module, "GRACE_SECONDS", -5.0)
    (item,) = find_garbage(workshop.store)
    assert (item.kind, item.bytes, item.path.name) == ("temporary", len(left.read_bytes()), sha256)
    with storage_in(workshop.layout.folder).lock(workshop.layout.folder_of(KEY), "a build", None):
        assert find_garbage(workshop.store) == []
    assert remove_garbage(workshop.store, KINDS) == [item]
    assert f"objects/{sha256}" not in keys(bucket, "objects")
    assert verify_folder(workshop.layout.folder).ok


def test_beside_a_damaged_index_no_content_counts_as_unused(
    workshop: Workshop, s3_url: str, bucket: S3Store, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    """It may name what was not uploaded anew, and a newer version of the package reads it."""
    workshop.simulated()
    flip(bucket, f"folders/demo/{BASE_ID}/dose_1000/index.json")
    for module in (mirror, objects):
        monkeypatch.setattr(module, "GRACE_SECONDS", -5.0)
    assert storage_in(root_folder(s3_url)).unused() == []


@pytest.mark.parametrize("size", [0, 1, 2**20, 8 * 2**20, 8 * 2**20 + 1, 20 * 2**20])
def test_the_tag_of_a_content_is_known_beforehand(s3_url: str, tmp_path: Path, size: int) -> None:  # noqa: F811
    """So that a content that is there is not uploaded again, and a damaged one is."""
    path = tmp_path / "file"
    path.write_bytes(os.urandom(size))
    assert Objects(s3_url).upload(path, "0" * 64).etag.strip('"') == expected_etag(path, objects.PART_BYTES)


@pytest.mark.parametrize("wrong", ["address", "bucket"])
def test_a_server_that_does_not_answer_is_a_sentence(
    s3_url: str, monkeypatch: pytest.MonkeyPatch, wrong: str  # noqa: F811
) -> None:  # fmt: skip
    monkeypatch.setattr(objects, "RETRY_SECONDS", 0.1)
    if wrong == "address":
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(ArtifactError, match="AWS_ENDPOINT_URL"):
        workshop_in(root_folder(s3_url if wrong == "address" else "s3://no-such-bucket/x"))


def test_a_server_that_ignores_conditions_is_refused(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    application = DomainDispatcherApplication(create_backend_app)

    def careless(environment: dict[str, Any], start: Any) -> Any:
        for name in ("HTTP_IF_NONE_MATCH", "HTTP_IF_MATCH"):
            environment.pop(name, None)
        return application(environment, start)

    server = make_server("127.0.0.1", 0, careless, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        make_bucket(f"http://127.0.0.1:{server.server_port}")
        workshop = workshop_in(root_folder(s3_url))
        with pytest.raises(ArtifactError, match="ignores the conditions"):
            workshop.simulated()
        assert storage_in(workshop.layout.folder).examined(workshop.store.data_root)[0] == "bad"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_good_server_is_called_good(workshop: Workshop, s3_url: str) -> None:  # noqa: F811
    level, sentence = storage_in(workshop.layout.folder).examined(workshop.store.data_root)
    assert level == "good"
    assert sentence.startswith(f"{s3_url} keeps to conditional puts")


def test_the_copy_names_its_data_root_and_no_key(workshop: Workshop, s3_url: str) -> None:  # noqa: F811
    root = workshop.store.data_root
    assert root_name(root) == s3_url
    assert workshop.store.place == f"{s3_url}/demo"
    assert (root / MARK).read_text() == f'{{"url": "{s3_url}"}}\n'


def test_without_keys_no_server_is_asked(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    for name in objects.KEY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ArtifactError, match="there are no keys of the object store: set AWS_ACCESS_KEY_ID"):
        workshop_in(root_folder(s3_url))


@pytest.mark.parametrize("text", ["-1", "much", "inf", "nan"])
def test_a_size_that_is_no_number_is_a_sentence(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(CACHE_SIZE_VARIABLE, text)
    with pytest.raises(ArtifactError, match=CACHE_SIZE_VARIABLE):
        cache_bytes()
