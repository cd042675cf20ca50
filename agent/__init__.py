"""masthead: measures the wind, tells Azure IoT Hub, obeys commands without doing harm."""

__version__ = "0.1.0"
