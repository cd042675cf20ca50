"""The hub's service side over HTTPS: registry, twins, direct methods, queries, feedback."""

from .server import RestServer

__all__ = ["RestServer"]
