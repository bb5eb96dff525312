// The `@anthropic-ai/sdk` package with nothing changed but baseURL and apiKey.
import assert from "node:assert/strict";
import { test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { key, messages, models, place, refusals, root, said } from "./setup.mjs";

const client = new Anthropic({ baseURL: root, apiKey: key, maxRetries: 0 });
const tools = [{ name: "get_weather", input_schema: place }];

for (const model of models) {
  const asked = { model, max_tokens: 100, messages };

  test(`${model} answers`, async () => {
    const message = await client.messages.create(asked);
    assert.equal(message.content[0].text, said);
    assert.equal(message.stop_reason, "end_turn");
    assert.ok(message.usage.output_tokens > 0);
  });

  test(`${model} streams`, async () => {
    const stream = client.messages.stream(asked);
    let text = "";
    stream.on("text", (delta) => (text += delta));
    assert.equal((await stream.finalMessage()).content[0].text, said);
    assert.equal(text, said);
  });

  for (const stream of [false, true]) {
    test(`${model} calls a tool and takes its result, ${stream ? "streamed" : "whole"}`, async () => {
      const first = stream
        ? await client.messages.stream({ ...asked, tools }).finalMessage()
        : await client.messages.create({ ...asked, tools });
      const use = first.content.at(-1);
      assert.deepEqual([first.stop_reason, use.name, use.input], ["tool_use", "get_weather", { place: "demo" }]);
      const result = { role: "user", content: [{ type: "tool_result", tool_use_id: use.id, content: "sunny" }] };
      const turns = [...messages, { role: "assistant", content: first.content }, result];
      const second = await client.messages.create({ ...asked, tools, messages: turns });
      assert.equal(second.content[0].text, "You said: sunny");
    });
  }
}

test("counts tokens", async () => {
  assert.ok((await client.messages.countTokens({ model: "auto", messages })).input_tokens > 5);
});

test("lists models", async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  assert.equal(names[0], "auto");
});

for (const [apiKey, status] of refusals) {
  test(`a refusal with ${status} is its own error`, async () => {
    const { AuthenticationError, APIError, RateLimitError } = Anthropic;
    const kind = { 401: AuthenticationError, 402: APIError, 429: RateLimitError }[status];
    const asked = client.withOptions({ apiKey }).messages.create({ model: "claude-haiku", max_tokens: 9, messages });
    await assert.rejects(asked, (error) => error instanceof kind && error.status === status);
  });
}
