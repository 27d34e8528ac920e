from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fly64_assets.errors import ArtifactError, EngineError, Fly64Error
from fly64_assets.store.artifacts import ActiveBase, ArtifactStore
from fly64_assets.store.garbage import find_garbage
from fly64_assets.store.integrity import verify_folder
from fly64_assets.store.keys import BASE, Cell, Dose, Half, StageKey
from fly64_assets.store.layout import Layout
from fly64_assets.store.records import StageRecord
from fly64_assets.store.sidecars import Provenance, read_sidecar, sidecar_path, verified, write_artifact

KEY = StageKey("simulated", Dose(1000))
OPTIONS: dict[str, Any] = {"inputs": (), "parameters": {"seed": 42}, "code_version": "1", "seeds": {"simulation": 42}}


@pytest.fixture
def options(workshop: Any) -> dict[str, Any]:
    return {**OPTIONS, "design_sha256": workshop.design.sha256()}


def test_a_build_leaves_outputs_sidecars_and_a_record(workshop: Any, layout: Layout) -> None:
    base = workshop.base()
    record = workshop.simulated(inputs=[layout.base], values={"frames": 7}, logs={layout.output(KEY, "a.log"): b"log"})
    assert workshop.store.record(layout, KEY) == record
    assert record.outcome == "succeeded"
    assert record.inputs == {"base.npz": hashlib.sha256(b"base" * 50).hexdigest()} == base.outputs
    names = ["dose_1000/a.log", "dose_1000/patched_test.npz", "dose_1000/patched_train.npz"]
    assert record.outputs == {n: hashlib.sha256((layout.folder / n).read_bytes()).hexdigest() for n in names}
    assert record.diagnostics == ("dose_1000/a.log",)
    assert record.values == {"frames": 7}
    assert record.parameters == {"seed": 42}
    assert record.parameters_sha256 == hashlib.sha256(b'{"seed":42}').hexdigest()
    assert record.start <= record.end
    assert read_sidecar(layout.patched(Dose(1000), "train"))["inputs"] == {"../base.npz": base.outputs["base.npz"]}
    visible = {path.name for path in layout.folder_of(KEY).iterdir() if not path.name.startswith(".")}
    files = {"a.log", "patched_train.npz", "patched_test.npz", "result.json"}
    assert visible == files | {f"{name}.manifest.json" for name in files}
    assert verify_folder(layout.folder).ok


def test_states(workshop: Any, layout: Layout) -> None:
    assert workshop.state(KEY).name == "missing"
    assert "not built yet" in workshop.state(KEY).reason
    workshop.base()
    workshop.simulated(inputs=[layout.base])
    assert workshop.state(KEY, [layout.base]).name == "fresh"
    assert workshop.state(KEY, [layout.base], quick=True).name == "fresh"
    assert workshop.state(KEY, {layout.base: verified(layout.base).sha256}).name == "fresh"

    changed = workshop.state(KEY, [layout.base], {"seed": 43})
    assert (changed.name, changed.reason) == ("stale", "parameter seed changed (42 then, 43 now)")
    unused = workshop.state(KEY, [])
    assert (unused.name, unused.reason) == ("stale", "input base.npz is no longer used")
    other = workshop.state(KEY, {layout.base: "f" * 64})
    assert other.name == "stale"
    assert "input base.npz changed" in other.reason
    new = workshop.state(KEY, {layout.base: verified(layout.base).sha256, layout.patched(Dose(10), "train"): "0" * 64})
    assert (new.name, new.reason) == ("stale", "input dose_10/patched_train.npz is new")


