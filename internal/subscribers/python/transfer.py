"""What an announcement asks for."""

import json
import re
import threading
import urllib.error
import urllib.parse
import urllib.request

from store import Store


class Unusable(Exception):
    """A message that no repeat makes better."""


def key(holder: dict) -> tuple[str, str, int]:
    """The greater key holds an account after the lesser. A connection without a time was there before all that have one. Times are compared as texts with nine
    decimals: a datetime would drop what is below a microsecond. ValueError, KeyError and TypeError say that it is no holder."""
    at, user, tenure = holder["connected_at"], holder["user_id"], holder["tenure"]
    if at is not None:
        match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z", at)
        if not match:
            raise ValueError
        at = match[1] + "." + (match[2] or "").ljust(9, "0")
    if not isinstance(user, str) or not user or not isinstance(tenure, int) or tenure < 1:
        raise ValueError
    return at or "", user, tenure


class Handler:
    def __init__(self, store: Store, terra: "Terra"):
        self.store, self.terra = store, terra
        self.lock = threading.Lock()

    def handle(self, message: str) -> None:
        """Handles one announcement. Once it has returned, the announcement is done and need not come again. One is handled at a time: what the store says stays
        true until it is told what was done."""
        with self.lock:
            event_id = None
            try:
                event = parse(message)
                event_id = event["id"]
                log(outcome=self.act(event), id=event_id)
            except Unusable:
                log(outcome="unusable", id=event_id)
                raise
            except Exception as error:
                log(outcome="failed", id=event_id, error=type(error).__name__)
                raise

    def act(self, event: dict) -> str:
        if self.store.seen(event["id"]):
            return "duplicate"
        if event.get("type") != "handover.account.transferred.v1":
            return "ignored"  # such as handover.connection.revoked.v1, which confirms what was done, and types to come
        try:
            data = event["data"]
            account, order, previous, current = data.get("account"), data["order"], data["previous"], data["current"]
            if not isinstance(order, str):
                raise TypeError
            key(previous), key(current)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Unusable from error
        if order not in ("signed", "terra"):
            # Which of the two came first is a guess. It changes nothing by itself: show it to a person here.
            self.store.done(event["id"], None, None)
            return "left_to_a_person"

        # The connection is ended, not the person: alice may have connected another watch since.
        outcome = "reassigned"  # one connection: only the old reference_id has lost it, so end what it may read
        if previous["user_id"] != current["user_id"]:
            outcome = self.terra.deauthenticate(previous["user_id"])

        # Announcements may come in any order: who owns the account now is told by the newest, not by the last.
        known = self.store.owner(account) if account else None
        if account and (known is None or key(current) > key(known)):
            self.store.done(event["id"], account, current)
        else:
            self.store.done(event["id"], None, None)
        return outcome


def parse(message: str) -> dict:
    try:
        event = json.loads(message)
    except ValueError as error:
        raise Unusable from error
    if not isinstance(event, dict) or not isinstance(event.get("id"), str) or not event["id"]:
        raise Unusable
    return event


class Terra:
    """Terra's REST API."""

    def __init__(self, url: str, dev_id: str, api_key: str):
        self.url, self.headers = url, {"dev-id": dev_id, "x-api-key": api_key}

    def deauthenticate(self, user_id: str) -> str:
        """Ends a connection: DELETE /auth/deauthenticateUser. One that is gone already is as good as ended, so asking again does no harm."""
        query = urllib.parse.urlencode({"user_id": user_id})
        request = urllib.request.Request(f"{self.url}/auth/deauthenticateUser?{query}", headers=self.headers, method="DELETE")
        try:
            with opener().open(request, timeout=20) as response:
                status, body = response.status, response.read(64 << 10)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return "gone"
            raise
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        if status != 200 or isinstance(answer, dict) and answer.get("status") == "error":
            raise RuntimeError("Terra refused")
        return "revoked"


def opener(*handlers: urllib.request.BaseHandler) -> urllib.request.OpenerDirector:
    """Follows no redirect: it would carry the key away."""

    class NoRedirect(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    return urllib.request.build_opener(NoRedirect, *handlers)


def log(**line: object) -> None:
    """Writes a line. No user_id, no reference_id: they are personal data."""
    print(json.dumps(line), flush=True)
