// What the tests share: where the proxy is, what is asked, and the keys it refuses.
export const url = process.env.MUXER_URL;
export const root = url.replace(/\/v1$/, "");
export const key = "sk-test-key-1";
export const models = ["gpt-terra", "claude-haiku", "mistral-small"];
export const hello = "What is the capital of France?";
export const said = `You said: ${hello}`;
export const messages = [{ role: "user", content: hello }];
export const place = { type: "object", properties: { place: { type: "string" } }, required: ["place"] };
export const refusals = [["sk-other", 401], ["sk-poor", 402], ["sk-busy", 429]];
