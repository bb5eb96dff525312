"""`strict_params`: what a provider cannot take is dropped and named, or refused before anything is sent."""

from tests.proxy import OpenProxy

MISTRAL = """
  main: {kind: mistral, api_key: sk-upstream, base_url: "UPSTREAM/v1"}"""
PLUGINS = "[mistral, sqlite]"


async def test_what_a_provider_cannot_take_is_dropped_and_named(proxy: OpenProxy) -> None:
    running = await proxy(plugins=PLUGINS, providers=MISTRAL)
    response = await running.chat(logit_bias={"50256": -100})
    assert (response.status, response.headers["x-muxer-dropped"]) == (200, "logit_bias")
    assert "logit_bias" not in running.upstream.calls[0].body


async def test_strict_params_refuses_it_and_sends_nothing(proxy: OpenProxy) -> None:
    running = await proxy(plugins=PLUGINS, providers=MISTRAL, strict_params="true")
    response = await running.chat(logit_bias={"50256": -100})
    error = (await response.json())["error"]
    assert (response.status, error["code"], error["param"]) == (400, "unsupported_parameter", "logit_bias")
    assert running.upstream.calls == []
