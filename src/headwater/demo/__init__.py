"""`headwater demo`: a whole platform with two domains and a test picture, to watch, to push to, and to check."""

from headwater.demo.api import DemoError
from headwater.demo.runner import run

__all__ = ["DemoError", "run"]
