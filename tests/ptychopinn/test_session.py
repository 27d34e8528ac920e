"""Sessions on the legacy dictionary: whatever happens inside, the dictionary is found as it was."""

from __future__ import annotations

import copy
import sys
import threading
from contextlib import ExitStack, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fly64_assets.ptychopinn import session as own
from fly64_assets.ptychopinn.configuration import InferenceConfig, LegacyConfigError, ModelConfig, TrainingConfig
from fly64_assets.ptychopinn.dictionary import DEFAULTS, legacy_parameters
from fly64_assets.ptychopinn.session import LegacySession, legacy_session
from fly64_assets.resources.legacy_config import LegacyConfigResource

STALE = {"N": 256, "gridsize": 7, "unknown_to_us": [1, 2], "neighbor_pool_size": 99, "intensity_scale": 3.5}


class Boom(Exception):
    """What a job inside a session may raise."""


def end(fails):
    """The end of a job."""
    if fails:
        raise Boom


configs = st.builds(
    TrainingConfig,
    model=st.builds(ModelConfig, N=st.sampled_from([64, 128, 256]), gridsize=st.integers(1, 3)),
    nepochs=st.integers(1, 9),
    n_subsample=st.none() | st.integers(1, 99),
    nphotons=st.floats(1, 1e9),
) | st.builds(InferenceConfig, model_path=st.just("m"), test_data_file=st.sampled_from(["a.npz", "b.npz"]))
actions = st.deferred(
    lambda: st.one_of(
        st.tuples(st.just("session"), configs, st.booleans(), plans),
        st.tuples(st.just("thread"), configs, st.booleans(), plans),
        st.tuples(st.just("scribble"), st.sampled_from(["N", "probe", "anything"]), st.integers()),
        st.tuples(st.just("clear")),
        st.tuples(st.just("rebind")),
        st.tuples(st.just("record"), st.floats(0.1, 9)),
    )
)
plans = st.lists(actions, max_size=3)


def play(plan, session, problems):
    """Carry out a plan inside a session (or outside any)."""
    for kind, *rest in plan:
        if kind in ("session", "thread"):
            config, fails, inner = rest
            (run_nested if kind == "session" else run_threaded)(config, fails, inner, session, problems)
        elif session is None:
            continue
        elif kind == "scribble":
            own.cfg[rest[0]] = rest[1]
        elif kind == "clear":
            own.cfg.clear()
        elif kind == "rebind":
            own.cfg = dict(own.cfg)
        else:
            with suppress(LegacyConfigError):
                session.record("intensity_scale", rest[0])


def run_nested(config, fails, inner, _outer, problems):
    before, place = dict(own.cfg), own.cfg
    try:
        with legacy_session(config) as session:
            if dict(own.cfg) != legacy_parameters(config) or dict(session) != legacy_parameters(config):
                problems.append("the dictionary is not exactly the configuration's")
            play(inner, session, problems)
            end(fails)
    except Boom:
        pass
    if own.cfg is not place or dict(own.cfg) != before or list(own.cfg) != list(before):
        problems.append("the dictionary is not as it was")


