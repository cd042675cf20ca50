"""How a client logs in (OASIS AMQP 1.0 part 5, section 5.3).

PLAIN proves a policy at once, by a shared access signature or by the policy's key; ANONYMOUS and MSSBCBS let
a client in that proves it later, at the address ``$cbs``.
https://learn.microsoft.com/azure/iot-hub/iot-hub-amqp-support
"""

from __future__ import annotations

import asyncio
import math

from ..auth import BadCredentials, NotAuthorized
from ..records import StoreFailed
from ..service_auth import Proof, ServiceAuthenticator
from .frames import SASL, SASL_HEADER, AmqpError, frame_bytes
from .line import Line
from .performatives import SaslInit, SaslMechanisms, SaslOutcome

MAX_FRAME_BYTES = 4096
MECHANISMS = ("MSSBCBS", "PLAIN", "ANONYMOUS")

_OK, _AUTH, _SYS_TEMP = 0, 1, 4
_SIGNATURE = "SharedAccessSignature "


class Refused(Exception):
    """The client has been told so, and the connection is to be closed."""


async def log_in(line: Line, authenticator: ServiceAuthenticator) -> Proof | None:
    """What a client has proved, if anything yet.

    The client's header has been read, and nothing else. Raises Refused, AmqpError, OSError, EOFError.
    """
    offer = frame_bytes(SaslMechanisms(sasl_server_mechanisms=MECHANISMS), kind=SASL)
    await line.write(SASL_HEADER + offer)
    init = (await line.frame(SASL, MAX_FRAME_BYTES)).performative
    if not isinstance(init, SaslInit):
        raise AmqpError("amqp:not-allowed", "expected a sasl-init")
    try:
        proved = await _proved(init, authenticator)
    except (NotAuthorized, BadCredentials) as error:
        await line.close(frame_bytes(SaslOutcome(code=_AUTH), kind=SASL), listen=True)
        raise Refused(str(error)) from None
    except StoreFailed as error:
        await line.close(frame_bytes(SaslOutcome(code=_SYS_TEMP), kind=SASL), listen=True)
        raise Refused(str(error)) from None
    await line.write(frame_bytes(SaslOutcome(code=_OK), kind=SASL))
    return proved


async def _proved(init: SaslInit, authenticator: ServiceAuthenticator) -> Proof | None:
    if init.mechanism in ("ANONYMOUS", "MSSBCBS"):
        return None
    if init.mechanism != "PLAIN":
        raise BadCredentials(f"the mechanism {init.mechanism[:64]!r} is not offered")
    try:
        _, user, password = (init.initial_response or b"").decode().split("\0")
    except ValueError:
        raise BadCredentials("PLAIN needs a user and a password") from None
    policy = user.partition("@")[0]
    if password.startswith(_SIGNATURE):
        return await asyncio.to_thread(authenticator.admit, password, policy)
    return Proof(await asyncio.to_thread(authenticator.admit_key, policy, password), math.inf, "")
