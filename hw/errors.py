"""What can go wrong with hardware, named by what the caller does next.

    HardwareError
    ├── DeviceUnavailable     "no answer from 0x28: is it wired and powered?"   (try again later)
    ├── DeviceMisconfigured   "pin 17 is used twice"                            (a person must act)
    └── BadSample             "checksum 0x31, expected 0x92"                    (skip this value)

Each message says what was seen and, where one exists, what to check.
"""

from __future__ import annotations


class HardwareError(Exception):
    """Anything that keeps a sensor or an actuator from doing its work."""


class DeviceUnavailable(HardwareError):
    """The device does not answer now. It may come back: ask again."""


class DeviceMisconfigured(HardwareError):
    """The device cannot work as configured, however often it is asked."""


class BadSample(HardwareError):
    """The device answered, but the answer is no value. The next one may be."""
