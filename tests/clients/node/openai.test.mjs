// The `openai` package for Node with nothing changed but baseURL and apiKey.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { hello, key, messages, models, place, refusals, said, url } from "./setup.mjs";

const client = new OpenAI({ baseURL: url, apiKey: key, maxRetries: 0 });
const tools = [{ type: "function", function: { name: "get_weather", parameters: place } }];

for (const model of models) {
  test(`chats with ${model}`, async () => {
    const answer = await client.chat.completions.create({ model, messages });
    assert.equal(answer.choices[0].message.content, said);
    assert.ok(answer.usage.total_tokens > 0);
  });

  test(`streams from ${model}`, async () => {
    const options = { include_usage: true };
    const stream = await client.chat.completions.create({ model, messages, stream: true, stream_options: options });
    let text = "", usage = null;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? "";
      usage = chunk.usage ?? usage;
    }
    assert.equal(text, said);
    assert.ok(usage.completion_tokens > 0);
  });

  test(`a helper runs a tool for ${model}`, async () => {
    const asked = [];
    const get_weather = ({ place }) => (asked.push(place), "sunny");
    const wrapped = { type: "function", function: { ...tools[0].function, function: get_weather, parse: JSON.parse } };
    const runner = client.chat.completions.runTools({ model, messages, tools: [wrapped] });
    assert.equal(await runner.finalContent(), "You said: sunny");
    assert.deepEqual(asked, ["demo"]);
  });

  test(`parses what ${model} says`, async () => {
    const response_format = zodResponseFormat(z.object({ city: z.string() }), "place");
    const answer = await client.chat.completions.parse({ model, messages, response_format });
    assert.deepEqual(answer.choices[0].message.parsed, { city: "demo" });
  });

  test(`responds as ${model}`, async () => {
    const response = await client.responses.create({ model, input: hello });
    assert.equal(response.output_text, said);
  });

  test(`streams a response of ${model}`, async () => {
    const stream = client.responses.stream({ model, input: hello });
    let text = "";
    for await (const event of stream) if (event.type === "response.output_text.delta") text += event.delta;
    assert.equal(text, said);
    assert.equal((await stream.finalResponse()).status, "completed");
  });
}

test("embeds", async () => {
  const { data } = await client.embeddings.create({ model: "vectors", input: ["a", "b", "a"] });
  assert.deepEqual(data[0].embedding, data[2].embedding);
  assert.notDeepEqual(data[0].embedding, data[1].embedding);
});

test("completes a text", async () => {
  const answer = await client.completions.create({ model: "gpt-terra", prompt: hello });
  assert.ok(answer.choices[0].text);
});

test("lists models", async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  assert.equal(names[0], "auto");
});

for (const [apiKey, status] of refusals) {
  test(`a refusal with ${status} is its own error`, async () => {
    const kind = { 401: OpenAI.AuthenticationError, 402: OpenAI.APIError, 429: OpenAI.RateLimitError }[status];
    const asked = client.withOptions({ apiKey }).chat.completions.create({ model: "gpt-terra", messages });
    await assert.rejects(asked, (error) => error instanceof kind && error.status === status);
  });
}
