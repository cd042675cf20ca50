"""``masthead hub``: what it says of its ports."""

from __future__ import annotations

import json
import shlex
import socket
from pathlib import Path

import pytest

from agent.localhub.hub import LocalHub
from agent.localhub.thread import HubThread
from tests.agent.localhub.rest_client import host_with_443
from tests.e2e.harness import Process, free_host, masthead, wait_for


def lines_of(hub: Process) -> list[str]:
    # all are written at once
    wait_for(lambda: "MASTHEAD_CA_FILE" in hub.out or hub.process.poll() is not None, "the hub's lines")
    return [line.strip() for line in hub.out.splitlines()]


def test_the_usual_port_needs_no_word(tmp_path: Path) -> None:
    """With HTTPS on 443 there is nothing to export for it; ``https_port`` is in the line for programs."""
    host = host_with_443()
    with Process(tmp_path, "hub", "--data", str(tmp_path / "a"), "--host", host) as hub:
        lines = lines_of(hub)
        assert (
            lines[0]
            == f"The local hub listens on {host}, ports 8883 (MQTT), 5671 (AMQP), 443 (HTTPS). Its page:"
        )
        assert "MASTHEAD_HTTPS_PORT" not in hub.out
    with Process(tmp_path, "hub", "--data", str(tmp_path / "a"), "--host", host, "--json") as hub:
        wait_for(lambda: "\n" in hub.out or hub.process.poll() is not None, "the hub's first line")
        assert json.loads(hub.out)["https_port"] == 443


def test_another_port_is_said_clearly(tmp_path: Path) -> None:
    """Where 443 cannot be had: in the first line, why it matters, and the line to paste."""
    host = free_host()
    try:
        taken = socket.create_server((host, 443))
    except OSError:
        taken = socket.socket()  # this user may not bind it, and neither may the hub
    with taken, Process(tmp_path, "hub", "--data", str(tmp_path / "a"), "--host", host) as hub:
        lines = lines_of(hub)
        assert (
            lines[0]
            == f"The local hub listens on {host}, ports 8883 (MQTT), 5671 (AMQP), 8443 (HTTPS). Its page:"
        )
        assert lines[-1] == "export MASTHEAD_HTTPS_PORT=8443"
        assert lines[-2].startswith("And for HTTPS, since port 443 cannot be had here")
        assert f"cannot listen on {host}:443: " in hub.err


def test_the_lines_are_for_a_shell(tmp_path: Path) -> None:
    """Each export can be pasted as it is."""
    host = free_host()
    with Process(tmp_path, "hub", "--data", str(tmp_path / "a"), "--host", host, "--device", "m$1") as hub:
        wait_for(lambda: "DEVICE_CONNECTION" in hub.out or hub.process.poll() is not None, "the hub's lines")
        exports = [line.strip() for line in hub.out.splitlines() if line.startswith("  export ")]
        assert [len(shlex.split(line)) for line in exports] == [2] * len(exports)
        assert "DeviceId=m$1;" in shlex.split(exports[-1])[1]


def test_the_certificates_path_holds_in_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--data`` may be a relative folder: the lines are pasted elsewhere, and read by programs elsewhere."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    expected = tmp_path / "link" / "my hub" / "tls" / "ca.pem"
    with Process(tmp_path, "hub", "--data", "link/my hub", "--host", free_host()) as hub:
        assert f"export MASTHEAD_CA_FILE='{expected}'" in lines_of(hub)
    with Process(tmp_path, "hub", "--data", "link/my hub", "--host", free_host(), "--json") as hub:
        wait_for(lambda: "\n" in hub.out or hub.process.poll() is not None, "the hub's first line")
        assert json.loads(hub.out)["ca_file"] == str(expected)
    assert expected.exists()


def test_a_hub_that_cannot_run_says_so(tmp_path: Path) -> None:
    """One line and exit 1, when another has its folder."""
    thread = HubThread(LocalHub(tmp_path / "a", free_host(), port=0, https_port=0))
    thread.start()
    try:
        result = masthead("hub", "--data", str(tmp_path / "a"))
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr == f"Error: another hub uses {tmp_path / 'a'}\n"
    finally:
        thread.stop()


@pytest.mark.parametrize("host", ["0.0.0.0", "example.com"])
def test_only_loopback_is_served(tmp_path: Path, host: str) -> None:
    """Another host is refused before anything is made."""
    result = masthead("hub", "--data", str(tmp_path / "a"), "--host", host)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert not (tmp_path / "a").exists()
