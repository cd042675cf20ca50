"""The Debian package: what is in it, that it comes out the same each time, that Debian's Python runs it.

What apt makes of it on a bare machine: tests/vm/test_package.py.
"""

from __future__ import annotations

import configparser
import filecmp
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from agent import __version__
from tests.e2e.harness import Mast, running_hub, wait_for

from .packaging import ROOT, build, sources

HERE = ROOT / "deploy" / "debian"
# import names of what Depends asks for; with it Debian's Python has all that the package does not carry
FROM_DEBIAN = (
    "click",
    "colorzero",
    "deprecation",
    "requests",
    "requests_unixsocket",
    "socks",
    "systemd",
    "typing_extensions",
)


def _need(found: bool, what: str) -> None:
    if not found:
        assert os.environ.get("CI") != "true", f"{what} is missing"
        pytest.skip(f"no {what}")


def _output(*command: str | Path) -> str:
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=True, timeout=120
    ).stdout


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the package is made of, as nobody changes it meanwhile."""
    _need(shutil.which("dpkg-deb") is not None, "dpkg-deb")
    return sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def package(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package."""
    return build(tree, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def unpacked(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its files, in a folder."""
    folder = tmp_path_factory.mktemp("unpacked")
    _output("dpkg-deb", "-R", package, folder)
    return folder


def _field(package: Path, name: str) -> str:
    return _output("dpkg-deb", "-f", package, name).strip()


def test_it_is_named_after_the_version_and_for_every_architecture(package: Path) -> None:
    """`make deb` makes masthead_VERSION_all.deb."""
    assert package.name == f"masthead_{__version__}_all.deb"
    assert _field(package, "Version") == __version__
    assert _field(package, "Architecture") == "all"


def test_two_builds_have_the_same_bytes(tree: Path, package: Path, tmp_path: Path) -> None:
    """Nothing of the time, the place, the user's umask or the order of files is in it."""
    again = shutil.copytree(tree, tmp_path / "elsewhere")
    for path in again.rglob("*.py"):
        os.utime(path)
    before = os.umask(0o077)
    try:
        assert filecmp.cmp(package, build(again, tmp_path / "dist"), shallow=False)
    finally:
        os.umask(before)


def test_what_lintian_says(package: Path) -> None:
    """No errors, and no warnings."""
    _need(shutil.which("lintian") is not None, "lintian")
    said = subprocess.run(
        ["lintian", "--allow-root", "--fail-on", "error,warning", str(package)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (said.returncode, said.stdout) == (0, "")


def test_all_of_agent_and_hw_is_in_it_and_no_bytecode(unpacked: Path) -> None:
    """What pip would install: the modules, and the files that setup.cfg names."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    patterns = ["*.py", *parser["options.package_data"]["*"].split(", ")]
    wanted = {
        path.relative_to(ROOT)
        for package in ("agent", "hw")
        for pattern in patterns
        for path in (ROOT / package).rglob(pattern)
    }
    library = unpacked / "usr/lib/masthead"
    found = {
        p.relative_to(library) for name in ("agent", "hw") for p in (library / name).rglob("*") if p.is_file()
    }
    assert found == wanted
    assert not list(unpacked.rglob("__pycache__"))


def test_nothing_is_imposed_on_the_systems_python(unpacked: Path) -> None:
    """What is carried is where only masthead looks."""
    assert not list(unpacked.rglob("dist-packages")) + list(unpacked.rglob("site-packages"))
    assert {path.name for path in (unpacked / "usr/bin").iterdir()} == {"masthead"}


def test_nothing_in_it_is_compiled(unpacked: Path) -> None:
    """One package for every architecture."""
    files = [path for path in unpacked.rglob("*") if path.is_file()]
    assert [path for path in files if path.suffix == ".so" or path.read_bytes().startswith(b"\x7fELF")] == []


def test_the_unit_is_the_repositorys_with_the_packages_paths(unpacked: Path) -> None:
    """One unit for both ways of installing it: the programs are elsewhere, nothing else differs."""
    unit = (unpacked / "usr/lib/systemd/system/masthead.service").read_text()
    assert "ExecStart=/usr/bin/masthead run" in unit
    ours = (ROOT / "deploy" / "masthead.service").read_text().splitlines()
    differing = [(a, b) for a, b in zip(ours, unit.splitlines(), strict=True) if a != b]
    assert all("/opt/masthead" in a or a.startswith("#") for a, _ in differing)
    for program in re.findall(r"/usr/(?:bin|libexec)/masthead\S*", unit):
        assert (unpacked / program[1:]).stat().st_mode & 0o111, program


def test_the_configuration_is_a_conffile_and_what_it_is_compared_with_is_the_same(unpacked: Path) -> None:
    """dpkg keeps what somebody changed; the unit starts only where somebody did."""
    assert (unpacked / "DEBIAN/conffiles").read_text() == "/etc/masthead/masthead.toml\n"
    condition = (unpacked / "usr/lib/systemd/system/masthead.service.d/configured.conf").read_text()
    (one, other) = re.findall(r"cmp -s (\S+) (\S+)", condition)[0]
    assert (unpacked / one[1:]).read_bytes() == (unpacked / other[1:]).read_bytes()


def test_what_is_carried_and_what_is_asked_for_is_what_setup_cfg_wants(package: Path) -> None:
    """Each dependency is carried, or is Debian's; the SDK at the very version that was measured."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = [line for line in parser["options"]["install_requires"].splitlines() if line and line[0] != "#"]
    names = {re.split("[=>]", line)[0] for line in lines}
    carried = dict(re.findall(r"^([\w-]+)==(\S+) --hash", (HERE / "carried.txt").read_text(), re.M))
    depends = {word.split()[0] for word in _field(package, "Depends").split(", ")}
    assert all(name in carried or f"python3-{name}" in depends for name in names)
    assert f"azure-iot-device=={carried['azure-iot-device']}" in lines


def test_the_manual_page_has_every_command(unpacked: Path) -> None:
    """masthead(1) lists what `masthead --help` lists, and man can read it."""
    from agent.cli import _COMMANDS

    page = _output("gzip", "-dc", unpacked / "usr/share/man/man1/masthead.1.gz")
    assert re.findall(r"^\.TP\n\.B (\S+)$", page, re.M) == list(_COMMANDS)


@pytest.mark.parametrize("script", ["build", "postinst", "prerm", "postrm", "rtupdate"])
def test_the_scripts_are_sound(script: str) -> None:
    """shellcheck has nothing to say."""
    _need(shutil.which("shellcheck") is not None, "shellcheck")
    said = subprocess.run(["shellcheck", str(HERE / script)], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (0, "")


SYSTEMCTL = """#!/bin/sh
case "$*" in
"--quiet is-enabled masthead.service") exec test {enabled} = True ;;
"is-active masthead.service") echo {active}; exec test {active} = active ;;
esac
"""


def _configured(
    tmp_path: Path, *words: str, active: str, sample: bool = False, enabled: bool = True, systemd: bool = True
) -> str:
    """What postinst says on a machine like this, called so by dpkg."""
    system, programs = tmp_path / "system", tmp_path / "bin"
    ours, installed = (tmp_path / "masthead.toml", tmp_path / "installed.toml")
    text = (HERE / "postinst").read_text()
    for path, stand_in in (
        ("/run/systemd/system", system),
        ("/etc/masthead/masthead.toml", ours),
        ("/usr/share/masthead/masthead.toml", installed),
    ):
        assert path in text
        text = text.replace(path, str(stand_in))
    (tmp_path / "postinst").write_text(text)
    installed.write_text("as installed\n")
    ours.write_text("as installed\n" if sample else "another sensor\n")
    if systemd:
        system.mkdir()
    programs.mkdir()
    others = ("systemd-sysusers", "py3compile", "deb-systemd-helper", "deb-systemd-invoke", "udevadm")
    scripts = {**dict.fromkeys(others, "#!/bin/sh\n"), "systemctl": SYSTEMCTL}
    for name, script in scripts.items():
        (programs / name).write_text(script.format(enabled=enabled, active=active))
        (programs / name).chmod(0o755)
    done = subprocess.run(
        ["/bin/dash" if Path("/bin/dash").exists() else "/bin/sh", "-eu", str(tmp_path / "postinst"), *words],
        env={"PATH": f"{programs}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


NEW = "masthead is installed; next: sudo masthead setup\n"
SET_UP = "masthead is not running: sudo masthead setup\n"
START = "masthead is not running: sudo systemctl start masthead\n"
CALLS = [
    ("configure", "0.1.0"),
    ("abort-upgrade", "0.1.0"),
    ("abort-remove",),
    ("abort-remove", "in-favour", "other", "1"),
    ("abort-deconfigure", "in-favour", "other", "1", "removing", "third", "2"),
]


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_a_mast_that_stands_still_is_told_what_starts_it(tmp_path: Path, call: tuple[str, ...]) -> None:
    """Removed and installed again it is configured, and yet not running."""
    assert _configured(tmp_path, *call, active="inactive") == START


@pytest.mark.parametrize("active", ["active", "activating"])
@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_of_a_mast_that_runs_nothing_is_said(tmp_path: Path, call: tuple[str, ...], active: str) -> None:
    """As on an upgrade; nor of one that tries again by itself."""
    assert _configured(tmp_path, *call, active=active) == ""


@pytest.mark.parametrize(
    ("call", "machine", "said"),
    [
        (("configure", ""), {"active": "inactive", "sample": True}, NEW),
        (("configure", ""), {"active": "", "systemd": False, "sample": True}, NEW),
        (("configure", "0.1.0"), {"active": "", "systemd": False}, ""),
        (("configure", "0.1.0"), {"active": "inactive", "sample": True}, SET_UP),
        (("configure", "0.1.0"), {"active": "failed"}, START),
        (("configure", "0.1.0"), {"active": "inactive", "enabled": False}, ""),
        (("triggered", "x"), {"active": "inactive"}, ""),
    ],
    ids=["new", "new-image", "old-image", "sample", "failed", "disabled", "unasked"],
)
def test_what_comes_next_is_said_in_one_line(
    tmp_path: Path, call: tuple[str, ...], machine: dict[str, Any], said: str
) -> None:
    """Setup where nobody did it, with systemd or without; nothing to who has disabled the service."""
    assert _configured(tmp_path, *call, **machine) == said


@pytest.fixture(scope="module")
def masthead(unpacked: Path) -> Path:
    """Its /usr/bin/masthead, which looks into this folder instead of /usr/lib/masthead."""
    tried = f"import {', '.join(FROM_DEBIAN)}"
    done = subprocess.run(["/usr/bin/python3", "-I", "-c", tried], capture_output=True, check=False)
    _need(
        done.returncode == 0, "Debian's packages that the package asks for (deploy/debian/control, Depends)"
    )
    launcher = unpacked / "masthead"
    text = (unpacked / "usr/bin/masthead").read_text()
    launcher.write_text(text.replace('"/usr/lib/masthead"', repr(str(unpacked / "usr/lib/masthead"))))
    launcher.chmod(0o755)
    return launcher


def test_it_runs_on_debians_python_alone(masthead: Path, tmp_path: Path) -> None:
    """--version and check, with Debian's packages, its own, and nothing of $PYTHONPATH or the folder."""
    spoilt = tmp_path / "spoilt"
    spoilt.mkdir()
    (spoilt / "click.py").write_text("raise SystemExit('PYTHONPATH was heard')\n")
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(spoilt), "HOME": str(tmp_path)}

    def said(*words: str) -> str:
        return subprocess.run(
            [str(masthead), *words],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=spoilt,
        ).stdout

    assert said("--version").split()[-1] == __version__
    config = tmp_path / "masthead.toml"
    config.write_text('[[sensor]]\nid = "top"\ndriver = "simulated"\n')
    findings = said("check", "--config", str(config))
    assert re.search(r"^ok +sensor top", findings, re.M), findings


def test_every_command_loads_on_debians_python(masthead: Path) -> None:
    """--help of each, with Debian 12's click, requests and the rest: the operator's commands too."""
    program = masthead.read_text().partition("from agent.cli")[0] + (
        "import click\n"
        "from agent.cli import cli\n"
        "context = click.Context(cli)\n"
        "for name in cli.list_commands(context):\n"
        "    try:\n"
        "        cli.get_command(context, name).get_help(context)\n"
        "    except Exception as error:\n"
        "        print(f'{name}: {error!r}')\n"
    )
    assert _output("/usr/bin/python3", "-I", "-c", program) == ""


def test_what_is_carried_loads_from_the_package(masthead: Path, unpacked: Path) -> None:
    """The SDK, its MQTT client, gpiozero, janus and smbus2 are ours, also where Debian has its own."""
    program = masthead.read_text().partition("from agent.cli")[0] + (
        "import azure.iot.device, gpiozero, janus, paho.mqtt.client, smbus2\n"
        "print(azure.iot.device.__file__, gpiozero.__file__, janus.__file__)\n"
        "print(paho.mqtt.client.__file__, smbus2.__file__)\n"
    )
    loaded = _output("/usr/bin/python3", "-I", "-c", program).split()
    assert len(loaded) == 5
    assert [path for path in loaded if not path.startswith(str(unpacked / "usr/lib/masthead"))] == []


def test_its_readings_reach_a_hub(masthead: Path, tmp_path: Path) -> None:
    """Over TLS, by the SDK that is carried, on Debian's Python with Debian's requests and urllib3."""
    with running_hub(tmp_path) as hub:
        mast = Mast(tmp_path, hub.connection_string, hub.ready["ca_file"])
        with mast.run(program=(str(masthead),)) as agent:
            wait_for(mast.settled, "everything confirmed")
            assert hub.object_ids()
            assert agent.end() == 0, agent.err


def test_the_operators_tools_say_in_a_line_how_to_get_them(masthead: Path, tmp_path: Path) -> None:
    """They are not for a mast; what they need is not in the package."""
    hub = "HostName=localhost;SharedAccessKeyName=iothubowner;SharedAccessKey=c2VjcmV0"
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "IOTHUB_CONNECTION_STRING": hub}
    for words in (["monitor", "--count", "1"], ["send", "mast-1", "x"], ["hub"], ["demo"]):
        done = subprocess.run(
            [str(masthead), *words], env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert " is missing: " in done.stderr
