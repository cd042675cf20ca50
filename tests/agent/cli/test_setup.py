"""`masthead setup` in a folder for the whole system, with programs of our own for systemd's."""

from __future__ import annotations

import io
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from agent.cli import setup
from agent.localhub.ca import server_files
from agent.localhub.hub import LocalHub
from agent.localhub.thread import HubThread
from agent.setup import service
from agent.setup.places import Places
from tests.e2e.harness import MASTHEAD

from .conftest import Masthead

SECRET = "HostName=127.0.0.1;DeviceId=mast-1;SharedAccessKey=c2VjcmV0"
SAMPLE = """\
# somebody's remark
[device]
state_directory = "{state}"

[telemetry]
report_interval_s = 1

[[sensor]]
id = "top"
# which one?
driver = "auto"
"""
SYSTEMCTL = """#!/bin/sh
echo "$*" >>{notes}
case "$1" in
restart)
  [ -e {root}/broken ] && {{ echo "Job for masthead.service failed." >&2; exit 1; }}
  if [ -e {root}/pid ]; then
    kill $(cat {root}/pid)
    while kill -0 $(cat {root}/pid) 2>/dev/null; do sleep 0.1; done
  fi
  mkdir -p {root}/given
  [ -e {root}/etc/credstore/masthead.connection-string ] &&
    install -m 0400 {root}/etc/credstore/masthead.connection-string {root}/given/connection-string
  CREDENTIALS_DIRECTORY={root}/given nohup {masthead} run --config {config} >{root}/log 2>&1 </dev/null &
  echo $! >{root}/pid ;;
is-active) [ -e {root}/skipped ] && {{ echo inactive; exit 3; }}; echo active ;;
esac
"""


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """A system with the sample installed, a systemctl that starts the agent, and no systemd-creds."""
    places = Places(tmp_path / "root")
    places.config.parent.mkdir(parents=True)
    places.config.write_text(SAMPLE.format(state=tmp_path / "state"))
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(
        SYSTEMCTL.format(
            notes=tmp_path / "notes",
            root=places.root,
            config=places.config,
            masthead=shlex.quote(MASTHEAD),
        )
    )
    program.chmod(0o755)
    creds = program.with_name("systemd-creds")
    creds.write_text("#!/bin/sh\nexit 1\n")
    creds.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setattr(setup, "PLACES", places)
    return places


@pytest.fixture
def started(places: Places) -> Iterator[None]:
    """What systemctl started is ended."""
    yield
    pid = places.root / "pid"
    if pid.exists():
        subprocess.run(["/bin/sh", "-c", f"kill {pid.read_text()}"], check=False)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    thread = HubThread(LocalHub(tmp_path / "hub"))
    thread.start()
    thread.hub.ensure_device("mast-1")
    yield thread.hub
    thread.stop()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A connection string of a hub that is nowhere."""
    path = tmp_path / "secret"
    path.write_text(SECRET)
    return path


def tree(places: Places) -> dict[str, str]:
    """Every file below the root."""
    return {str(p.relative_to(places.root)): p.read_text() for p in places.root.rglob("*") if p.is_file()}


@pytest.mark.usefixtures("started")
def test_to_the_first_reading_in_the_hub(
    masthead: Masthead, places: Places, hub: LocalHub, tmp_path: Path
) -> None:
    """Sensor, CA and connection string are in place, the service runs, and the hub has a reading; done a
    second time it changes nothing."""
    secret = tmp_path / "secret"
    secret.write_text(hub.device_connection_string("mast-1"))
    before = places.config.read_text()
    options = ["--sensor", "simulated", "--connection-string-file", str(secret)]
    done = masthead("setup", *options, "--ca-file", str(hub.ca_file), "--yes")
    assert done.code == 0, done.err
    assert "confirmed by the hub: top " in done.out
    key = hub.device_connection_string("mast-1").rpartition("SharedAccessKey=")[2]
    assert key not in done.out + done.err
    written = places.config.read_text()
    assert 'driver = "simulated"' in written
    assert f'ca_file = "{places.config.parent}/hub-ca.pem"' in written
    assert "# somebody's remark" in written
    assert "# which one?" in written
    assert (places.config.parent / "masthead.toml.before-setup").read_text() == before
    assert places.plain.stat().st_mode & 0o777 == 0o600
    notes = (tmp_path / "notes").read_text()
    assert notes.splitlines()[:3] == [
        "daemon-reload",
        "enable --quiet masthead.service",
        "restart masthead.service",
    ]
    assert key not in notes
    files = {name: text for name, text in tree(places).items() if name.startswith("etc")}
    again = masthead("setup", "--yes")
    assert again.code == 0, again.err
    assert "stays as it is: top (simulated)" in again.out
    assert "stored already" in again.out
    assert {name: text for name, text in tree(places).items() if name.startswith("etc")} == files


def test_a_connection_string_comes_by_standard_input(
    masthead: Masthead, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what hinders the service is said."""
    (places.root / "broken").touch()
    monkeypatch.setattr(sys, "stdin", io.StringIO(SECRET + "\n"))
    done = masthead("setup", "--sensor", "simulated", "--connection-string-file", "-")
    assert done.code == 1
    assert "systemctl restart masthead.service failed: Job for masthead.service failed." in done.err
    assert places.plain.read_text() == f"{SECRET}\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--yes"], "no sensor: give --sensor NAME"),
        (["--yes", "--sensor", "davis-6401"], "did you mean 'davis-6410'"),
        (["--yes", "--sensor", "davis-6410"], "gpio-pulse needs pin"),
        (["--yes", "--pin", "17"], "settings without a sensor"),
        (["--sensor", "davis-6410", "--pin", "17", "--set", "pull=sideways"], "pull: expected"),
        (["--sensor", "davis-6410", "--pin", "17"], "no connection string: give --connection-string-file"),
        (["--sensor", "simulated", "--set", "seed"], "expected KEY=VALUE, got 'seed'"),
        (["--sensor", "simulated", "--ca-file", "{secret}"], "holds no certificate"),
        (["--sensor", "simulated", "--connection-string-file", "{config}"], "masthead.toml: "),
        (["--config", "/nowhere/masthead.toml", "--yes"], "cannot be read (No such file or directory)"),
    ],
)
def test_what_is_wrong_is_said_before_anything_changes(
    masthead: Masthead, places: Places, secret: Path, options: list[str], said: str
) -> None:
    """In one line, without the secret, and every file is as it was."""
    before = tree(places)
    filled = [option.format(secret=secret, config=places.config) for option in options]
    done = masthead("setup", *filled)
    assert done.code in (1, 2)
    assert said in done.err
    assert "c2VjcmV0" not in done.out + done.err
    assert tree(places) == before


