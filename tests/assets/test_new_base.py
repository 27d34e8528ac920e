"""The sensor ``new_base_npz`` with real files, a real store and the runs that it launches."""

import os

import dagster as dg
import pytest

from fly64_assets.automation.sensors import NEW_BASE
from fly64_assets.checks.factory import judge
from fly64_assets.checks.rules import RULES
from fly64_assets.contract.schema import base_arrays
from fly64_assets.simulation.recipe import BaseRecipe
from fly64_assets.store.hashing import sha256_file
from fly64_assets.store.keys import BASE, Dose, StageKey
from fly64_assets.study import intake
from fly64_assets.study.intake import intake_file, npz_bytes, recipe_base
from fly64_assets.study.states import active_layout


def base_bytes(seed, patch_size=64):
    recipe = BaseRecipe(amplitude="coins", phase="grass", object_size=132, positions=60, seed=seed)
    return npz_bytes(base_arrays(recipe_base(recipe, patch_size, f"base{seed}")))


class Watch:
    """The sensor, its folder and its cursor; runs are launched as the daemon launches them."""

    def __init__(self, graph, folder):
        self.graph = graph
        self.folder = folder
        self.cursor = None
        self.sensor = graph.definitions.resolve_sensor_def(NEW_BASE)

    def put(self, name, content, mtime=1_000):
        path = self.folder / name
        path.write_bytes(content)
        os.utime(path, (mtime, mtime))
        return path

    def tick(self):
        """One tick: what would be launched, and the message."""
        resources = {name: self.graph.definitions.resources[name] for name in ("study", "store", "inbox")}
        with dg.build_sensor_context(
            instance=self.graph.instance, cursor=self.cursor, resources=resources, sensor_name=NEW_BASE
        ) as context:
            result = self.sensor(context)
        self.cursor = result.cursor
        return list(result.run_requests or []), result.skip_reason.skip_message if result.skip_reason else ""

    def settle(self):
        self.tick()
        return self.tick()

    def launch(self, request, execute=True):
        """As the daemon does; a run key that was used is not used again."""
        tags = {**request.tags, "dagster/run_key": request.run_key, "dagster/sensor_name": NEW_BASE}
        used = {run.tags.get("dagster/run_key") for run in self.graph.instance.get_runs()}
        assert request.run_key not in used
        job = self.graph.definitions.resolve_job_def("ingest")
        if not execute:
            return self.graph.instance.create_run_for_job(
                job, tags=tags, run_config=request.run_config, status=dg.DagsterRunStatus.STARTED
            )
        return job.execute_in_process(
            instance=self.graph.instance, run_config=request.run_config, tags=tags, raise_on_error=False
        )

    def simulate(self):
        for dose in self.graph.design.doses:
            assert self.graph.run("simulated_dataset", partition=str(dose)).success


@pytest.fixture
def watch(small_graph, tmp_path):
    (tmp_path / "inbox").mkdir()
    return Watch(small_graph, tmp_path / "inbox")


def test_bases_one_after_the_other(watch):
    """One story: two bases in one tick, one waits until the other's data exist, names it, and comes next."""
    graph = watch.graph
    newer = watch.put("newer.npz", base_bytes(2), mtime=2_000)
    older = watch.put("older.npz", base_bytes(1), mtime=1_000)
    assert watch.tick() == ([], f"no new base file in {watch.folder}")
    (request,), _ = watch.tick()
    assert request.run_key == sha256_file(older)
    assert request.job_name in (None, "ingest")
    run = watch.launch(request)
    assert run.success
    assert {event.asset_key.to_user_string() for event in run.get_asset_materialization_events()} == {"base_dataset"}
    active = graph.store.active_base()
    assert (active.base_id, active.origin) == (f"older_{request.run_key[:8]}", "imported")
    assert graph.instance.get_run_by_id(run.run_id).tags["fly64/base"] == active.base_id

    (requests, message) = watch.tick()
    assert requests == []
    assert message == (
        f"waiting: newer.npz (the simulated data of the active base {active.base_id} do not exist yet: "
        "dose_1000, dose_10000)"
    )
    assert graph.run("simulated_dataset", partition="1000").success
    assert watch.tick()[1].endswith("do not exist yet: dose_10000)")
    assert graph.run("simulated_dataset", partition="10000").success
    (request,), _ = watch.tick()
    assert request.run_key == sha256_file(newer)

    # While its run waits in the queue no other run is launched, and the message says what happens.
    watch.put("third.npz", base_bytes(3), mtime=500)
    queued = watch.launch(request, execute=False)
    requests, message = watch.settle()
    assert requests == []
    assert message == f"waiting: third.npz, newer.npz (run {queued.run_id[:8]} imports 'newer.npz')"
    # Its process dies, and Dagster begins it again: nothing is told yet.
    graph.instance.report_run_failed(queued)
    graph.instance.add_run_tags(queued.run_id, {"dagster/will_retry": "true"})
    assert watch.tick() == ([], message)
    graph.instance.add_run_tags(queued.run_id, {"dagster/will_retry": "false"})
    # It fails for good: that is told once, with what to do, and it is not launched again.
    watch.folder.joinpath("third.npz").unlink()
    requests, message = watch.tick()
    assert requests == []
    assert message.startswith(f"'newer.npz' was not imported: run {queued.run_id[:8]} ended as failure; see why")
    assert watch.tick() == ([], f"no new base file in {watch.folder}")
    # The user imports it by hand, which the folder does not undo.
    intake_file(graph.store, graph.design, newer)
    os.utime(newer)
    assert watch.settle() == ([], f"no new base file in {watch.folder}")


