"""A sensor and a CA put into the text of a configuration; all that a person wrote stays. Pure.

Only what is still as the sample has it is changed, and every result is read back before it is believed.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

from .places import SetupError
from .sensor import Sensor

_AUTO = re.compile(r"""^driver[ \t]*=[ \t]*["']auto["']([ \t]*(?:#.*)?)$""", re.MULTILINE)
_CA = re.compile(r"""^#[ \t]*ca_file[ \t]*=.*$""", re.MULTILINE)
_DEVICE = re.compile(r"""^\[device\][ \t]*(?:#.*)?$""", re.MULTILINE)


def sensors(text: str) -> list[dict[str, Any]]:
    """The sensors' tables. Raises SetupError."""
    found = _document(text).get("sensor", [])
    return [table for table in found if isinstance(table, dict)] if isinstance(found, list) else []


def is_sample(text: str) -> bool:
    """Whether nobody has said yet which sensor there is. Raises SetupError."""
    return [table.get("driver", "auto") for table in sensors(text)] == ["auto"]


def with_sensor(text: str, sensor: Sensor, where: str) -> str:
    """``text`` with ``sensor`` in the place of the sample's; as it is where that stands there already.

    Raises SetupError where a person has put in others. ``where`` names the file.
    """
    tables = sensors(text)
    wanted = {"driver": sensor.driver, **sensor.settings}
    if len(tables) == 1 and {key: tables[0].get(key) for key in wanted} == wanted:
        return text
    if not is_sample(text):
        named = ", ".join(f"{t.get('id')!r} ({t.get('driver')})" for t in tables) or "no sensor at all"
        raise SetupError(
            f"{where} is no longer as it was installed, it has {named}: change it there "
            f"(`masthead sensors {sensor.driver}` prints the lines), then run setup without a sensor"
        )
    if len(_AUTO.findall(text)) != 1:
        raise SetupError(
            f'{where}: there is no single line driver = "auto" to replace: put the sensor in there'
        )
    driver, *settings = sensor.lines
    return _AUTO.sub(lambda found: "\n".join([driver + found[1], *settings]), text)


def with_ca(text: str, ca_file: str, where: str) -> str:
    """``text`` with ``device.ca_file``. Raises SetupError where another one is set."""
    device = _document(text).get("device", {})
    if device.get("ca_file") == ca_file:
        return text
    if "ca_file" in device:
        raise SetupError(f"{where}: device.ca_file is {device['ca_file']!r} already: change it there")
    line = f'ca_file = "{ca_file}"'
    for place in (_CA, _DEVICE):
        if len(place.findall(text)) == 1:
            edited = place.sub(lambda found: f"{found[0]}\n{line}", text)
            if _document(edited).get("device", {}).get("ca_file") == ca_file:
                return edited
    if "device" in _document(text):
        raise SetupError(f"{where}: put {line} below its [device]")
    return f"{text.rstrip()}\n\n[device]\n{line}\n"


def _document(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise SetupError(f"not valid TOML: {error}: mend it first (`masthead check`)") from error
