"""The metrics of the core, declared once: what is measured, with which labels (DESIGN §4)."""

from typing import Literal

from msgspec import Struct

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
SHORT_SECONDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)


class Metric(Struct, frozen=True):
    """One family; the values of its labels come from the configuration or are fixed words (B73)."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


REQUESTS = Metric("muxer_requests_total", "counter", "Requests answered.", ("route", "model", "provider", "status"))
REQUEST_SECONDS = Metric(
    "muxer_request_seconds", "histogram", "From the whole request read to the last byte.", ("route",), SECONDS
)
FIRST_TOKEN_SECONDS = Metric(
    "muxer_first_token_seconds", "histogram", "From the whole request read to the first chunk.", ("model",), SECONDS
)
OVERHEAD_SECONDS = Metric(
    "muxer_overhead_seconds", "histogram", "Our own share of a request: all but upstream.", (), SHORT_SECONDS
)
DECISION_SECONDS = Metric("muxer_decision_seconds", "histogram", "Signals and rules.", (), SHORT_SECONDS)
TOKENS = Metric("muxer_tokens_total", "counter", "Tokens billed, by kind of token.", ("model", "provider", "kind"))
COST_USD = Metric(
    "muxer_cost_usd_total", "counter", "Dollars spent, presumed spend excluded.", ("route", "model", "provider")
)
PRESUMED_USD = Metric("muxer_presumed_usd", "gauge", "Dollars counted whose outcome is unknown.")
HELD_USD = Metric("muxer_held_usd", "gauge", "Dollars set aside for requests in flight.")
LIMIT_USED_RATIO = Metric("muxer_limit_used_ratio", "gauge", "The fullest subject's share of each limit.", ("limit",))
BUDGET_REFUSALS = Metric("muxer_budget_refusals_total", "counter", "Requests refused by a limit.", ("limit",))
BUDGET_OVERRUN = Metric(
    "muxer_budget_overrun_total",
    "counter",
    "Requests billed past their hold, or cut off because the upstream wrote on past their output cap.",
)
ATTEMPTS = Metric("muxer_attempts_total", "counter", "Upstream attempts.", ("model", "provider", "outcome"))
FALLBACKS = Metric("muxer_fallbacks_total", "counter", "Moves to another candidate.", ("from", "to", "reason"))
HEDGES = Metric(
    "muxer_hedges_total", "counter", "Second attempts sent beside a slow first one.", ("from", "to", "result")
)
PROVIDER_UP = Metric(
    "muxer_provider_up", "gauge", "1 when the model may be tried, 0 while it is set aside.", ("model", "provider")
)
STORE_SECONDS = Metric("muxer_store_seconds", "histogram", "Calls of the store.", ("call",), SHORT_SECONDS)
STORE_UP = Metric("muxer_store_up", "gauge", "1 while the store takes holds, 0 while it cannot or must not.")
STORE_ERRORS = Metric("muxer_store_errors_total", "counter", "Failed calls of the store.", ("kind",))
OUTAGE_REQUESTS = Metric(
    "muxer_outage_requests_total", "counter", "Requests that met a store outage, by what was done.", ("policy",)
)
OUTAGE_OVERRUN_USD = Metric(
    "muxer_outage_overrun_usd_total", "counter", "Dollars past a limit that outages let through.", ("limit",)
)
STORE_OWED = Metric("muxer_store_owed_requests", "gauge", "Requests the store is still to be told about.")
CONFIG_INFO = Metric("muxer_config_info", "gauge", "1 for the configuration in force.", ("config",))
CONFIG_RELOADS = Metric("muxer_config_reloads_total", "counter", "Changes of the configuration taken over.")
CONFIG_RELOAD_FAILURES = Metric(
    "muxer_config_reload_failures_total", "counter", "Changes of the configuration that could not be used."
)
LOOP_LAG_SECONDS = Metric("muxer_loop_lag_seconds", "gauge", "How late the event loop was at most in the last 5 s.")
DRAINS = Metric("muxer_drains", "gauge", "Answers that are read on for their usage after their caller left.")
IN_FLIGHT = Metric("muxer_requests_in_flight", "gauge", "Requests being served.")
SHED = Metric(
    "muxer_shed_total", "counter", "Requests refused for overload, by what there was too much of.", ("reason",)
)
PLUGIN_FAILURES = Metric(
    "muxer_plugin_failures_total",
    "counter",
    "Failures of a plugin's object.",
    ("component", "reason"),
)
GUARD_REFUSALS = Metric("muxer_guard_refusals_total", "counter", "Requests a guard did not let pass.", ("guard",))
SAVED_USD = Metric("muxer_saved_usd_total", "counter", "Dollars not spent, by who had the answer ready.", ("guard",))
DROPPED_RECORDS = Metric("muxer_dropped_records_total", "counter", "Records a sink did not take.", ("sink",))

ALL = (
    REQUESTS, REQUEST_SECONDS, FIRST_TOKEN_SECONDS, OVERHEAD_SECONDS, DECISION_SECONDS, TOKENS, COST_USD,
    PRESUMED_USD, HELD_USD, LIMIT_USED_RATIO, BUDGET_REFUSALS, BUDGET_OVERRUN, ATTEMPTS, FALLBACKS, HEDGES,
    PROVIDER_UP, STORE_SECONDS, STORE_UP, STORE_ERRORS, OUTAGE_REQUESTS, OUTAGE_OVERRUN_USD, STORE_OWED, CONFIG_INFO,
    CONFIG_RELOADS, CONFIG_RELOAD_FAILURES, LOOP_LAG_SECONDS, DRAINS, IN_FLIGHT, PLUGIN_FAILURES, GUARD_REFUSALS,
    SAVED_USD, DROPPED_RECORDS, SHED,
)  # fmt: skip
"""Every family the core reports."""
