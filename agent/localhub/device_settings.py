"""What the back end decides of a device, and what IoT Hub takes of that.

Rules: https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-identity-registry
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from .records import InvalidRequest

MAX_REASON = 128

_THUMBPRINT = re.compile(r"[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64}")


@dataclass(frozen=True, slots=True)
class DeviceSettings:
    """The changeable part of an identity; what is wrong with it raises InvalidRequest.

    ``primary_key``, ``secondary_key``: base64 of 16 to 64 bytes; None: a new device gets random ones, one
    that is there keeps its own. With a thumbprint (SHA-1 or SHA-256 of a certificate in hexadecimal, kept in
    capitals) the device is known by that, and has no use for keys.
    """

    primary_key: str | None = None
    secondary_key: str | None = None
    enabled: bool = True
    status_reason: str | None = None
    primary_thumbprint: str | None = None
    secondary_thumbprint: str | None = None

    def __post_init__(self) -> None:
        for name, key in (("primary key", self.primary_key), ("secondary key", self.secondary_key)):
            if key is not None and not _is_key(key):
                raise InvalidRequest(f"the {name} is not base64 of 16 to 64 bytes")
        for field in ("primary_thumbprint", "secondary_thumbprint"):
            thumbprint = getattr(self, field)
            if thumbprint is None:
                continue
            if not _THUMBPRINT.fullmatch(thumbprint):
                name = field.replace("_", " ")
                raise InvalidRequest(
                    f"{name} {thumbprint[:70]!r}: expected 40 or 64 hexadecimal digits (SHA-1 or SHA-256)"
                )
            object.__setattr__(self, field, thumbprint.upper())
        if self.status_reason is not None and len(self.status_reason) > MAX_REASON:
            raise InvalidRequest(
                f"a status reason of {len(self.status_reason)} characters, at most {MAX_REASON}"
            )


def _is_key(key: str) -> bool:
    try:
        return 16 <= len(base64.b64decode(key, validate=True)) <= 64
    except (binascii.Error, ValueError):  # ValueError: not ASCII
        return False
