"""A `CustomLogger` unchanged: what it is told of a record, held against what LiteLLM itself tells of a call."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import litellm
import pytest
from litellm.integrations.custom_logger import CustomLogger
from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER
from litellm.types.utils import StandardLoggingMetadata, StandardLoggingPayload
from muxer_litellm import LoggerSettings, open_logger

from muxer import Attempt, ConfigInvalid, Needs, Sink, Usage
from muxer.testing import Say, ScriptedUpstream, SinkContract, a_record, open_context
from muxer.testing.builders import START_S
from tests.proxy import Lines

FOLDER = Path(__file__).parent / "examples"
DONE = a_record(
    state="done",
    team="research",
    tags=("batch",),
    end_user="u-7",
    requested_model="auto",
    route="default",
    model="small",
    provider="main",
    needs=Needs(stream=True),
    usage=Usage(input_tokens=100, output_tokens=20, cached_input_tokens=64, reasoning_tokens=5),
    cost_nanos=1_500_000,
    attempts=(Attempt(model="small", provider="main", upstream="openai/small-1", outcome="exact", status=200),),
    status=200,
    ms=250.0,
    first_byte_ms=100.0,
)
FAILED = a_record(state="failed", model="small", provider="main", status=429, error="upstream_rate_limited", ms=9.0)


@asynccontextmanager
async def opened(name: str, log: Any = None, **settings: Any) -> AsyncIterator[tuple[Any, list[Any]]]:
    changes = {} if log is None else {"log": log}
    chosen = LoggerSettings(logger=f"my_loggers.{name}", **settings)
    async with open_context(FOLDER, **changes) as context, open_logger(chosen, context) as sink:
        yield sink, sink._instance.events


FILING = """
from pathlib import Path
from litellm.integrations.custom_logger import CustomLogger

class Filing(CustomLogger):
    async def _file(self, kwargs, response_obj, start_time, end_time):
        with (Path(__file__).parent / "ids.txt").open("a") as file:
            file.write(kwargs["standard_logging_object"]["id"] + "\\n")
    async_log_success_event = async_log_failure_event = _file

filing = Filing()
"""


class TestLogger(SinkContract):
    @asynccontextmanager
    async def open(self, folder: Path) -> AsyncIterator[Sink]:
        (folder / "filing.py").write_text(FILING)
        async with (
            open_context(folder) as context,
            open_logger(LoggerSettings(logger="filing.filing"), context) as sink,
        ):
            yield sink

    async def taken(self, folder: Path) -> Sequence[str]:
        ids = folder / "ids.txt"
        return ids.read_text().split() if ids.exists() else []


async def test_a_success_is_told_with_what_people_read() -> None:
    async with opened("keeping") as (sink, events):
        await sink.write([DONE])
    ((kind, kwargs, response, begun, ended),) = events
    told = kwargs["standard_logging_object"]
    assert kind == "success"
    assert (told["id"], told["status"], told["call_type"]) == ("request-1", "success", "acompletion")
    assert (told["model"], told["model_group"], told["custom_llm_provider"]) == ("openai/small-1", "auto", "main")
    assert (told["prompt_tokens"], told["completion_tokens"], told["total_tokens"]) == (100, 20, 120)
    assert (told["response_cost"], kwargs["response_cost"]) == (0.0015, 0.0015)
    assert (told["startTime"], told["completionStartTime"], told["endTime"]) == (
        START_S + 3600,
        START_S + 3600.1,
        START_S + 3600.25,
    )
    assert (told["request_tags"], told["end_user"], told["messages"]) == (["batch"], "u-7", None)
    assert told["metadata"]["user_api_key_alias"] == "k-1"
    assert told["metadata"]["user_api_key_user_id"] == "alice"
    assert told["metadata"]["user_api_key_team_id"] == "research"
    assert (begun.timestamp(), ended.timestamp()) == (told["startTime"], told["endTime"])
    assert response.usage.prompt_tokens_details.cached_tokens == 64
    assert response["usage"]["total_tokens"] == 120


async def test_a_failure_is_told_with_its_reason() -> None:
    async with opened("keeping") as (sink, events):
        await sink.write([FAILED])
    ((kind, kwargs, response, _, _),) = events
    told = kwargs["standard_logging_object"]
    assert (kind, response, told["status"]) == ("failure", None, "failure")
    assert told["error_str"] == "upstream_rate_limited"
    assert told["error_information"]["error_code"] == "429"
    assert kwargs["exception"].status_code == 429


async def test_every_field_of_litellm_is_there() -> None:
    async with opened("keeping") as (sink, events):
        await sink.write([DONE])
    told = events[0][1]["standard_logging_object"]
    assert StandardLoggingPayload.__required_keys__ - told.keys() - {"classifier_audit"} == set()
    used = {"user_api_key_alias", "user_api_key_user_id", "user_api_key_team_id", "user_api_key_end_user_id", "team_id"}
    assert used <= told["metadata"].keys() & StandardLoggingMetadata.__annotations__.keys()


async def test_litellm_itself_tells_no_more_of_a_call() -> None:
    class Theirs(CustomLogger):
        def __init__(self) -> None:
            super().__init__()
            self.events: list[dict[str, Any]] = []

        async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
            self.events.append(kwargs)

    theirs = Theirs()
    litellm.callbacks = [theirs]
    try:
        async with ScriptedUpstream(Say(text="Hello")) as upstream:
            await litellm.acompletion(
                model="openai/m-1",
                api_key="sk-1",
                api_base=f"{upstream.url}/v1",
                messages=[{"role": "user", "content": "Hi"}],
            )
            await GLOBAL_LOGGING_WORKER.flush()
    finally:
        litellm.callbacks = []
    async with opened("keeping") as (sink, events):
        await sink.write([DONE])
    (expected,), told = theirs.events, events[0][1]
    standard = expected["standard_logging_object"]
    assert standard.keys() - told["standard_logging_object"].keys() <= StandardLoggingPayload.__optional_keys__
    types = {name: type(value) for name, value in standard.items() if value is not None}
    ours = told["standard_logging_object"]
    known = [name for name in types if ours.get(name) is not None]
    assert [name for name in known if not isinstance(ours[name], types[name])] == []


async def test_synchronous_methods_are_told_too() -> None:
    async with opened("synchronous") as (sink, events):
        await sink.write([DONE, FAILED])
    assert [event[0] for event in events] == ["success"]


async def test_what_a_logger_raises_is_logged_and_each_event_told_once() -> None:
    log = Lines()
    async with opened("raising", log) as (sink, events):
        await sink.write([DONE, DONE])
    assert len(events) == 2
    assert await log.wait_for("litellm_logger_failed", 2)
    assert "receiver" not in str(log.lines)


@pytest.mark.parametrize("name", ["not_a_logger", "Keeping", "nothing"])
async def test_a_logger_that_is_none_is_a_fault_of_the_configuration(name: str) -> None:
    with pytest.raises(ConfigInvalid, match=name):
        async with opened(name):
            pass