def test_a_base_that_waits_is_read_no_more(watch, monkeypatch):
    watch.put("older.npz", base_bytes(1), mtime=1_000)
    watch.put("newer.npz", base_bytes(2), mtime=2_000)
    (request,), _ = watch.settle()
    assert watch.launch(request).success
    assert watch.tick()[1].startswith("waiting: newer.npz")

    def read_again(path):
        raise AssertionError(f"{path} was read again")

    monkeypatch.setattr("fly64_assets.study.inbox.sha256_file", read_again)
    for _ in range(3):
        assert watch.tick()[1].startswith("waiting: newer.npz")


def test_bad_files_are_told_once_with_their_findings(watch):
    watch.put("notes.npz", b"not an archive")
    watch.put("large.npz", base_bytes(1, patch_size=128))
    requests, message = watch.settle()
    assert requests == []
    assert "'large.npz' cannot become a base: large.npz breaks the data contract" in message
    assert "128" in message
    assert "'notes.npz' cannot become a base" in message
    assert "is of no known kind" in message
    assert watch.tick()[1] == f"no new base file in {watch.folder}"
    (watch.folder / "notes.npz").rename(watch.folder / "memos.npz")
    assert watch.settle()[1] == f"no new base file in {watch.folder}"
    # Its content changes: it is tried again, and it is good.
    watch.put("memos.npz", base_bytes(1), mtime=4_000)
    (request,), _ = watch.settle()
    assert request.run_key == sha256_file(watch.folder / "memos.npz")


def test_a_restart_without_a_cursor_launches_nothing_twice(watch):
    watch.put("a.npz", base_bytes(1))
    (request,), _ = watch.settle()
    assert watch.launch(request).success
    watch.cursor = "💥"
    assert watch.settle() == ([], f"no new base file in {watch.folder}")
    # The same content under another name, and after the base has gone from the store.
    (watch.folder / "a.npz").rename(watch.folder / "z.npz")
    assert watch.settle() == ([], f"no new base file in {watch.folder}")
    layout = watch.graph.store.layout(watch.graph.store.active_base().base_id)
    layout.record(BASE).unlink()
    watch.cursor = None
    requests, message = watch.settle()
    assert requests == []
    assert "'z.npz' was imported by run" in message


def test_a_folder_that_goes_keeps_the_cursor(watch, tmp_path):
    watch.put("a.npz", b"bad")
    watch.settle()
    before = watch.cursor
    watch.folder.rename(tmp_path / "away")
    requests, message = watch.tick()
    assert requests == []
    assert f"{watch.folder}: cannot be listed" in message
    assert watch.cursor == before
    (tmp_path / "away").rename(watch.folder)
    assert watch.tick() == ([], f"no new base file in {watch.folder}")


def test_a_file_that_changed_after_it_was_chosen_is_refused(watch):
    path = watch.put("a.npz", base_bytes(1))
    (request,), _ = watch.settle()
    path.write_bytes(base_bytes(2))
    run = watch.launch(request)
    assert not run.success
    (failure,) = [event.step_failure_data for event in run.all_events if event.is_step_failure]
    assert "its content changed after it was chosen" in failure.user_failure_data.description
    assert watch.graph.store.active_base() is None
    assert not run.get_asset_materialization_events()
    # The new content is another base, and is imported automatically.
    (request,), _ = watch.settle()
    assert request.run_key == sha256_file(path)
    assert watch.launch(request).success


