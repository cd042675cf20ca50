"""One line that says what to do, from whatever went wrong."""

from __future__ import annotations

import errno
import json
import socket
import ssl
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.client import BadStatusLine

import pytest

from agent.operator.access import Access
from agent.operator.errors import HubRejected, HubUnavailable, NoDevice, OperatorError
from agent.operator.explaining import explain, explain_condition
from agent.operator.replies import Refusal, explain_reply

ACCESS = Access("hub.example", "service", "AAAA")


def certificate_error(code: int, message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, message
    return error


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (socket.gaierror(-2, "x"), HubUnavailable, "the name hub.example cannot be resolved"),
        (ConnectionRefusedError(111, "x"), HubUnavailable, "nobody listens at hub.example:5671"),
        (TimeoutError(), HubUnavailable, "hub.example:5671 does not answer"),
        (ConnectionResetError(104, "x"), HubUnavailable, "ended the connection"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), HubUnavailable, "no way to hub.example"),
        (OSError(errno.EPERM, "Not permitted"), HubUnavailable, "cannot be reached: Not permitted"),
        (ssl.SSLError(1, "wrong version number"), HubUnavailable, "does not speak TLS as expected"),
        (certificate_error(20, "unable to get issuer"), HubRejected, "private CA set MASTHEAD_CA_FILE"),
        (certificate_error(10, "expired"), HubRejected, "no longer valid: check this machine's clock"),
        (certificate_error(9, "early"), HubRejected, "not yet valid: check this machine's clock"),
        (certificate_error(62, "Hostname mismatch"), HubRejected, "is HostName=hub.example right?"),
        (
            BadStatusLine("AMQP"),
            HubUnavailable,
            "no HTTPS answers at hub.example:5671: is ",
        ),
        (RuntimeError("odd"), HubUnavailable, "hub.example:5671 failed: RuntimeError: odd"),
    ],
)
def test_what_the_network_does_is_found_in_the_chain(
    error: Exception, kind: type[OperatorError], words: str
) -> None:
    """Itself, as a cause, as a context, or where a library keeps it."""
    caused, kept = ValueError("outer"), ValueError("outer")
    caused.__cause__, kept.__context__ = error, error
    found = [explain(e, ACCESS, 5671) for e in (error, caused, kept, ValueError(error))]
    if not isinstance(error, RuntimeError):
        assert {str(e) for e in found} == {str(found[0])}
    assert type(found[0]) is kind
    assert words in str(found[0])


def test_a_private_ca_that_does_not_fit_is_named() -> None:
    """With its file."""
    access = Access("hub.example", "service", "AAAA", "/etc/ca.pem")
    text = str(explain(certificate_error(20, "unable to get issuer"), access, 443))
    assert "its CA is not the one in MASTHEAD_CA_FILE=/etc/ca.pem" in text


@pytest.mark.parametrize(
    ("condition", "device", "kind", "words"),
    [
        ("amqp:not-found", "mast-7", NoDevice, "no device 'mast-7' (masthead device list)"),
        ("amqp:not-found", None, HubRejected, "no such address, partition or consumer group"),
        ("amqp:unauthorized-access", None, HubRejected, "needs the right ServiceConnect (service or iothub"),
        ("amqp:resource-limit-exceeded", "mast-7", HubUnavailable, "too many messages wait for 'mast-7'"),
        ("amqp:link:message-size-exceeded", "mast-7", HubRejected, "too large"),
        ("amqp:link:stolen", None, HubRejected, "take another --consumer-group"),
        ("com.microsoft:server-busy", None, HubUnavailable, "is busy"),
        ("amqp:invalid-field", "mast-7", HubRejected, "takes no such request"),
        ("amqp:connection:forced", None, HubUnavailable, "ended it (amqp:connection:forced)"),
    ],
)
def test_what_amqp_says(condition: str, device: str | None, kind: type[OperatorError], words: str) -> None:
    """With the remedy, and whether it is worth while to try again."""
    error = explain_condition(condition, "", ACCESS, device)
    assert (type(error), words in str(error)) == (kind, True), str(error)


def body(text: str) -> bytes:
    return json.dumps({"Message": text, "ExceptionMessage": "Tracking ID:1-2"}).encode()


NEW_STYLE = body('{"errorCode":404103,"trackingId":"x","message":"Timed out waiting for device"}')


@pytest.mark.parametrize(
    ("status", "headers", "content", "kind", "words"),
    [
        (400, {}, body("ErrorCode:ArgumentInvalid;bad id"), HubRejected, "(HTTP 400): bad id"),
        (
            401,
            {},
            body("ErrorCode:IotHubUnauthorizedAccess;Unauthorized"),
            HubRejected,
            "the right RegistryWrite",
        ),
        (403, {}, b"", HubRejected, "registryReadWrite or iothubowner has it"),
        (403, {"iothub-errorcode": "IotHubQuotaExceeded"}, b"", HubUnavailable, "until midnight UTC"),
        (404, {"iothub-errorcode": "DeviceNotFound"}, b"", NoDevice, "no device 'mast-7'"),
        (404, {"iothub-errorcode": "DeviceNotOnline"}, b"", HubUnavailable, "is not connected"),
        (404, {}, NEW_STYLE, HubUnavailable, "is not connected, or takes no methods: Timed out waiting"),
        (409, {}, b"", HubRejected, "exists already (masthead device show mast-7)"),
        (412, {}, b"", HubRejected, "changed meanwhile"),
        (429, {"Retry-After": "17"}, b"", HubUnavailable, "asked too often; try again in 17 s"),
        (429, {}, b"[]", HubUnavailable, "asked too often; try again later"),
        (500, {}, b"<html>", HubUnavailable, "not well (HTTP 500)"),
        (504, {}, b"[" * 100_000, HubUnavailable, "has not answered in time"),
        (302, {}, b"", HubRejected, "(HTTP 302)"),
    ],
)
def test_what_rest_says(
    status: int, headers: dict[str, str], content: bytes, kind: type[OperatorError], words: str
) -> None:
    """IoT Hub's error bodies in both spellings, and anything else."""
    error = explain_reply(Refusal(status, headers, content), ACCESS, "RegistryWrite", "mast-7")
    assert (type(error), words in str(error)) == (kind, True), str(error)
    assert "\n" not in str(error)


def test_throttling_until_a_time_of_day() -> None:
    """As this machine's clock shows it."""
    until = datetime.now(UTC) + timedelta(seconds=90)
    refusal = Refusal(429, {"Retry-After": format_datetime(until, usegmt=True)}, b"")
    assert f"try again at {until.astimezone():%H:%M:%S}" in str(
        explain_reply(refusal, ACCESS, "RegistryRead", None)
    )


@pytest.mark.parametrize(("hours", "words"), [(2, "behind"), (-2, "ahead of")])
def test_a_wrong_clock_is_told_from_a_wrong_key(hours: int, words: str) -> None:
    """By the date in the hub's answer."""
    theirs = format_datetime(datetime.now(UTC) + timedelta(hours=hours), usegmt=True)
    error = explain_reply(Refusal(401, {"Date": theirs}, b""), ACCESS, "RegistryRead", None)
    assert f"s {words} the hub's: set it (timedatectl)" in str(error)


def test_what_a_hub_says_is_one_line_without_secrets() -> None:
    """However it was meant."""
    refusal = Refusal(400, {}, body("ErrorCode:X;a\nb\x1b[31m SharedAccessKey=abc " + "x" * 9999))
    text = str(explain_reply(refusal, ACCESS, "RegistryRead", None))
    assert text.isprintable()
    assert "SharedAccessKey=***" in text
    assert len(text) < 500