def test_a_nested_parameter_is_named(workshop: Any) -> None:
    workshop.simulated(parameters={"pinn": {"epochs": 50, "width": 24}, "views": {}})
    state = workshop.state(KEY, (), {"pinn": {"epochs": 60, "width": 24}, "views": {}})
    assert state.reason == "parameter pinn.epochs changed (50 then, 60 now)"
    assert workshop.state(KEY, (), {"views": {}, "pinn": {"width": 24, "epochs": 50}}).name == "fresh"
    added = workshop.state(KEY, (), {"pinn": {"epochs": 50, "width": 24, "start": "slow"}, "views": {}})
    assert added.reason == 'parameter pinn.start changed (its default then, "slow" now)'
    removed = workshop.state(KEY, (), {"pinn": {"epochs": 50}, "views": {}})
    assert removed.reason == "parameter pinn.width changed (24 then, its default now)"


def test_a_rebuilt_input_makes_stale_only_if_its_content_changed(workshop: Any, layout: Layout) -> None:
    view = StageKey("view", Cell(1000, "dense"))
    workshop.simulated()
    inputs = [layout.patched(Dose(1000), "train")]
    workshop.make(view, {layout.view_frames(Half(1000, "dense", "train")): b"kept"}, inputs=inputs)
    workshop.simulated(parameters={"seed": 43})
    assert workshop.state(view, inputs).name == "fresh"
    workshop.simulated(content=b"others")
    assert workshop.state(view, inputs).name == "stale"
    layout.patched(Dose(1000), "train").unlink()
    state = workshop.state(view, inputs)
    assert state.name == "stale"
    assert "patched_train.npz: does not exist" in state.reason


@pytest.mark.parametrize("quick", [False, True])
def test_a_lost_or_damaged_output_reads_as_missing_and_is_named(workshop: Any, layout: Layout, quick: bool) -> None:
    path = layout.patched(Dose(1000), "test")
    harms: list[Callable[[], object]] = [
        path.unlink,
        lambda: sidecar_path(path).unlink(),
        lambda: path.write_bytes(b"shorter"),
        lambda: sidecar_path(path).write_text("{}"),
        lambda: (path.unlink(), sidecar_path(path).unlink()),
    ]
    for harm in harms:
        workshop.simulated()
        assert workshop.state(KEY, quick=quick).name == "fresh"
        harm()
        state = workshop.state(KEY, quick=quick)
        assert state.name == "missing"
        assert str(path) in state.reason


def test_only_the_full_check_sees_a_flipped_bit(workshop: Any, layout: Layout) -> None:
    workshop.simulated()
    path = layout.patched(Dose(1000), "test")
    content, status = path.read_bytes(), path.stat()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    assert workshop.state(KEY, quick=True).name == "missing"  # written to after its sidecar
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert workshop.state(KEY, quick=True).name == "fresh"
    assert workshop.state(KEY).name == "missing"


def test_an_output_from_another_build_does_not_pass_for_the_recorded_one(workshop: Any, layout: Layout) -> None:
    workshop.simulated()
    path = layout.patched(Dose(1000), "train")
    saved = path.read_bytes(), sidecar_path(path).read_bytes()
    workshop.simulated(content=b"others")
    path.write_bytes(saved[0])
    sidecar_path(path).write_bytes(saved[1])
    verified(path)
    state = workshop.state(KEY)
    assert state.name == "missing"
    assert "the record of 'dose_1000: simulated' says" in state.reason
    assert [bad.path for bad in verify_folder(layout.folder).bad] == ["dose_1000/patched_train.npz"]


def test_an_edited_record_counts_as_absent(workshop: Any, layout: Layout) -> None:
    workshop.simulated()
    path = layout.record(KEY)
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "outcome": "skipped"}))
    assert workshop.store.record(layout, KEY) is None
    state = workshop.state(KEY)
    assert state.name == "missing"
    assert str(path) in state.reason
    with pytest.raises(ArtifactError, match=r"result\.json"):
        workshop.store.required(layout, KEY)


