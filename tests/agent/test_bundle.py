"""The support file: secrets are planted wherever one may stand, and none is found in what comes out."""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from agent import bundle
from agent.checks import unit
from agent.config import load
from agent.daemon import Daemon
from agent.reading import Entry

_RNG = random.Random(7)


def new_key(size: int = 32) -> str:
    """A device key as IoT Hub makes them, with every letter that has to be escaped somewhere."""
    return base64.b64encode(b"\xfb\xff\xbe" + _RNG.randbytes(size - 3)).decode()


PEM = (
    "-----BEGIN EC PRIVATE KEY-----\n"
    + "\n".join([new_key(48), new_key(48), "oUQDQg=="])
    + ("\n-----END EC PRIVATE KEY-----\n")
)


def connection_string(key: str) -> str:
    return f"HostName=wind-hub.example.net;DeviceId=mast-1;SharedAccessKey={key}"


def unicode_escaped(text: str) -> str:
    """As JSON that escapes more than it must."""
    return "".join(f"\\u{ord(c):04x}" if c in "+/=&" else c for c in text)


SPELLINGS: dict[str, Callable[[str], str]] = {
    "connection string": connection_string,
    "service's": lambda key: f"HostName=h;SharedAccessKeyName=iothubowner;SharedAccessKey={key}",
    "bytes": lambda key: repr(connection_string(key).encode()),
    "JSON": lambda key: json.dumps({"primaryKey": key, "status": "enabled"}),
    "JSON in JSON": lambda key: json.dumps(
        json.dumps({"authentication": {"symmetricKey": {"secondaryKey": key}}})
    ),
    "JSON with slashes escaped": lambda key: '{"primaryKey":"' + key.replace("/", "\\/") + '"}',
    "JSON in Unicode escapes": lambda key: unicode_escaped(connection_string(key)),
    "dict": lambda key: repr({"SharedAccessKey": key}),
    "URL": lambda key: "https://h/?" + quote(connection_string(key), safe=""),
    "URL twice": lambda key: quote(quote(connection_string(key), safe=""), safe=""),
    "URL of JSON": lambda key: quote(json.dumps({"primaryKey": key}), safe=""),
    "signature": lambda key: (
        f"SharedAccessSignature sr=h%2Fdevices%2Fmast-1&sig={quote(key, safe='')}&se=1790000000"
    ),
    "signature in a URL": lambda key: quote(f"sr=h&sig={quote(key, safe='')}&se=1", safe=""),
    "TOML": lambda key: f'shared_access_key = "{key}"',
    "YAML": lambda key: f"primary_key: {key}",
    "shell": lambda key: f"export IOTHUB_DEVICE_CONNECTION_STRING='{connection_string(key)}'",
    "unit": lambda key: f'Environment="IOTHUB_DEVICE_CONNECTION_STRING={connection_string(key)}"',
    "unit of two lines": lambda key: (
        f"SetCredential=connection-string:{connection_string(key[:20])}\\\n  {key[20:]}"
    ),
    "cut by the end of a line": lambda key: f"{connection_string(key[:30])}\n{key[30:]}",
    "cut over two entries": lambda key: (
        f"{connection_string(key[:30])}\n2026-11-21T20:00:00+0000 mast masthead[812]: {key[30:]}"
    ),
    "by itself": lambda key: f"the key is {key}, they say",
    "by itself in a URL": lambda key: f"GET /{quote(key, safe='')} HTTP/1.1",
    "password": lambda key: f"mqtt password={key[:12]}",
    "proxy": lambda key: (
        f"https_proxy=http://operator:{key[:12].replace('/', 'x').replace('+', 'y')}@proxy:3128"
    ),
}


