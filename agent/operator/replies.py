"""What the hub's REST interface answers when it refuses, as one line that says what to do.

Codes: https://learn.microsoft.com/azure/iot-hub/troubleshoot-error-codes
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from .access import Access
from .errors import HubRejected, HubUnavailable, NoDevice, OperatorError
from .explaining import lacking, one_line

_CLOCK_S = 300.0  # a signature is good for an hour, and hubs forgive minutes


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is none of 2xx. ``headers``: without regard to case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def explain_reply(refusal: Refusal, access: Access, right: str, device_id: str | None) -> OperatorError:
    """``right``: what the call needs; ``device_id``: whom it was about."""
    host, (code, said) = access.host, _error_of(refusal)
    words = f"{code} {said}".lower()
    again = False
    match refusal.status:
        case 401 if skew := _clock_error(refusal.headers):
            text = (
                f"{host} refused the signature, which carries the time, and this machine's clock is "
                f"{skew} the hub's: set it (timedatectl)"
            )
        case 403 if "quota" in words:
            again, text = True, f"{host}: the day's quota is used up, until midnight UTC"
        case 401 | 403:
            text = lacking(access, right)
        case 404 if device_id is not None and (
            "notonline" in words or "404103" in words or "not online" in words
        ):
            again, text = True, f"device {device_id!r} is not connected, or takes no methods"
        case 404 if device_id is not None:
            return NoDevice(f"{host} has no device {device_id!r} (masthead device list)")
        case 409:
            text = f"device {device_id!r} exists already (masthead device show {device_id})"
        case 412:
            text = f"{device_id!r} was changed meanwhile by somebody else: try again"
        case 429:
            again, text = True, f"{host} is asked too often; {_until(refusal.headers)}"
        case 504:
            again, text = True, f"device {device_id!r} has not answered in time: it may have done it"
        case status if status >= 500:
            again, text = True, f"{host} is not well (HTTP {status}): try again later"
        case status:
            text = f"{host} takes no such request (HTTP {status})"
    return (HubUnavailable if again else HubRejected)(f"{text}: {said}" if said else text)


def _error_of(refusal: Refusal) -> tuple[str, str]:
    """Code and text, as IoT Hub spells them: ``{"Message": "ErrorCode:DeviceNotFound;no device"}``, or with
    an object as that text (``{"errorCode": 404103, "message": …}``)."""
    code, said = refusal.headers.get("iothub-errorcode", ""), ""
    content = _object(refusal.body)
    if content is not None:
        said = str(content.get("Message") or content.get("message") or "")
        if (inner := _object(said)) is not None:
            code = f"{code} {inner.get('errorCode', '')}"
            said = str(inner.get("message", ""))
    if match := re.match(r"ErrorCode:([^;]*);?", said):
        code, said = f"{code} {match[1]}", said[match.end() :]
    return code, one_line(said)


def _object(text: str | bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _clock_error(headers: Mapping[str, str]) -> str | None:
    """How far this machine's clock is from the hub's, where that may be why."""
    theirs = _date(headers.get("Date", ""))
    if theirs is None:
        return None
    ahead_s = (datetime.now(UTC) - theirs).total_seconds()
    if abs(ahead_s) < _CLOCK_S:
        return None
    return f"{abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'}"


def _until(headers: Mapping[str, str]) -> str:
    """``Retry-After``: seconds, or a date (RFC 9110, 10.2.3)."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdecimal():
        return f"try again in {int(text)} s"
    date = _date(text)
    return "try again later" if date is None else f"try again at {date.astimezone():%H:%M:%S}"


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