def run_threaded(config, fails, inner, outer, problems):
    """Another thread is refused while there is a session, and otherwise has one of its own."""

    def work():
        if outer is None:
            run_nested(config, fails, inner, None, problems)
            return
        try:
            with legacy_session(config):
                problems.append("two threads had sessions at once")
        except LegacyConfigError:
            pass

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@settings(max_examples=150, deadline=None)
@given(plans)
def test_random_sequences_of_sessions_leave_the_dictionary_as_it_was(plan):
    own.cfg = copy.deepcopy(STALE)
    place, problems = own.cfg, []
    try:
        play(plan, None, problems)
        assert problems == []
        assert own.cfg is place
        assert own.cfg == STALE
    finally:
        own.cfg = {}


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(configs, st.booleans()), min_size=2, max_size=6))
def test_threads_that_wait_take_turns_and_see_their_own_values_only(jobs):
    own.cfg.clear()
    wrong, together, lock = [], [0], threading.Lock()

    def work(config, fails):
        with suppress(Boom), legacy_session(config, wait_seconds=60) as session:
            with lock:
                together[0] += 1
                if together[0] > 1:
                    wrong.append("two at once")
            wrong.extend("foreign values" for _ in range(20) if dict(session) != legacy_parameters(config))
            with lock:
                together[0] -= 1
            end(fails)

    threads = [threading.Thread(target=work, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert own.cfg == {}


def test_unset_values_become_defaults_and_never_the_previous_jobs():
    with legacy_session(TrainingConfig(n_subsample=5, neighbor_pool_size=9), others={"npseed": 1}):
        assert own.cfg["n_subsample"] == 5
    with legacy_session(TrainingConfig()) as session:
        assert session["n_subsample"] is None
        assert session["npseed"] == 42
        assert set(own.cfg) == set(DEFAULTS)
    assert own.cfg == {}


def test_a_refused_session_changes_nothing():
    with legacy_session(TrainingConfig(nepochs=3)):
        with (
            pytest.raises(LegacyConfigError, match="nonsense"),
            legacy_session(TrainingConfig(), others={"nonsense": 1}),
        ):
            pass
        assert own.cfg["nepochs"] == 3


def test_a_session_is_of_use_in_its_own_time_and_thread_only():
    found = []

    def elsewhere(session):
        try:
            len(session)
        except LegacyConfigError as error:
            found.append(str(error))

    with legacy_session(TrainingConfig()) as outer:
        thread = threading.Thread(target=elsewhere, args=(outer,))
        thread.start()
        thread.join()
        with legacy_session(TrainingConfig(nepochs=2)):
            elsewhere(outer)
        assert outer["nepochs"] == 50
    elsewhere(outer)
    elsewhere(LegacySession(()))
    assert [word in text for word, text in zip(("thread", "inside", "ended", "ended"), found, strict=True)] == [
        True
    ] * 4


def test_sessions_closed_in_the_wrong_order_leave_nothing_behind():
    own.cfg.update(STALE)
    outer, inner = ExitStack(), ExitStack()
    outer.enter_context(legacy_session(TrainingConfig(nepochs=2)))
    left = inner.enter_context(legacy_session(TrainingConfig(nepochs=3)))
    outer.close()
    assert own.cfg == STALE
    with pytest.raises(LegacyConfigError, match="ended"):
        left["nepochs"]
    inner.close()
    assert own.cfg == STALE
    own.cfg.clear()


def test_run_time_keys_can_be_recorded_and_others_cannot():
    with legacy_session(TrainingConfig()) as session:
        assert "intensity_scale" not in session
        session.record("intensity_scale", 4.5)
        assert own.cfg["intensity_scale"] == 4.5
        session.record("probe", [1, 2])
        snapshot = session.snapshot()
        assert (snapshot["intensity_scale"], "probe" in snapshot) == (4.5, False)
        assert list(snapshot) == sorted(snapshot)
        with pytest.raises(LegacyConfigError, match="N is no key"):
            session.record("N", 128)


def test_the_resource_refuses_a_second_thread_and_hands_over_what_an_engine_needs():
    resource = LegacyConfigResource()
    caught = []

    def second():
        try:
            with resource.session(TrainingConfig()):
                pass
        except LegacyConfigError as error:
            caught.append(str(error))

    with resource.session(TrainingConfig(nepochs=4), {"npseed": 3}) as session:
        assert (session["nepochs"], session["npseed"]) == (4, 3)
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert "another thread" in caught[0]
    request = resource.request(TrainingConfig(nepochs=4), {"npseed": 3})
    assert request["training_config"]["nepochs"] == 4
    assert request["training_config"]["model"]["N"] == 64
    with pytest.raises(LegacyConfigError):
        resource.request(TrainingConfig(), {"N": 3})


@pytest.fixture
def ptycho(tmp_path, monkeypatch):
    """A package with the dictionary of PtychoPINN; its ``params`` is the given text."""

    def install(text):
        (tmp_path / "ptycho").mkdir()
        (tmp_path / "ptycho" / "__init__.py").write_text("")
        if text is not None:
            (tmp_path / "ptycho" / "params.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)

    yield install
    for name in ("ptycho", "ptycho.params"):
        sys.modules.pop(name, None)


def test_the_dictionary_of_an_installed_ptychopinn_is_filled_and_restored(ptycho):
    ptycho("cfg = {'N': 64, 'own_key': 'mine', 'nepochs': 60}\n")
    config = TrainingConfig(model=ModelConfig(N=128), nepochs=2)
    with suppress(Boom), legacy_session(config) as session:
        import ptycho.params as theirs

        assert theirs.cfg == dict(session) == legacy_parameters(config)
        session.record("intensity_scale", 2.0)
        assert theirs.cfg["intensity_scale"] == 2.0
        theirs.cfg = {"rebound": True}
        raise Boom
    assert theirs.cfg == {"N": 64, "own_key": "mine", "nepochs": 60}
    assert own.cfg == {}


@pytest.mark.parametrize("text", [None, "value = 1\n", "cfg = 5\n"])
def test_another_package_of_that_name_is_left_alone(ptycho, text):
    ptycho(text)
    with legacy_session(TrainingConfig()) as session:
        assert session["nepochs"] == 50
    assert own.cfg == {}


def test_a_ptychopinn_that_cannot_be_imported_is_an_error_and_changes_nothing(ptycho):
    ptycho("import a_module_that_is_nowhere\n")
    with pytest.raises(LegacyConfigError, match="a_module_that_is_nowhere"), legacy_session(TrainingConfig()):
        pass
    assert own.cfg == {}
    with pytest.raises(LegacyConfigError), legacy_session(TrainingConfig()):
        pass
