// Vercel's AI SDK with the OpenAI and Anthropic providers; nothing changed but baseURL and apiKey.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { APICallError, embedMany, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { hello, key, refusals, said, url } from "./setup.mjs";

function opened(apiKey) {
  const openai = createOpenAI({ baseURL: url, apiKey });
  const anthropic = createAnthropic({ baseURL: url, apiKey });
  return {
    "chat to openai": openai.chat("gpt-terra"),
    "chat to claude": openai.chat("claude-haiku"),
    "responses to openai": openai("gpt-terra"),
    "responses to claude": openai("claude-haiku"),
    "messages to claude": anthropic("claude-haiku"),
    "messages to openai": anthropic("gpt-terra"),
  };
}

const tools = {
  get_weather: tool({
    description: "The weather at a place.",
    inputSchema: z.object({ place: z.string() }),
    execute: async ({ place }) => `sunny at ${place}`,
  }),
};

for (const [kind, model] of Object.entries(opened(key))) {
  test(`generates: ${kind}`, async () => {
    const { text, usage, finishReason } = await generateText({ model, prompt: hello, maxRetries: 0 });
    assert.deepEqual([text, finishReason], [said, "stop"]);
    assert.ok(usage.outputTokens > 0);
  });

  test(`streams: ${kind}`, async () => {
    const result = streamText({ model, prompt: hello, maxRetries: 0 });
    let text = "";
    for await (const delta of result.textStream) text += delta;
    assert.equal(text, said);
    assert.ok((await result.usage).outputTokens > 0);
  });

  test(`runs a tool: ${kind}`, async () => {
    const asked = { model, tools, prompt: hello, stopWhen: stepCountIs(3), maxRetries: 0 };
    const { steps, text } = await generateText(asked);
    assert.deepEqual(steps[0].toolCalls.map(({ toolName, input }) => [toolName, input]), [
      ["get_weather", { place: "demo" }],
    ]);
    assert.match(text, /sunny at demo/);
  });

  test(`runs a tool in a stream: ${kind}`, async () => {
    const result = streamText({ model, tools, prompt: hello, stopWhen: stepCountIs(3), maxRetries: 0 });
    let text = "";
    for await (const delta of result.textStream) text += delta;
    assert.match(text, /sunny at demo/);
  });

  test(`structures: ${kind}`, async () => {
    const output = Output.object({ schema: z.object({ city: z.string() }) });
    const result = await generateText({ model, output, prompt: hello, maxRetries: 0 });
    assert.deepEqual(result.output, { city: "demo" });
  });
}

test("embeds", async () => {
  const model = createOpenAI({ baseURL: url, apiKey: key }).embedding("vectors");
  const { embeddings } = await embedMany({ model, values: ["a", "b", "a"], maxRetries: 0 });
  assert.deepEqual(embeddings[0], embeddings[2]);
  assert.notDeepEqual(embeddings[0], embeddings[1]);
});

for (const [apiKey, status] of refusals) {
  for (const [kind, model] of Object.entries(opened(apiKey))) {
    test(`a refusal with ${status} is its own error: ${kind}`, async () => {
      const asked = generateText({ model, prompt: hello, maxRetries: 0 });
      await assert.rejects(asked, (error) => APICallError.isInstance(error) && error.statusCode === status);
    });
  }
}