def pieces(secret: str) -> set[str]:
    """Every run of eight bytes of a secret, as it is and as each spelling has it: none may come out."""
    spelt = {secret, quote(secret, safe=""), secret.replace("/", "\\/"), unicode_escaped(secret)}
    spelt.add(quote(quote(secret, safe=""), safe=""))
    return {text[i : i + 8] for text in spelt for i in range(len(text) - 7)}


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Secrets in the log, the unit, the kernel's log, the configuration, the environment, the credential's
    file and the state directory."""
    secrets: set[str] = set()

    def spelt(name: str) -> str:
        key = new_key()
        shown = SPELLINGS[name](key)
        secrets.add(key[:12].replace("/", "x").replace("+", "y") if name == "proxy" else key)
        if name == "password":
            secrets.discard(key)
            secrets.add(key[:12])
        return shown

    programs = tmp_path / "bin"
    programs.mkdir()
    for program in ("journalctl", "systemctl", "dmesg"):
        lines = [f"2026-11-21T20:00:00+0000 mast masthead[812]: {spelt(name)}" for name in SPELLINGS]
        lines += ["2026-11-21T20:00:01+0000 mast masthead[812]: hub link up", "mmc0: error -110", PEM]
        (programs / f"{program}.txt").write_text("\n".join(lines))
        (programs / program).write_text(f'#!/bin/sh\ncat "{programs}/{program}.txt"\n')
        (programs / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(unit, "RUNNING_SYSTEMD", tmp_path)

    state = tmp_path / "state"
    state.mkdir()
    secrets.update(keys := [new_key() for _ in range(4)])
    (state / "outbox.db.old").write_text(connection_string(keys[0]))
    (state / f"SharedAccessKey={keys[1].replace('/', '_')}").touch()
    secrets.add(keys[1].replace("/", "_"))
    credential = tmp_path / "connection-string"
    credential.write_text(connection_string(keys[2]))
    credential.chmod(0o600)
    monkeypatch.setenv("IOTHUB_DEVICE_CONNECTION_STRING", connection_string(keys[3]))
    (tmp_path / "masthead.toml").write_text(
        f"# {spelt('connection string')}\n# {spelt('JSON')}\n# {spelt('by itself')}\n"
        f'[device]\nstate_directory = "{state}"\nconnection_string_file = "{credential}"\n'
        '[telemetry.properties]\nsite = "north ridge"\n[[sensor]]\nid = "top"\n'
    )
    return secrets | set(PEM.splitlines()[1:-1])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "masthead.toml"


def unpacked(path: Path) -> dict[str, str]:
    """Name -> text of every member."""
    with tarfile.open(path) as archive:
        found = {}
        for member in archive.getmembers():
            file = archive.extractfile(member)
            assert file is not None
            found[Path(member.name).name] = file.read().decode()
    return found


def test_no_secret(tmp_path: Path, config: Path, planted: set[str]) -> None:
    """Invariant 1: no eight bytes in a row of anything planted, however spelt; what is no secret is there."""
    path = tmp_path / "help.tar.gz"
    bundle.write(path, config, network=False)
    members = unpacked(path)
    with tarfile.open(path) as archive:
        names = "\n".join(archive.getnames())
    everything = "\n".join([names, *members.values()])
    found = {secret: piece for secret in planted for piece in pieces(secret) if piece in everything}
    assert not found
    assert members["log.txt"].count("***") >= len(SPELLINGS)
    for kept in ("hub link up", "SharedAccessKeyName=iothubowner", "DeviceId=mast-1", "wind-hub.example.net"):
        assert kept in members["log.txt"]
    assert 'site = "north ridge"' in members["configuration.toml"]
    assert "north ridge" in members["configuration-resolved.toml"]
    assert "mmc0: error -110" in members["kernel.txt"]
    assert "hub link up" not in members["kernel.txt"]


@pytest.mark.parametrize("name", SPELLINGS)
def test_each_spelling_would_be_seen(name: str) -> None:
    """The search of the test above finds each of them in what was not scrubbed."""
    key = new_key()
    shown = SPELLINGS[name](key)
    assert any(piece in shown for piece in pieces(key) | pieces(key.replace("/", "x").replace("+", "y")))


def test_whole(tmp_path: Path, config: Path, planted: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Invariant 2: for its owner alone, in nobody's place, and a disk that fills leaves nothing."""
    path = tmp_path / "help.tar.gz"
    told = bundle.write(path, config, network=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert dict(told) == {name: len(text.encode()) for name, text in unpacked(path).items()}
    with pytest.raises(FileExistsError):
        bundle.write(path, config, network=False)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle.os, "fsync", full)
    folder = tmp_path / "stick"
    folder.mkdir()
    with pytest.raises(OSError, match="No space left"):
        bundle.write(folder / "help.tar.gz", config, network=False)
    assert list(folder.iterdir()) == []


