"""The watched folder, poll by poll, with real files and no Dagster."""

import os

import pytest

from fly64_assets.errors import ArtifactError
from fly64_assets.study import inbox
from fly64_assets.study.inbox import BYTES_PER_POLL, DONE, FILES_PER_POLL, GOOD, NEW, Cursor, listing, poll


class Desk:
    """A folder, the cursor, and which files were judged."""

    def __init__(self, folder):
        self.folder = folder
        self.cursor = Cursor("study 64")
        self.judged = []

    def judge(self, path):
        self.judged.append(path.name)
        return "it is no base" if path.read_bytes().startswith(b"bad") else ""

    def put(self, name, content, mtime=1_000):
        path = self.folder / name
        path.write_bytes(content)
        os.utime(path, (mtime, mtime))
        return path

    def poll(self):
        """One poll, through the text in which a cursor survives a restart."""
        self.cursor = poll(Cursor.loads(self.cursor.dumps(), "study 64"), self.folder, self.judge)
        return self.cursor

    def state(self, name):
        return self.cursor.files[name].state


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def test_a_file_counts_when_it_has_stopped_changing(desk):
    path = desk.put("a.npz", b"one")
    assert desk.poll().queue() == ()
    path.write_bytes(b"one and more")
    assert desk.poll().queue() == ()  # it has grown
    os.utime(path, (2_000, 2_000))
    assert desk.poll().queue() == ()  # the same size, but written again
    assert desk.judged == []
    assert desk.poll().queue() == ("a.npz",)
    for _ in range(3):
        desk.poll()
    assert desk.judged == ["a.npz"]


def test_touched_and_renamed_files_are_known_by_their_content(desk):
    desk.put("good.npz", b"good")
    desk.put("bad.npz", b"bad")
    desk.poll()
    assert "'bad.npz' cannot become a base: it is no base" in desk.poll().messages()
    desk.cursor = desk.cursor.acknowledged().done("good.npz")
    os.utime(desk.folder / "good.npz", (5_000, 5_000))
    os.utime(desk.folder / "bad.npz", (5_000, 5_000))
    desk.poll()
    desk.poll()
    (desk.folder / "good.npz").rename(desk.folder / "other.npz")
    (desk.folder / "bad.npz").rename(desk.folder / "worse.npz")
    desk.poll()
    assert desk.poll().files.keys() == {"other.npz", "worse.npz"}
    assert {desk.state(name) for name in ("other.npz", "worse.npz")} <= {DONE}
    assert desk.cursor.queue() == ()
    assert desk.cursor.messages() == ()
    assert desk.cursor.gone == {}  # nothing is unread
    assert desk.judged == ["bad.npz", "good.npz"]


def test_a_bad_file_is_reported_once_and_tried_again_when_its_content_changes(desk):
    desk.put("a.npz", b"bad")
    desk.poll()
    assert desk.poll().messages() == ("'a.npz' cannot become a base: it is no base",)
    desk.cursor = desk.cursor.acknowledged()
    for _ in range(3):
        assert desk.poll().messages() == ()
    desk.put("a.npz", b"better", mtime=3_000)
    desk.poll()
    assert desk.poll().queue() == ("a.npz",)
    assert desk.judged == ["a.npz", "a.npz"]


def test_the_line_is_ordered_by_age_and_then_by_name(desk):
    desk.put("c.npz", b"c", mtime=1)
    desk.put("b.npz", b"b", mtime=2)
    desk.put("a.npz", b"a", mtime=2)
    desk.poll()
    assert desk.poll().queue() == ("c.npz", "a.npz", "b.npz")


def test_links_folders_hidden_and_temporary_files_are_not_listed(desk, tmp_path):
    desk.put("a.npz", b"a")
    for name in (".hidden.npz", "b.npz.part", "c.TMP", "d.npz.crdownload", "e.npz~"):
        desk.put(name, b"x")
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "folder.npz" / "inside.npz").write_bytes(b"x")
    (tmp_path / "link.npz").symlink_to(tmp_path / "a.npz")
    os.mkfifo(tmp_path / "pipe.npz")
    assert listing(tmp_path).keys() == {"a.npz"}


def test_a_name_that_is_not_utf8_is_mentioned_once(desk):
    desk.put("a.npz", b"good")
    desk.put(os.fsdecode(b"m\xfcnchen.npz"), b"good")
    (message,) = desk.poll().messages()
    assert "'m\ufffdnchen.npz' is left alone: its name is not UTF-8; rename the file" in message
    message.encode()
    desk.cursor = desk.cursor.acknowledged()
    desk.poll()
    assert desk.poll().messages() == ()
    assert desk.cursor.queue() == ("a.npz",)
    (desk.folder / os.fsdecode(b"m\xfcnchen.npz")).rename(desk.folder / "münchen.npz")
    desk.poll()
    desk.poll()
    assert desk.state("münchen.npz") == GOOD


