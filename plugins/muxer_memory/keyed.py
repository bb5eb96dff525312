"""Requests by the keys of their callers, the oldest first."""

from muxer import KEYED_S, KeyedRequest


class Keyed:
    """See RemembersKeyed."""

    def __init__(self) -> None:
        self._first: dict[str, KeyedRequest] = {}

    def first_of(self, keyed: KeyedRequest, instead_of: str) -> KeyedRequest:
        """See RemembersKeyed."""
        for old in list(self._first.values()):
            if old.at > keyed.at - KEYED_S:
                break
            del self._first[old.digest]
        first = self._first.get(keyed.digest)
        if first is None or first.id == instead_of:
            self._first.pop(keyed.digest, None)
            first = self._first[keyed.digest] = keyed
        return first

    def forget(self, keyed: KeyedRequest) -> None:
        """See RemembersKeyed."""
        first = self._first.get(keyed.digest)
        if first is not None and first.id == keyed.id:
            del self._first[keyed.digest]
