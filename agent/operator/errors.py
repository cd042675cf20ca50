"""What can go wrong, by what its reader does next. Each text is one line for a person.

OperatorError
├── BadAccess       "IOTHUB_CONNECTION_STRING has no SharedAccessKeyName=…"   (mend the environment)
├── BadMessage      "body and properties are 70000 bytes, at most 65536"      (mend the message)
├── HubRejected     "no device 'mast-7' at hub.azure-devices.net"             (the same again fails again)
└── HubUnavailable  "nobody listens at localhost:5671"                        (later it may go well)
"""

from __future__ import annotations


class OperatorError(Exception):
    """Anything that a person is told in one line."""


class BadAccess(OperatorError):
    """The connection string, the CA or the port that was given is none."""


class BadMessage(OperatorError):
    """It breaks a rule of IoT Hub; nothing was sent."""


class HubRejected(OperatorError):
    """The hub has said no, or is not to be trusted."""


class NoDevice(HubRejected):
    """The hub does not know the device."""


class HubUnavailable(OperatorError):
    """The hub cannot be reached, is busy, or does not answer. What was asked may have been done."""
