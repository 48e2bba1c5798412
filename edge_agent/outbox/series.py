"""What names events stands once in the file, and here in memory: device id, device name, source and type of each series."""

from __future__ import annotations

import sqlite3

from edge_agent.model.events import Event

Names = tuple[str, str, str, str]


class Series:
    """The series of one open file, as they were committed when it was made."""

    def __init__(self, db: sqlite3.Connection) -> None:
        rows = db.execute("SELECT id, device_id, device_name, source, type FROM series NOT INDEXED").fetchall()
        self.names: dict[int, Names] = {row[0]: row[1:] for row in rows}
        self._numbers = {names: number for number, names in self.names.items()}
        self.types: dict[int, str] = {number: names[3] for number, names in self.names.items()}

    def get(self, names: Names) -> int | None:
        """The number of a known series."""
        return self._numbers.get(names)

    def number(self, db: sqlite3.Connection, event: Event) -> int:
        """The number of an event's series, which is stored when it is new, in the caller's transaction."""
        names = (event.device_id, event.device_name, event.source, event.type)
        number = self._numbers.get(names)
        if number is None:
            number = db.execute("INSERT INTO series (device_id, device_name, source, type) VALUES (?, ?, ?, ?)", names).lastrowid
            assert number is not None
            self._numbers[names], self.names[number], self.types[number] = number, names, names[3]
        return number
