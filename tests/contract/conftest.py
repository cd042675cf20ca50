from .lab import lab

__all__ = ["lab"]
