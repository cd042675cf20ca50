"""The local hub's page: devices, wind and commands in a browser on this machine."""

from .server import PageServer, start_page

__all__ = ["PageServer", "start_page"]
