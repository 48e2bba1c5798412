"""What the platform takes as an id or a name: the patterns of its API, with what to write instead."""

from __future__ import annotations

import re


def _problem(pattern: str, text: str, what: str) -> str | None:
    return None if re.fullmatch(pattern, text) else f"{text!r} {what}"


def device_id_problem(text: str) -> str | None:
    """What is wrong with a device's id, None when nothing is."""
    return _problem(r"[a-zA-Z0-9:._-]{3,64}", text, "is no device id: write 3 to 64 letters a to z, digits, or : . _ -")


def device_name_problem(text: str) -> str | None:
    """What is wrong with a device's name, None when nothing is. Line breaks are those that a pattern's dot stops at."""
    return _problem("[^\n\r\u0085\u2028\u2029]{1,100}", text, "is no device name: write 1 to 100 characters on one line")


def customer_id_problem(text: str) -> str | None:
    """What is wrong with a customer's id, None when nothing is."""
    return _problem(r"[a-zA-Z0-9]{24}", text, "is no customer id: it has exactly 24 letters and digits")


def building_id_problem(text: str) -> str | None:
    """What is wrong with a building's id, None when nothing is."""
    return _problem(r"[a-zA-Z0-9:._-]{1,100}", text, "is no building id: write 1 to 100 letters a to z, digits, or : . _ -")


def client_id_problem(text: str) -> str | None:
    """What is wrong with a client id, None when nothing is."""
    return _problem(r"[a-zA-Z0-9]{1,100}", text, "is no client id: it has 1 to 100 letters and digits")
