"""Exceptions nested as the SDK nests them: the outermost says little, the innermost is the truth."""

from __future__ import annotations

import errno
import itertools
import socket
import ssl

import pytest
from azure.iot.device import exceptions as sdk
from azure.iot.device.common import transport_exceptions as transport
from azure.iot.device.common.pipeline import pipeline_exceptions as pipeline
from paho.mqtt import client as paho

from agent.cloud import Failure, HubError
from agent.cloud.credentials import parse
from agent.cloud.explaining import explain

CREDENTIAL = parse("HostName=hub.example;DeviceId=mast-1;SharedAccessKey=c2VjcmV0", "test")


def nested(*chain: BaseException) -> BaseException:
    """The first raised from the second, and so on."""
    for outer, inner in itertools.pairwise(chain):
        outer.__cause__ = inner
    return chain[0]


def failed(cause: BaseException) -> BaseException:
    """What connect() raises when paho could not open its socket."""
    return nested(
        sdk.ConnectionFailedError("Could not connect to IoTHub"), transport.ConnectionFailedError(), cause
    )


def refused(code: int) -> BaseException:
    """What connect() raises after a CONNACK that refuses."""
    said = paho.connack_string(code)
    if code == 3:
        return nested(
            sdk.ConnectionFailedError("Could not connect to IoTHub"), transport.ConnectionFailedError(said)
        )
    return nested(
        sdk.CredentialError("Credentials invalid, could not connect"), transport.UnauthorizedError(said)
    )


def certificate(code: int, message: str) -> BaseException:
    """What connect() raises when paho's handshake found the certificate wrong."""
    error = ssl.SSLCertVerificationError(1, f"[SSL: CERTIFICATE_VERIFY_FAILED] {message}")
    error.verify_code, error.verify_message = code, message
    return nested(
        sdk.ClientError("Error in the IoTHub client due to TLS exchanges."),
        transport.TlsExchangeAuthError(),
        error,
    )


def dropped(rc: int) -> BaseException:
    """What the SDK reports in the background when a connection went."""
    cause = transport.ConnectionDroppedError(paho.error_string(rc) if rc != 1 else "Paho returned rc==1")
    return nested(transport.ConnectionDroppedError("Unexpected disconnection"), cause)


def tls(error: ssl.SSLError, reason: str | None) -> ssl.SSLError:
    """As OpenSSL raises it."""
    error.reason = reason  # type: ignore[assignment]
    return error


def no(name: int, text: str) -> OSError:
    return OSError(name, text)


@pytest.mark.parametrize(
    ("error", "failure", "said"),
    [
        (failed(socket.gaierror(-2, "Name or service not known")), Failure.NAME, "cannot be resolved"),
        (failed(socket.gaierror(-3, "Temporary failure")), Failure.NAME, "check the network, its DNS"),
        (failed(ConnectionRefusedError(111, "Connection refused")), Failure.CLOSED, "hub.example:8883"),
        (failed(ConnectionResetError(104, "reset")), Failure.LOST, "ended the connection while it was made"),
        (failed(BrokenPipeError(32, "Broken pipe")), Failure.LOST, "ended the connection while it was made"),
        (failed(TimeoutError(110, "timed out")), Failure.SILENT, "does a firewall drop the port?"),
        (failed(TimeoutError("_ssl.c:983: The handshake operation timed out")), Failure.SILENT, "8883"),
        (failed(no(errno.ENETUNREACH, "Network is unreachable")), Failure.ROUTE, "default route"),
        (failed(no(errno.EHOSTUNREACH, "No route to host")), Failure.ROUTE, "No route to host"),
        (failed(no(errno.ENETDOWN, "Network is down")), Failure.ROUTE, "is the network up"),
        (failed(no(errno.EHOSTDOWN, "Host is down")), Failure.ROUTE, "is the network up"),
        (failed(no(errno.EADDRNOTAVAIL, "no address")), Failure.ROUTE, "is the network up"),
        (failed(no(errno.EMFILE, "Too many open files")), Failure.ROUTE, "cannot be reached: Too many open"),
        (failed(tls(ssl.SSLError(1, "x"), "WRONG_VERSION_NUMBER")), Failure.LOST, "(WRONG_VERSION_NUMBER)"),
        (failed(tls(ssl.SSLEOFError(8, "EOF occurred"), None)), Failure.LOST, "does not speak TLS"),
        (refused(3), Failure.UNAVAILABLE, "nothing to do but wait"),
        (refused(4), Failure.REFUSED, "wrong key, unknown or disabled device, or an expired token"),
        (refused(5), Failure.REFUSED, "refused device 'mast-1'"),
        (
            nested(sdk.OperationTimeout("x"), pipeline.OperationTimeout("Transport timeout")),
            Failure.SILENT,
            "takes the connection and does not answer",
        ),
        (dropped(paho.MQTT_ERR_KEEPALIVE), Failure.DEAD, "no reply to a ping"),
        (dropped(paho.MQTT_ERR_CONN_LOST), Failure.LOST, "connection lost"),
        (dropped(1), Failure.LOST, "connection lost"),
        (dropped(7), Failure.LOST, "connection lost"),
        (pipeline.OperationCancelled("Operation cancelled before PUBACK received"), Failure.LOST, "lost"),
        (transport.NoConnectionError("The client is not currently connected."), Failure.LOST, "lost"),
        (nested(sdk.NoConnectionError("x"), transport.NoConnectionError()), Failure.LOST, "connection lost"),
        (
            nested(sdk.ClientError("Error in the IoTHub client"), transport.ProtocolClientError("odd")),
            Failure.LOST,
            "(ProtocolClientError: odd)",
        ),
        (RuntimeError("something else"), Failure.LOST, "(RuntimeError: something else)"),
        (ValueError("Publish topic cannot contain wildcards."), Failure.LOST, "cannot contain wildcards"),
        (failed(UnicodeError("label too long")), Failure.LOST, "(UnicodeError: label too long)"),
    ],
)  # fmt: skip
def test_what_the_wire_showed(error: BaseException, failure: Failure, said: str) -> None:
    """Each is told apart, in one line that names what to check."""
    found = explain(error, CREDENTIAL)
    assert found.failure is failure
    assert said in str(found)
    assert "\n" not in str(found)
    assert "c2VjcmV0" not in str(found)