def test_without_the_right_to_write_nothing_is_asked(
    masthead: Masthead, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Least of all a secret that could not be kept."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    done = masthead("setup")
    assert done.code == 1
    assert done.err == f"Error: {places.config.parent} cannot be written by this user: sudo masthead setup\n"


def test_a_persons_own_sensor_stays(masthead: Masthead, places: Places, secret: Path) -> None:
    """It is refused with words on where to change it."""
    text = places.config.read_text().replace("auto", "simulated")
    places.config.write_text(text)
    done = masthead(
        "setup", "--sensor", "davis-6410", "--pin", "17", "--connection-string-file", str(secret), "--yes"
    )
    assert done.code == 1
    assert "no longer as it was installed, it has 'top' (simulated)" in done.err
    assert places.config.read_text() == text


def test_a_byte_order_mark_is_no_part_of_it(masthead: Masthead, places: Places, secret: Path) -> None:
    """Some editors begin a file with one: the configuration, and the connection string."""
    (places.root / "broken").touch()
    places.config.write_text("\ufeff" + places.config.read_text())
    secret.write_text(f'\ufeff"{SECRET}"\n')
    options = ["--sensor", "davis-6410", "--pin", "17", "--connection-string-file", str(secret)]
    done = masthead("setup", *options, "--yes")
    assert "systemctl restart masthead.service failed" in done.err  # all before that is done
    assert 'model = "davis-6410"\npin = 17\n' in places.config.read_text()
    assert places.plain.read_text() == f"{SECRET}\n"


@pytest.mark.parametrize("around", ['"{}";', "'{};'\r\n", '\ufeff "{}"; \n', "{};"])
def test_what_a_script_puts_round_a_connection_string_is_taken_off(
    masthead: Masthead, places: Places, secret: Path, around: str
) -> None:
    """Quotes, blanks and semicolons, in any order."""
    (places.root / "broken").touch()
    secret.write_text(around.format(SECRET), newline="")
    masthead("setup", "--sensor", "simulated", "--connection-string-file", str(secret), "--yes")
    assert places.plain.read_text() == f"{SECRET}\n"


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Somebody at a terminal, who types these lines."""

    def types(lines: str) -> None:
        terminal = io.StringIO(lines)
        terminal.isatty = lambda: True  # type: ignore[method-assign]
        monkeypatch.setattr(sys, "stdin", terminal)
        typed = iter(lines.splitlines())

        def answer(*_: object) -> str:
            try:
                return next(typed)
            except StopIteration:
                raise KeyboardInterrupt from None

        monkeypatch.setattr("click.termui.visible_prompt_func", answer)
        monkeypatch.setattr("click.termui.hidden_prompt_func", answer)

    return types


def test_a_person_is_asked_for_what_is_missing(
    masthead: Masthead, places: Places, person: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sensor, its pin, and the connection string, which is not shown."""
    monkeypatch.setattr(setup, "_check", lambda *_: None)
    (places.root / "skipped").touch()
    person(f"davis-6410\n22\n{SECRET}\ny\n")
    done = masthead("setup")
    assert done.code == 1
    assert "the service is inactive" in done.err
    assert "device mast-1 at 127.0.0.1" in done.out
    assert "c2VjcmV0" not in done.out + done.err
    assert 'driver = "gpio-pulse"\nmodel = "davis-6410"\npin = 22\n' in places.config.read_text()
    os.kill(int((places.root / "pid").read_text()), signal.SIGTERM)


def test_a_wrong_answer_is_asked_again(
    masthead: Masthead, places: Places, person: Callable[[str], None]
) -> None:
    """With the reason, and nobody begins anew; a lone key is not shown, and quotes are not part of it."""
    before = tree(places)
    key = "bTh2NnB5OURreUpDUHFUbWVMaWpFMnlvUjc9c01FZlA="
    person(f'davis-6401\ndavis-6410\nseventeen\n22\n{key}\n"{SECRET}"\nn\n')
    done = masthead("setup")
    assert done.code == 1
    assert "did you mean 'davis-6410'" in done.err
    assert "pin: expected a whole number" in done.err
    assert "Error: what was typed: " in done.err
    assert key[:-1] not in done.out + done.err
    assert "device mast-1 at 127.0.0.1" in done.out
    assert done.err.endswith("Error: nothing was changed\n")
    assert tree(places) == before


def test_a_stored_connection_string_may_be_changed(
    masthead: Masthead, places: Places, person: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever mistyped it is asked for it when setup is run again."""
    monkeypatch.setattr(setup, "_check", lambda *_: None)
    (places.root / "broken").touch()
    places.config.write_text(places.config.read_text().replace("auto", "simulated"))
    places.plain.parent.mkdir(parents=True)
    places.plain.write_text("HostName=h;DeviceId=d;SharedAccessKey=b2xk\n")
    person("y\nn\n")
    assert "device d" not in masthead("setup").out
    assert "b2xk" in places.plain.read_text()
    person(f"n\n{SECRET}\ny\n")
    masthead("setup")
    assert places.plain.read_text() == f"{SECRET}\n"


def test_standard_input_at_a_terminal_is_not_shown(
    masthead: Masthead, places: Places, person: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked for as a password is: what is read as a file is on the screen as it is pasted."""
    asked: list[str] = []
    (places.root / "broken").touch()
    person("")
    monkeypatch.setattr("click.termui.hidden_prompt_func", lambda text: asked.append(text) or SECRET)
    monkeypatch.setattr(sys.stdin, "read", lambda *_: pytest.fail("read with echo"))
    masthead("setup", "--sensor", "simulated", "--connection-string-file", "-", "--yes")
    assert len(asked) == 1
    assert places.plain.read_text() == f"{SECRET}\n"


def test_of_a_ca_file_only_certificates_are_published(
    masthead: Masthead, places: Places, secret: Path, tmp_path: Path
) -> None:
    """The copy is for everybody to read: a private key in the same file is not in it."""
    (places.root / "broken").touch()
    both = tmp_path / "both.pem"
    key = "-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----\n"
    both.write_text(key + Path(server_files(tmp_path, IPv4Address("127.0.0.1")).ca).read_text())
    options = ["--sensor", "simulated", "--connection-string-file", str(secret)]
    masthead("setup", *options, "--ca-file", str(both), "--yes")
    published = (places.config.parent / "hub-ca.pem").read_text()
    assert "PRIVATE" not in published
    assert "BEGIN CERTIFICATE" in published


def test_a_read_only_system_is_said(
    masthead: Masthead, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To root too, whom no sudo helps."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(os, "statvfs", lambda _: type("Mounted", (), {"f_flag": os.ST_RDONLY}))
    done = masthead("setup")
    assert done.err.startswith(f"Error: {places.config.parent} is on a read-only file system: ")
    assert "remount,rw" in done.err


@pytest.mark.parametrize(
    "answers", ["", "davis-6410\n", f"davis-6410\n17\n{SECRET}\n", f"simulated\n{SECRET}\nn\n"]
)
def test_who_leaves_before_the_end_has_changed_nothing(
    masthead: Masthead, places: Places, person: Callable[[str], None], answers: str
) -> None:
    """By Ctrl-C at any question, or by a no."""
    before = tree(places)
    person(answers)
    done = masthead("setup")
    assert done.code in (1, 130)
    assert tree(places) == before


def test_what_is_missing_for_a_reading_is_said(
    masthead: Masthead, places: Places, secret: Path, started: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only that there is none: the link's own words."""
    monkeypatch.setattr(service, "_SPARE_S", 15.0)
    done = masthead("setup", "--sensor", "simulated", "--connection-string-file", str(secret), "--yes")
    assert done.code == 1
    assert "no reading is confirmed yet: hub link" in done.err
    assert "the service goes on trying: masthead status" in done.err
    assert "run setup again" in done.err
    assert "hub link" in done.out.partition("waiting for the first reading")[2]  # at once, not at the end