def test_a_folder_that_goes_and_comes_back(desk, tmp_path):
    desk.put("a.npz", b"a")
    desk.poll()
    desk.poll()
    away = tmp_path.parent / "away"
    tmp_path.rename(away)
    before = desk.cursor
    with pytest.raises(ArtifactError, match=r"cannot be listed \(No such file or directory\); make the folder"):
        desk.poll()
    assert desk.cursor == before
    away.rename(tmp_path)
    assert desk.poll() == before
    assert desk.judged == ["a.npz"]


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "nonsense",
        "1:abc",
        "eJwDAAAAAAE=",
        "💥",
        Cursor("other 128", {"a.npz": inbox.WatchedFile(1, 1)}).dumps(),
    ],
)
def test_a_cursor_that_cannot_be_used_starts_over(text):
    assert Cursor.loads(text, "study 64") == Cursor("study 64")


def test_cursors_of_other_shapes_start_over():
    import base64
    import json
    import zlib

    def packed(document):
        return base64.b64encode(zlib.compress(json.dumps(document).encode())).decode()

    good = {"version": 1, "purpose": "p", "files": {"a": [1, 2, "", "new", ""]}, "gone": {}}
    assert Cursor.loads(packed(good), "p").files["a"].state == NEW
    for change in (
        {"version": 0},
        {"files": []},
        {"files": {"a": [1]}},
        {"files": {"a": ["1", 2, "", "new", ""]}},
        {"files": {"a": [1, 2, "", "strange", ""]}},
        {"files": {"a": 5}},
        {"gone": {"ab": "strange"}},
        {"gone": None},
    ):
        assert Cursor.loads(packed(good | change), "p") == Cursor("p")
    assert Cursor.loads(packed([]), "p") == Cursor("p")


def test_what_is_read_in_one_poll_is_bounded(desk):
    count = FILES_PER_POLL + 10
    for index in range(count):
        desk.put(f"{index:03}.npz", f"bad {index}".encode())
    desk.poll()
    desk.poll()
    assert len(desk.judged) == FILES_PER_POLL
    desk.poll()
    assert sorted(desk.judged) == [f"{index:03}.npz" for index in range(count)]
    desk.poll()
    assert len(desk.judged) == count


def test_bytes_read_in_one_poll_are_bounded(desk, monkeypatch):
    monkeypatch.setattr(inbox, "BYTES_PER_POLL", 100)
    for name, size in (("a", 500), ("b", 60), ("c", 30), ("d", 60)):
        desk.put(name, name.encode() * size)
    assert BYTES_PER_POLL > 100
    desk.poll()
    desk.poll()
    assert desk.judged == ["a"]  # the first is read whatever its size
    desk.poll()
    assert desk.judged == ["a", "b", "c"]
    desk.poll()
    assert desk.judged == ["a", "b", "c", "d"]


def test_a_file_that_changes_while_it_is_read_waits(desk):
    path = desk.put("a.npz", b"a")
    desk.poll()

    def judge(file):
        path.write_bytes(b"something longer")
        return "half a file"

    desk.judge = judge
    assert desk.poll().messages() == ()
    assert desk.state("a.npz") == NEW


def test_ten_thousand_files_are_read_once_and_remembered_in_little(desk):
    names = [f"scan_{index:05}.npz" for index in range(10_000)]
    for name in names:
        (desk.folder / name).write_bytes(name.encode())
    files = {
        name: inbox.WatchedFile(s.size, s.mtime_ns, f"{index:016x}", DONE)
        for index, (name, s) in enumerate(sorted(listing(desk.folder).items()))
    }
    desk.cursor = Cursor("study 64", files)
    assert desk.poll().files == files
    assert desk.judged == []
    assert len(desk.cursor.dumps()) < 500_000


def test_an_unreadable_file_is_reported_once_and_read_when_it_can_be(desk, monkeypatch):
    desk.put("a.npz", b"a")
    refuse = True

    def sha256_file(path):
        if refuse:
            raise PermissionError(13, "Permission denied")
        return "ab" * 32

    monkeypatch.setattr(inbox, "sha256_file", sha256_file)
    desk.poll()
    assert desk.poll().messages() == ("'a.npz' cannot be read: Permission denied",)
    desk.cursor = desk.cursor.acknowledged()
    assert desk.poll().messages() == ()
    refuse = False
    assert desk.poll().queue() == ("a.npz",)
    assert desk.state("a.npz") == GOOD