def test_where_it_cannot_be_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not after the minutes that a log on a slow card takes."""
    monkeypatch.setattr(bundle, "collect", lambda *_, **__: pytest.fail("collected"))
    with pytest.raises(OSError, match="No such file"):
        bundle.write(tmp_path / "none" / "help.tar.gz", tmp_path / "masthead.toml", network=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_it_belongs_to_who_used_sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has to copy it from the mast without being root; nobody else can read it."""
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setenv("SUDO_UID", "4000")
    monkeypatch.setenv("SUDO_GID", "4001")
    path = tmp_path / "help.tar.gz"
    bundle.write(path, tmp_path / "masthead.toml", network=False)
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (4000, 4001, 0o600)


def test_interrupted_it_leaves_nothing(tmp_path: Path) -> None:
    """Invariant 2, with Ctrl-C while a program of the system is waited for."""
    program = tmp_path / "journalctl"
    program.write_text(f'#!/bin/sh\ntouch "{tmp_path}/asked"\nexec sleep 60\n')
    program.chmod(0o755)
    config = tmp_path / "masthead.toml"
    config.write_text(f'[device]\nstate_directory = "{tmp_path / "state"}"\n[[sensor]]\nid = "top"\n')
    folder = tmp_path / "out"
    folder.mkdir()
    command = [sys.executable, "-m", "agent.cli", "bundle", "--config", str(config), "help.tar.gz"]
    command[1:3] = ["-c", f"import sys; sys.path[:0] = {sys.path!r}; from agent.cli import main; main()"]
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "asked").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err.strip()) == (130, "interrupted")
    assert list(folder.iterdir()) == []


def test_anyhow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Invariant 3: no systemd, no agent, no state, a wrong configuration: each is told in its place."""
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    config = tmp_path / "masthead.toml"
    config.write_text("[telemetri]\n")
    path = tmp_path / "help.tar.gz"
    bundle.write(path, config, network=False)
    members = unpacked(path)
    for name in (
        "configuration-resolved.toml",
        "status.json",
        "state.txt",
        "unit.txt",
        "log.txt",
        "kernel.txt",
    ):
        assert members[name].startswith("not to be had: "), name
    assert "did you mean 'telemetry'?" in members["check.jsonl"]
    assert members["configuration.toml"] == "[telemetri]\n"
    assert "python" in members["versions.txt"]


def test_what_the_running_agent_says_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its status, without the bodies of what was rejected: they are the owner's data."""
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    config = tmp_path / "masthead.toml"
    config.write_text(f'[device]\nstate_directory = "{tmp_path / "state"}"\n[[sensor]]\nid = "top"\n')
    daemon = Daemon(load(config))
    daemon.start()
    try:
        daemon.writer.put(Entry("reading", 0.0, {"windSpeed": 12.5}))
        (row,) = _taken(daemon)
        daemon.writer.reject([row], "not wanted")
        _wait(lambda: daemon.writer.status.rejected)
        members = {name: content.decode() for name, content in bundle.collect(config, network=False)}
    finally:
        daemon.shut_down()
    status = json.loads(members["status.json"])
    assert "not wanted" in members["status.json"]
    assert "body" not in status["outbox"]["lastRejected"][0]
    assert "outbox.db" in members["state.txt"]
    assert "in use by the running agent" in members["check.jsonl"]


def _taken(daemon: Daemon) -> list:  # type: ignore[type-arg]
    """The first reading that the writer offers."""
    found: list = []  # type: ignore[type-arg]

    def taken() -> bool:
        found.extend(row for row in daemon.writer.take(10) if row.entry.kind == "reading")
        return bool(found)

    _wait(taken)
    return found[:1]


def _wait(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