def test_an_error_leaves_a_failed_record_with_its_sentence_and_no_data(
    store: ArtifactStore, layout: Layout, options: dict[str, Any], workshop: Any
) -> None:
    log = layout.output(KEY, "train.log")
    with pytest.raises(EngineError, match="loss is not finite"), store.build(layout, KEY, **options) as build:  # noqa: PT012
        build.write_bytes(layout.patched(Dose(1000), "train"), b"half the work")
        build.write_bytes(log, b"epoch 1", data=False)
        build.note({"returncode": 1})
        raise EngineError("loss is not finite after epoch 1")
    record = store.record(layout, KEY)
    assert record is not None
    assert (record.outcome, record.reason) == ("failed", "loss is not finite after epoch 1")
    assert record.values == {"returncode": 1}
    assert list(record.outputs) == ["dose_1000/train.log"]
    assert read_sidecar(log)["outcome"] == "failed"
    assert not layout.patched(Dose(1000), "train").exists()
    assert not layout.patched(Dose(1000), "test").exists()
    assert workshop.state(KEY).name == "failed"
    assert verify_folder(layout.folder).ok
    with pytest.raises(ArtifactError, match="loss is not finite"):
        store.required(layout, KEY)
    assert workshop.simulated().outcome == "succeeded"


def test_an_error_without_a_sentence_is_named_by_its_type(
    store: ArtifactStore, layout: Layout, options: dict[str, Any]
) -> None:
    with pytest.raises(ZeroDivisionError), store.build(layout, KEY, **options):
        _ = 1 / 0
    assert store.record(layout, KEY).reason == "ZeroDivisionError: division by zero"  # type: ignore[union-attr]


@pytest.mark.parametrize("stands", [False, True])
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_leaves_all_as_it_was(
    store: ArtifactStore,
    layout: Layout,
    options: dict[str, Any],
    workshop: Any,
    interrupt: type[BaseException],
    stands: bool,
) -> None:
    if stands:
        workshop.simulated()
    with pytest.raises(interrupt), store.build(layout, KEY, **options) as build:  # noqa: PT012
        build.write_bytes(layout.patched(Dose(1000), "train"), b"half the work")
        (build.scratch / "checkpoint").write_bytes(b"x")
        raise interrupt
    assert workshop.state(KEY).name == ("fresh" if stands else "missing")
    names = {path.name for path in layout.folder_of(KEY).iterdir()} - {".build.lock"}
    assert len(names) == (6 if stands else 0)
    assert verify_folder(layout.folder).ok


def full_disk(file: Any) -> None:
    file.write(b"x" * 100_000)
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def an_engine_that_fails(build: Any, layout: Layout) -> None:
    build.write_bytes(layout.output(KEY, "train.log"), b"epoch 1 of the new build", data=False)
    raise EngineError("loss is not finite after epoch 1")


FAILURES: dict[str, Callable[[Any, Layout], object]] = {
    "before anything is written": lambda _build, _layout: 1 / 0,
    "an engine": an_engine_that_fails,
    "a disk that is full at the last file": lambda build, layout: build.write(layout.result(KEY, "test"), full_disk),
    "no outcome": lambda _build, _layout: None,
    "a record without a JSON form": lambda build, _layout: build.succeed({"loss": float("nan")}),
    "a skip without a reason": lambda build, _layout: build.skip("", {}),
}


