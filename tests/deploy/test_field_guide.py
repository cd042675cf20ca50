"""The field guide, held against the agent: what it has people type, configure and look at exists."""

from __future__ import annotations

import re
import shlex
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from agent import config
from agent.backoff import Pace
from agent.cli import cli
from agent.cloud.azure import HubOptions
from agent.config_tables import ActuatorLimits, CommandsConfig
from agent.forecast import forecast
from agent.uplink import LinkTimes
from agent.wind import quality
from agent.wind.statistics import CALM_MPS

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "deploy" / "README.md"
PICTURES = ROOT / "deploy" / "pictures"
TEXT = GUIDE.read_text(encoding="utf-8")
SENSOR = '\n[[sensor]]\nid = "top"\ndriver = "simulated"\n'
SVG = "{http://www.w3.org/2000/svg}"

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_SAID = re.compile(r'(?:_announce|_event|_?tell)\(\s*"([a-z-]+)"|"event": "([a-z-]+)"')
_SAID_OF_A_PART = re.compile(r'f"\{what\}-([a-z]+)"')  # what: the sensor, its vane
_FLAG = re.compile(r"^\| ``([a-z-]+)``", re.MULTILINE)


def blocks(language: str) -> list[str]:
    """The guide's fenced blocks of one language."""
    return [body for found, body in _FENCED.findall(TEXT) if found == language]


def prose() -> str:
    """The guide without its fenced blocks."""
    return _FENCED.sub("", TEXT)


def anchors(text: str) -> set[str]:
    """What GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", _FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def first_column(heading: str) -> set[str]:
    """The words in code of the first column of the table below ``heading``."""
    table = TEXT.partition(f"| {heading} |")[2].partition("\n\n")[0]
    cells = (line.split("|")[1] for line in table.splitlines()[2:])
    return {word for cell in cells for word in re.findall(r"`([^`]+)`", cell)}


def typed() -> Iterator[str]:
    """Every call of masthead in the guide, without the program's name."""
    lines = [line for body in blocks("sh") for line in body.splitlines()]
    for line in [*lines, *re.findall(r"`([^`\n]+)`", prose())]:
        if "masthead" not in line:
            continue
        for part in line.partition("#")[0].split("&&"):
            words = shlex.split(part)
            words = words[1:] if words[:1] == ["sudo"] else words
            if words[:1] == ["masthead"] and len(words) > 1:
                yield shlex.join(words[1:])


@pytest.mark.parametrize("stanza", blocks("toml"))
def test_each_stanza_is_a_configuration(stanza: str) -> None:
    """As it stands, but for a sensor where it has none."""
    text = stanza if "[[sensor]]" in stanza else stanza + SENSOR
    assert config.loads(text).sensors


@pytest.mark.parametrize("call", dict.fromkeys(typed()))
def test_each_command_exists(call: str) -> None:
    """With the options that it is given, and with help."""
    command: click.Command = cli
    path, rest = [], shlex.split(call)
    while isinstance(command, click.Group):
        path.append(rest.pop(0))
        found = command.get_command(click.Context(command), path[-1])
        assert found is not None
        command = found
    known = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in rest if word.startswith("--")} <= known
    assert CliRunner().invoke(cli, [*path, "--help"]).exit_code == 0


def test_it_has_commands_to_type() -> None:
    """Those of the first day are among them."""
    assert {"setup", "check", "sample", "status", "actuate", "bundle"} <= {
        call.split()[0] for call in typed()
    }


def test_each_link_leads_somewhere() -> None:
    """To a file of the repository, or to a heading; so do those from the README to here."""
    for _, _, target in _LINK.findall(TEXT):
        file, _, anchor = target.partition("#")
        path = (GUIDE.parent / file).resolve() if file else GUIDE
        assert path.is_file(), target
        assert not anchor or anchor in anchors(path.read_text(encoding="utf-8")), target
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\(deploy/README\.md#([^)]+)\)", readme)) <= anchors(TEXT)


def test_each_drawing_is_used_told_in_words_and_seen_in_the_dark() -> None:
    """An SVG has an alternative text in the guide, a title, a description, and colours for both schemes."""
    used = {Path(target).name: alt for image, alt, target in _LINK.findall(TEXT) if image}
    drawings = {path.name: path for path in PICTURES.glob("*.svg")}
    assert used.keys() == drawings.keys()
    for name, path in drawings.items():
        root = ElementTree.parse(path).getroot()
        assert used[name]
        assert root.findtext(f"{SVG}title")
        assert root.findtext(f"{SVG}desc")
        assert "prefers-color-scheme: dark" in (root.findtext(f"{SVG}style") or "")


def test_the_drawings_keep_to_themselves() -> None:
    """No script, nothing from elsewhere, every symbol defined."""
    for path in PICTURES.glob("*.svg"):
        root = ElementTree.parse(path).getroot()
        assert not root.findall(f".//{SVG}script")
        defined = {"#" + element.get("id", "") for element in root.iter()}
        assert {use.get("href") for use in root.iter(f"{SVG}use")} <= defined


def test_it_has_every_event() -> None:
    """Those that the agent's sources name, and no other."""
    sources = [
        path.read_text(encoding="utf-8")
        for path in (ROOT / "agent").rglob("*.py")
        if not {"cli", "localhub", "operator"} & set(path.parts)
    ]
    said = {a or b for source in sources for a, b in _SAID.findall(source)}
    ends = {end for source in sources for end in _SAID_OF_A_PART.findall(source)}
    said |= {f"{what}-{end}" for what in ("sensor", "vane") for end in ends}
    assert first_column("Event") == said


def test_it_has_every_flag() -> None:
    """Those of a reading, and no other."""
    assert quality.__doc__ is not None
    assert first_column("Flag of a reading") == set(_FLAG.findall(quality.__doc__))


def test_its_figures_are_the_agents() -> None:
    """Times and limits that the guide tells are those in force."""
    times, limits = LinkTimes(), ActuatorLimits()
    said = re.sub(r"\s+", " ", TEXT)
    for text in (
        f"pinged every {HubOptions().keep_alive_s} s",
        f"after {Pace().base_s:g} s, then ever more slowly up to {Pace().cap_s / 60:g} minutes apart",
        f"every {0.75 * times.token_life_s / 60:.0f} to {0.9 * times.token_life_s / 60:.0f} minutes",
        f"`lost_link_s` ({limits.lost_link_s:.0f})",
        f"for {CommandsConfig().untrusted_clock_max_age_s:g} s after it came",
        f"{int(forecast(config.loads(SENSOR)).outage_days)} days of one sensor at a report a minute",
        f"below {CALM_MPS:g} m/s in the mean",
        f"or {quality.HIGHEST_MPS:g} m/s",
        f"more than {quality.STEP_MPS:g} m/s within a second",
    ):
        assert text in said