def test_a_replaced_file_is_another_base_and_old_results_stay(watch):
    watch.put("a.npz", base_bytes(1))
    (request,), _ = watch.settle()
    assert watch.launch(request).success
    watch.simulate()
    first = watch.graph.folder
    before = {path.name: path.read_bytes() for path in first.rglob("*.npz")}
    watch.put("a.npz", base_bytes(2), mtime=3_000)
    (request,), _ = watch.settle()
    assert watch.launch(request).success
    assert watch.graph.folder != first
    assert {path.name: path.read_bytes() for path in first.rglob("*.npz")} == before


def test_a_damaged_note_of_the_active_base_is_one_sentence(watch):
    watch.put("a.npz", base_bytes(1))
    watch.tick()
    watch.graph.store.folder.mkdir(parents=True)
    (watch.graph.store.folder / "active_base.json").write_text("{")
    requests, message = watch.tick()
    assert requests == []
    assert "does not name a base" in message


def test_no_file_keeps_later_ones_waiting(watch, monkeypatch):
    """Unusable content is told, and a base that cannot be simulated, or whose run died, is waited for no more."""
    graph = watch.graph
    empty = base_arrays(recipe_base(BaseRecipe("coins", "grass", object_size=132, positions=60), 64, "empty"))
    bad = {"none": 0, "one": 1}
    for name, number in bad.items():
        short = {key: array[:number] if array.ndim == 1 else array for key, array in empty.items()}
        watch.put(f"{name}.npz", npz_bytes(short), mtime=500)
    watch.put("first.npz", base_bytes(1), mtime=1_000)
    watch.put("second.npz", base_bytes(2), mtime=2_000)
    watch.put("third.npz", base_bytes(3), mtime=3_000)
    (request,), _ = watch.settle()
    assert request.tags["fly64/file"] == "first.npz"
    assert watch.launch(request).success
    _, message = watch.tick()
    for words in ("'none.npz' cannot become a base: ", "there are no positions", "all positions (1) are the same"):
        assert words in message
    assert "dose_1000, dose_10000" in message
    monkeypatch.setattr("fly64_assets.assets.simulated.simulate", lambda *_, **__: 1 / 0)
    for dose in graph.design.doses:
        assert not graph.run("simulated_dataset", partition=str(dose)).success
    (request,), _ = watch.tick()
    assert request.tags["fly64/file"] == "second.npz"
    assert watch.launch(request).success
    active = graph.store.active_base().base_id
    assert watch.tick()[1].endswith("dose_1000, dose_10000)")
    for dose in graph.design.doses:  # killed before they could write a record
        run = graph.instance.create_run_for_job(
            graph.definitions.resolve_job_def("ingest"), tags={"fly64/base": active, "fly64/dose": str(dose)}
        )
        assert watch.tick()[0] == []
        graph.instance.report_run_failed(run)
    (request,), _ = watch.tick()
    assert request.tags["fly64/file"] == "third.npz"


def test_content_that_nobody_foresaw_is_told_and_stops_no_other_file(watch, monkeypatch):
    monkeypatch.setattr(intake, "opened", lambda path, *_, **__: {}[path.name])
    watch.put("odd.npz", b"odd")
    assert "'odd.npz' cannot become a base: it cannot be converted (KeyError" in watch.settle()[1]


def test_warnings_reach_the_log_the_record_and_the_text_of_the_check(small_graph, tmp_path):
    """Of a base, and of simulated data: an object so dark in one place that the doses of the halves differ widely."""
    arrays = base_arrays(recipe_base(BaseRecipe("coins", "grass", object_size=132, positions=60), 64, "twice"))
    for key in ("xcoords", "ycoords"):
        arrays[key][1] = arrays[key][0]
    arrays["objectGuess"][:80] *= 0.02
    path = tmp_path / "twice.npz"
    path.write_bytes(npz_bytes(arrays))
    graph = small_graph
    job = graph.definitions.resolve_job_def("ingest")
    result = job.execute_in_process(
        instance=graph.instance, run_config={"ops": {"base_dataset": {"config": {"file": str(path)}}}}
    )
    runs = {BASE: result, StageKey("simulated", Dose(1000)): graph.run("simulated_dataset", partition="1000")}
    layout = active_layout(graph.store)
    for (key, run), words in zip(runs.items(), ("1 of 60 positions repeat", "unlike the rest"), strict=True):
        assert run.success
        assert any(words in entry.user_message for entry in graph.instance.all_logs(run.run_id))
        assert words in " ".join(graph.store.required(layout, key).values["warnings"])
        passed, text = judge(graph.store, graph.design, [key], RULES["data_001"])
        assert passed
        assert text.startswith("warning: ")
        assert words in text
