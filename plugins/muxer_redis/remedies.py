"""What the server's failures mean and what to do about each, in words for the operator."""

from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import RedisError

_REMEDIES = {
    "LOADING": "is still loading its data; it answers once that is done",
    "READONLY": "is a replica; name the master in store.url, or its sentinels in store.sentinels",
    "OOM": "has no memory left; raise its maxmemory",
    "MISCONF": "cannot save its data and therefore takes no writes; look at its disk and its log",
    "NOREPLICAS": "has too few replicas to take writes (min-replicas-to-write); bring them back",
    "CLUSTERDOWN": "is a cluster that is down; look at CLUSTER INFO",
    "MOVED": "is a cluster; set store.cluster: true",
    "ASK": "is a cluster that is being resharded; set store.cluster: true",
    "CROSSSLOT": "is a cluster; set store.cluster: true",
    "MASTERDOWN": "is a replica whose master is gone; wait for the failover",
    "TRYAGAIN": "is a cluster that is being resharded; it answers once that is done",
    "NOAUTH": "wants a password; put it into store.url",
    "WRONGPASS": "does not take this user and password; correct store.url",
    "NOPERM": "does not allow this user what the store needs; grant it +@all on the keys {muxer:*",
    "BUSY": "is busy with a script that does not end; SCRIPT KILL ends it",
}
_UNREACHABLE = "the Redis server cannot be reached; start it, or correct store.url"


def remedy(error: Exception, timeout_s: float) -> str:
    """A failure in words for callers: without the server's address."""
    if isinstance(error, TimeoutError):
        return f"the Redis server did not answer within {timeout_s:g} s; see whether it is overloaded or paused"
    if not isinstance(error, RedisError):
        return _UNREACHABLE
    code = _code(error)
    if code:
        return f"the Redis server {_REMEDIES[code]}"
    return _UNREACHABLE if isinstance(error, LostConnection) else f"the Redis server refused a call: {error}"


def _code(error: RedisError) -> str:
    # redis-py cuts the code off the codes it knows; an error from within a script on 6.2 has it further in.
    words = f"{getattr(error, 'status_code', '') or ''} {error}".replace("-", " ").replace(":", " ").split()
    return next((word for word in words if word in _REMEDIES), "")