@pytest.mark.parametrize(("code", "state"), [(9, "not yet valid"), (10, "no longer valid")])
@pytest.mark.parametrize("trusted", [True, False])
def test_a_certificate_out_of_its_time(code: int, state: str, trusted: bool) -> None:
    """By the code, not by its words; the machine's clock is named first, and whether it is synchronised."""
    found = explain(certificate(code, "whatever"), CREDENTIAL, clock_trusted=trusted)
    assert found.failure is Failure.CERTIFICATE_TIME
    assert f"the certificate of hub.example is {state}: check this machine's clock" in str(found)
    assert ("not synchronised (timedatectl)" in str(found)) is not trusted


@pytest.mark.parametrize("code", [18, 19, 20, 62, 64])
def test_a_certificate_that_is_not_trusted(code: int) -> None:
    """Self-signed, unknown authority, another name: the remedy is the CA file."""
    found = explain(certificate(code, "self-signed certificate"), CREDENTIAL)
    assert found.failure is Failure.UNTRUSTED
    assert "hub.example is not trusted: self-signed certificate; for a private CA set device.ca_file" in str(
        found
    )


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("code", [4, 5])
def test_refused_with_a_clock_that_is_wrong(code: int, trusted: bool) -> None:
    """While the clock cannot be trusted it is suspected before the key."""
    text = str(explain(refused(code), CREDENTIAL, clock_trusted=trusted))
    assert ("clock is not synchronised" in text) is not trusted
    if not trusted:
        assert text.index("clock") < text.index("wrong key")


def test_the_gateway_is_what_is_named() -> None:
    """Where a gateway stands for the hub, the host to look at is the gateway."""
    credential = parse(CREDENTIAL.connection_string + ";GatewayHostName=gate.example", "test")
    assert "gate.example" in str(explain(refused(5), credential))


def test_what_is_explained_stays_as_it_is() -> None:
    """A HubError passes through."""
    error = HubError(Failure.DEAD, "dead")
    assert explain(error, CREDENTIAL) is error


def test_the_cause_is_also_found_where_it_is_only_the_context() -> None:
    """An exception raised while another was handled, without ``from``."""
    error = sdk.ClientError("Unexpected failure")
    error.__context__ = ConnectionRefusedError(111, "Connection refused")
    assert explain(error, CREDENTIAL).failure is Failure.CLOSED


def test_a_chain_that_bites_its_tail_ends() -> None:
    """A circle of causes is gone through once."""
    first, second = RuntimeError("a"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first
    assert explain(first, CREDENTIAL).failure is Failure.LOST