@pytest.mark.parametrize("fail", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("asked", [42, 43])
def test_the_standing_result_stays_until_the_new_one_is_whole(
    workshop: Any,
    store: ArtifactStore,
    layout: Layout,
    options: dict[str, Any],
    fail: Callable[[Any, Layout], object],
    asked: int,
) -> None:
    log = layout.output(KEY, "train.log")
    record = workshop.simulated(logs={log: b"epoch 9 of the old build"})
    content = {path: path.read_bytes() for path in layout.folder_of(KEY).iterdir()}
    with (  # noqa: PT012
        pytest.raises((Fly64Error, ZeroDivisionError)) as caught,
        store.build(layout, KEY, **(options | {"parameters": {"seed": asked}})) as build,
    ):
        build.write_bytes(layout.patched(Dose(1000), "train"), b"new")
        build.write_bytes(layout.output(KEY, "new.png"), b"new", data=False)
        fail(build, layout)
    assert {path: path.read_bytes() for path in content} == content
    assert store.required(layout, KEY) == record
    state = workshop.state(KEY, (), {"seed": asked})
    assert state.name == ("fresh" if asked == 42 else "stale")
    assert "building it again failed on " in state.reason
    assert str(caught.value) in state.reason
    assert verify_folder(layout.folder).ok
    assert find_garbage(store) == []
    failed = layout.output(KEY, "train.failed.log")
    assert failed.exists() == (fail is an_engine_that_fails)

    # The next good build replaces all of it.
    workshop.simulated(content=b"others", logs={log: b"epoch 9"})
    assert workshop.state(KEY).reason == ""
    assert not failed.exists()
    assert verify_folder(layout.folder).ok
    assert {path.name.removesuffix(".manifest.json") for path in layout.folder_of(KEY).iterdir()} == {
        ".build.lock", "patched_train.npz", "patched_test.npz", "result.json", "train.log"
    }  # fmt: skip


def test_a_damaged_result_does_not_stand(
    workshop: Any, store: ArtifactStore, layout: Layout, options: dict[str, Any]
) -> None:
    workshop.simulated()
    layout.patched(Dose(1000), "test").unlink()
    with pytest.raises(EngineError), store.build(layout, KEY, **options) as build:
        an_engine_that_fails(build, layout)
    assert workshop.state(KEY).name == "failed"
    assert not layout.patched(Dose(1000), "train").exists()
    assert verify_folder(layout.folder).ok


def test_leaving_without_an_outcome_is_a_failure(store: ArtifactStore, layout: Layout, options: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match="without declaring"), store.build(layout, KEY, **options) as build:
        build.write_bytes(layout.patched(Dose(1000), "train"), b"x")
    assert store.record(layout, KEY).outcome == "failed"  # type: ignore[union-attr]


def test_nothing_may_follow_the_outcome(store: ArtifactStore, layout: Layout, options: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match="already declared"), store.build(layout, KEY, **options) as build:  # noqa: PT012
        build.succeed({})
        build.write_bytes(layout.patched(Dose(1000), "train"), b"x")


def test_values_that_are_not_finite_fail_the_build(
    store: ArtifactStore, layout: Layout, options: dict[str, Any]
) -> None:
    with pytest.raises(ArtifactError, match="final_loss"), store.build(layout, KEY, **options) as build:
        build.succeed({"final_loss": float("nan")})


def test_a_skip_is_recorded_with_its_reason_until_an_input_changes(workshop: Any, layout: Layout) -> None:
    view = StageKey("view", Cell(1000, "sparse"))
    workshop.simulated()
    inputs = [layout.patched(Dose(1000), "train")]
    first = workshop.make(view, {layout.view_frames(Half(1000, "sparse", "train")): b"x"}, inputs=inputs)
    assert first.outcome == "succeeded"
    reason = "dose_1000/sparse: 3 positions are at least 51.2 px apart; 4 are needed"
    skipped = workshop.make(view, {}, inputs=inputs, skip=reason)
    assert (skipped.outcome, skipped.reason) == ("skipped", reason)
    assert not layout.view_frames(Half(1000, "sparse", "train")).exists()
    assert workshop.state(view, inputs).name == "skipped"
    assert workshop.state(view, inputs).done
    assert workshop.store.required(layout, view) == skipped
    assert read_sidecar(layout.record(view))["outcome"] == "skipped"
    again = workshop.make(view, {}, inputs=inputs, skip=reason)
    assert again.data_sha256 == skipped.data_sha256
    assert workshop.make(view, {}, inputs=inputs, skip=reason + "!").data_sha256 != skipped.data_sha256
    workshop.simulated(content=b"more positions")
    assert workshop.state(view, inputs).name == "stale"
    assert workshop.make(view, {}, inputs=inputs, skip=reason).data_sha256 != skipped.data_sha256


def test_an_identical_rebuild_has_the_same_data_hash(workshop: Any, layout: Layout) -> None:
    log = layout.output(KEY, "run.log")
    first = workshop.simulated(logs={log: b"3.1 s"}, values={"seconds_per_frame": 1.0})
    second = workshop.simulated(logs={log: b"2.9 s"}, values={"seconds_per_frame": 2.0})
    assert first.outputs != second.outputs
    assert first.data_sha256 == second.data_sha256
    assert workshop.simulated(content=b"others").data_sha256 != first.data_sha256


def test_adopted_files_are_moved_from_scratch(store: ArtifactStore, layout: Layout, options: dict[str, Any]) -> None:
    target = layout.patched(Dose(1000), "train")
    with store.build(layout, KEY, **options) as build:
        scratch = build.scratch
        assert scratch.parent == target.parent
        (scratch / "engine.npz").write_bytes(b"result")
        artifact = build.adopt(scratch / "engine.npz", target)
        with pytest.raises(ArtifactError, match=r"engine\.npz was expected"):
            build.adopt(scratch / "engine.npz", target)
        build.write_json(layout.output(KEY, "a.json"), {"a": [1, None]}, data=False)
        build.succeed({})
    assert artifact == verified(target)
    assert target.read_bytes() == b"result"
    assert json.loads(layout.output(KEY, "a.json").read_text()) == {"a": [1, None]}
    assert not scratch.exists()


def test_outputs_stay_inside_the_folder(
    store: ArtifactStore, layout: Layout, options: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt), store.build(layout, KEY, **options) as build:  # noqa: PT012
        for path in (
            tmp_path / "elsewhere.npz",
            layout.folder / ".." / "other.npz",
            layout.folder / ".hidden",
            layout.record(KEY),
        ):
            with pytest.raises(ArtifactError):
                build.write_bytes(path, b"x")
        raise KeyboardInterrupt


def test_a_hostile_record_cannot_have_foreign_files_removed(workshop: Any, layout: Layout, tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("keep me")
    workshop.simulated()
    record = workshop.store.record(layout, KEY)
    document = record.to_dict()
    document["outputs"] = {os.path.relpath(precious, layout.folder): "0" * 64}
    write_artifact(layout, layout.record(KEY), lambda f: f.write(json.dumps(document).encode()), Provenance())
    assert workshop.store.record(layout, KEY) is None
    workshop.simulated()
    assert precious.read_text() == "keep me"


def test_a_folder_that_leads_out_of_the_data_root_is_refused(workshop: Any, layout: Layout, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    layout.folder.mkdir(parents=True)
    layout.folder_of(KEY).symlink_to(outside)
    with pytest.raises(ArtifactError, match=r"dose_1000 leads out of the data root, to .*outside"):
        workshop.simulated()
    assert list(outside.iterdir()) == []


def test_a_link_in_the_place_of_a_lock_does_not_empty_its_target(workshop: Any, layout: Layout, tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("keep me")
    layout.folder_of(KEY).mkdir(parents=True)
    (layout.folder_of(KEY) / ".build.lock").symlink_to(precious)
    with pytest.raises(ArtifactError, match="is a symbolic link; a lock is a regular file"):
        workshop.simulated()
    assert precious.read_text() == "keep me"


def test_links_in_the_place_of_outputs_are_replaced_and_not_followed(
    workshop: Any, layout: Layout, tmp_path: Path
) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("keep me")
    workshop.simulated()
    for path in (layout.patched(Dose(1000), "train"), layout.record(KEY), sidecar_path(layout.record(KEY))):
        path.unlink()
        path.symlink_to(precious)
    assert workshop.state(KEY).name == "missing"
    workshop.simulated()
    assert workshop.state(KEY).name == "fresh"
    assert precious.read_text() == "keep me"
    assert not layout.patched(Dose(1000), "train").is_symlink()


def test_a_folder_in_the_place_of_a_record_is_a_sentence(workshop: Any, layout: Layout) -> None:
    workshop.simulated()
    layout.record(KEY).unlink()
    layout.record(KEY).mkdir()
    with pytest.raises(ArtifactError, match=r"result\.json could not be written .* a folder has taken its place"):
        workshop.simulated()


def test_other_code_makes_stale(workshop: Any) -> None:
    workshop.simulated()
    state = workshop.state(KEY, code_version="2")
    assert (state.name, state.reason) == ("stale", "the code gives other results now (version 1 then, 2 now)")


def test_another_machine_makes_nothing_stale(
    workshop: Any, store: ArtifactStore, layout: Layout, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def build() -> StageRecord:
        with store.build(layout, KEY, **options) as build:
            build.write_bytes(layout.patched(Dose(1000), "train"), b"frames")
            build.computed_with({"torch_blas": "MKL 1.2"})
            build.succeed({})
        return store.required(layout, KEY)

    first = build()
    assert read_sidecar(layout.patched(Dose(1000), "train"))["machine"]["torch_blas"] == "MKL 1.2"
    assert read_sidecar(layout.record(KEY))["machine"]["torch_blas"] == "MKL 1.2"
    monkeypatch.setattr("fly64_assets.store.sidecars.numpy_libraries", lambda: {"processor": "another"})
    assert workshop.state(KEY).name == "fresh"
    second = build()
    assert read_sidecar(layout.record(KEY))["machine"] == {"processor": "another", "torch_blas": "MKL 1.2"}
    assert second.data_sha256 == first.data_sha256


def test_a_damaged_input_changes_nothing(workshop: Any, layout: Layout) -> None:
    view = StageKey("view", Cell(1000, "dense"))
    inputs = [layout.patched(Dose(1000), "train")]
    workshop.simulated()
    workshop.make(view, {layout.view_frames(Half(1000, "dense", "train")): b"kept"}, inputs=inputs)
    before = workshop.store.record(layout, view)
    content = inputs[0].read_bytes()
    inputs[0].write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ArtifactError, match=r"patched_train\.npz: has SHA256"):
        workshop.make(view, {}, inputs=inputs)
    assert workshop.store.record(layout, view) == before
    assert layout.view_frames(Half(1000, "dense", "train")).read_bytes() == b"kept"


def test_a_full_disk_in_mid_build_is_a_recorded_failure(
    store: ArtifactStore, layout: Layout, options: dict[str, Any]
) -> None:
    def writer(file: Any) -> None:
        file.write(b"x" * 100_000)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(ArtifactError, match="disk is full"), store.build(layout, KEY, **options) as build:  # noqa: PT012
        build.write_bytes(layout.patched(Dose(1000), "train"), b"first")
        build.write(layout.patched(Dose(1000), "test"), writer)
    assert "disk is full" in store.record(layout, KEY).reason  # type: ignore[union-attr]
    names = {path.name for path in layout.folder_of(KEY).iterdir()}
    assert names == {".build.lock", "result.json", "result.json.manifest.json"}


def test_external_inputs_are_named_without_their_folder(workshop: Any, layout: Layout, tmp_path: Path) -> None:
    source = tmp_path / "users" / "scan.npz"
    record = workshop.make(BASE, {layout.base: b"b"}, inputs={source: "a" * 64})
    assert record.inputs == {"external:scan.npz": "a" * 64}
    assert read_sidecar(layout.base)["inputs"] == {"external:scan.npz": "a" * 64}


def test_bases(workshop: Any, store: ArtifactStore, layout: Layout) -> None:
    assert store.bases() == ()
    assert store.active_base() is None
    with pytest.raises(ArtifactError, match=r"not in .* none yet"):
        store.set_active_base(layout.base_id, "imported")
    workshop.base()
    (store.folder / "Not a base").mkdir()
    (store.folder / "unfinished").mkdir()
    store.set_active_base(layout.base_id, "imported")
    assert store.active_base() == ActiveBase(layout.base_id, "imported")
    assert store.bases() == (layout.base_id,)
    path = store.folder / "active_base.json"
    path.write_text('{"base_id": "../../etc"}')
    with pytest.raises(ArtifactError, match=r"active_base\.json"):
        store.active_base()
