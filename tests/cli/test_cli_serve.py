"""``bnlens serve``."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from bnlens.cli import _app


def run(*arguments: str):
    return CliRunner().invoke(_app(), ["serve", "--no-open", *arguments])


def children(pid: int) -> list[str]:
    found = subprocess.run(["ps", "-A", "-ww", "-o", "ppid=,args="], capture_output=True, text=True, check=True)
    return [line for line in found.stdout.splitlines() if line.split()[0] == str(pid)]


def test_serves_and_ends_cleanly(tmp_path: Path):
    command = [sys.executable, "-m", "bnlens", "serve", "--no-open", "--port", "0", "--folder", str(tmp_path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, **pipes)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert found, line
        assert httpx.get(f"{found[0]}api/labs", timeout=None).status_code == 200  # noqa: S113 - as long as it takes
        # Also while something long runs, which this starts and the server's end answers.
        endless = f"{found[0]}api/labs/dynamics?simulate=yes&size=400&tau=40"
        status: list[int] = []
        reader = threading.Thread(target=lambda: status.append(httpx.get(endless, timeout=None).status_code))  # noqa: S113
        reader.start()
        while process.poll() is None and not any("anyio.to_process" in child for child in children(process.pid)):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=600)
    finally:
        process.kill()
    reader.join()
    assert status == [503]
    assert "Traceback" not in errors
    assert errors.strip() in ("", "Interrupted.")
    assert process.returncode in (0, 130)


def test_a_port_in_use_is_one_sentence(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = run("--port", str(taken.getsockname()[1]))
    assert result.exit_code == 2
    assert "choose another --port" in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_an_address_that_is_not_here():
    assert "use 127.0.0.1" in run("--host", "no.such.host.invalid").output


def test_a_folder_that_is_a_file(tmp_path: Path):
    (tmp_path / "file").write_text("")
    assert "is a file" in run("--folder", str(tmp_path / "file")).output


def test_other_addresses_are_warned_of(monkeypatch: pytest.MonkeyPatch):
    from bnlens import web

    monkeypatch.setattr(web, "serve", lambda *arguments, ready, **options: ready("http://x/"))
    monkeypatch.setattr("typer.launch", lambda url: None)
    assert "everyone who can reach this machine" in run("--host", "0.0.0.0").output  # noqa: S104
    assert "everyone" not in run().output


def test_missing_packages_are_one_sentence(monkeypatch: pytest.MonkeyPatch):
    from bnlens import web
    from bnlens.errors import UsageError

    monkeypatch.setitem(web._PACKAGES, "no_such_module", "no-such-package")
    with pytest.raises(UsageError, match=r"needs no-such-package; pip install -c constraints.txt '.\[web\]'"):
        web._require_packages()
