"""What was done."""

import json
import os
from typing import Protocol


class Store(Protocol):
    """Remembers what was done. This is the seam: in your backend it is a table of ids and a table of owners in the database that you have, and done one
    transaction, with what else you change."""

    def seen(self, event_id: str) -> bool: ...

    def owner(self, account: str) -> dict | None: ...

    def done(self, event_id: str, account: str | None, owner: dict | None) -> None:
        """Records that the announcement was handled and, unless account is None, that owner is the account's owner now."""


class Journal:
    """A Store in a file of JSON lines, for one process. A file because the owners must survive a restart, or an old announcement that comes late would replace a
    newer owner. Lines because adding one is all or nothing without a database: a line that a crash has cut off does not count."""

    def __init__(self, path: str):
        self.file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self.ids: set[str] = set()
        self.owners: dict[str, dict] = {}
        with open(path, "rb") as file:
            text = file.read()
        self.size = text.rfind(b"\n") + 1  # of the whole lines
        for line in text[: self.size].splitlines():
            self._remember(**json.loads(line))

    def seen(self, event_id: str) -> bool:
        return event_id in self.ids

    def owner(self, account: str) -> dict | None:
        return self.owners.get(account)

    def done(self, event_id: str, account: str | None, owner: dict | None) -> None:
        record = {"id": event_id, "account": account, "owner": owner}
        line = json.dumps(record).encode() + b"\n"
        os.ftruncate(self.file, self.size)  # what a crash, or a failed write, has left behind the whole lines
        if os.pwrite(self.file, line, self.size) != len(line):
            raise OSError("the journal could not be written")
        os.fsync(self.file)
        self.size += len(line)
        self._remember(**record)

    def _remember(self, id: str, account: str | None, owner: dict | None) -> None:
        self.ids.add(id)
        if account and owner:
            self.owners[account] = owner
