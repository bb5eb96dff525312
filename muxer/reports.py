"""What is told of a finished request: its metrics and its line in the log."""

from muxer import measurements
from muxer.interfaces import Log, Meter
from muxer.money import NANOS_PER_USD, usd
from muxer.types import Record


def report(record: Record, own_s: float, answered_by: str, meter: Meter, log: Log) -> None:
    """Reports a request; `own_s` is our own share of its time, `answered_by` the guard that had the answer, or ''."""
    _measure(record, own_s, answered_by, meter)
    log(
        "info",
        "request",
        id=record.id,
        user=record.user,
        key=record.key,
        route=record.route,
        model=record.model,
        provider=record.provider,
        status=record.status,
        error=record.error,
        input_tokens=record.usage.input_tokens,
        output_tokens=record.usage.output_tokens,
        cost_usd=usd(record.cost_nanos),
        ms=record.ms,
        client_gone=record.client_gone,
    )


def _measure(record: Record, own_s: float, answered_by: str, meter: Meter) -> None:
    where = (record.model, record.provider)
    meter.add(measurements.REQUESTS, 1, record.route, *where, str(record.status))
    meter.observe(measurements.REQUEST_SECONDS, record.ms / 1000, record.route)
    meter.observe(measurements.OVERHEAD_SECONDS, own_s)
    meter.add(measurements.COST_USD, record.cost_nanos / NANOS_PER_USD, record.route, *where)
    if answered_by:
        meter.add(measurements.SAVED_USD, record.saved_nanos / NANOS_PER_USD, answered_by)
    if record.first_byte_ms:
        meter.observe(measurements.FIRST_TOKEN_SECONDS, record.first_byte_ms / 1000, record.model)
    usage = record.usage
    plain = usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens
    kinds = ("input", plain), ("cached_input", usage.cached_input_tokens), ("output", usage.output_tokens)
    for kind, tokens in (*kinds, ("cache_write", usage.cache_write_tokens)):
        if tokens > 0:
            meter.add(measurements.TOKENS, tokens, *where, kind)
