"""Files that are either whole or absent."""

import os
import stat
from pathlib import Path

import pytest

from bnlens._files import check_writable, write_atomic
from bnlens.errors import StoreError


@pytest.mark.parametrize(("data", "stored"), [("γ = 1\n", "γ = 1\n".encode()), (b"\x00\xff", b"\x00\xff")])
def test_writes_text_and_bytes_into_new_folders(data: str | bytes, stored: bytes, tmp_path: Path) -> None:
    path = write_atomic(tmp_path / "new" / "folder" / "file", data)
    assert path.read_bytes() == stored
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_replaces_a_file_and_is_as_readable_as_any(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    for data in ("old", "new"):
        path = write_atomic(tmp_path / "file", data)
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_what_cannot_replace_its_target_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("old")

    def fail(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match=r"cannot write .*file: No space left on device; choose"):
        write_atomic(tmp_path / "file", "new")
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("file", "old")]


@pytest.mark.parametrize("call", [check_writable, lambda path: write_atomic(path, "")])
def test_a_file_is_no_folder(call, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "a", tmp_path / "file" / "deep" / "a"):
        with pytest.raises(StoreError, match=r"cannot write .*file.* is a file.*; choose a writable folder"):
            call(path)
    with pytest.raises(StoreError, match=r"cannot write .*/proc/bnlens"):
        call(Path("/proc/bnlens/a"))
    with pytest.raises(StoreError, match="cannot write"):
        call(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_checking_writes_nothing(tmp_path: Path) -> None:
    for path in (tmp_path / "file", tmp_path / "new" / "folder" / "file"):
        check_writable(path)
    assert not list(tmp_path.iterdir())
