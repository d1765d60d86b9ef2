// A client of the TypeScript SDK 2 in the stateless revision; does a list of steps and prints what it saw as JSON:
//
//   modern.mjs URL STEPS [DECLARE] [CONTENT]
//
// All of them are those of modern.py; the SDK is taken from the folder `modern` below $MCP_TEST_SERVERS.

import { createRequire } from "node:module";

const require = createRequire(`${process.env.MCP_TEST_SERVERS}/modern/`);
const { Client, StreamableHTTPClientTransport } = require("@modelcontextprotocol/client");

const [url, steps, declare = "", content = ""] = process.argv.slice(2);
const DEADLINE = 60_000;

const sent = [];
const events = [];
const asked = [];
const expected = new Map();

const declared = declare.split(",").filter(Boolean);
const client = new Client(
  { name: "wire-test", version: "2" },
  { capabilities: Object.fromEntries(declared.map((name) => [name, {}])), versionNegotiation: { mode: "auto" } },
);
const answers = {
  roots: ["roots/list", { roots: [{ uri: "file:///client-2.", name: "client-2." }] }],
  sampling: [
    "sampling/createMessage",
    { role: "assistant", content: { type: "text", text: "sampled by client-2." }, model: "none" },
  ],
  elicitation: ["elicitation/create", content ? { action: "accept", content: JSON.parse(content) } : { action: "decline" }],
};
for (const name of declared) {
  const [method, answer] = answers[name];
  client.setRequestHandler(method, () => {
    asked.push(method);
    return answer;
  });
}
for (const list of ["tools", "prompts", "resources"]) {
  const method = `notifications/${list}/list_changed`;
  client.setNotificationHandler(method, () => happened(method));
}
client.setNotificationHandler("notifications/resources/updated", ({ method, params }) => happened(`${method} ${params.uri}`));

function happened(event) {
  events.push(event);
  expected.get(event)?.();
}

/** Notes what is really sent. */
async function noted(url, init) {
  const body = init?.body ? JSON.parse(init.body) : {};
  sent.push([new Headers(init?.headers).get("mcp-protocol-version"), body.method ?? null]);
  return fetch(url, init);
}

async function step(step) {
  if (step.delay) await new Promise((done) => setTimeout(done, step.delay * 1000));
  if (step.tools) return (await client.listTools()).tools;
  if (step.resources) return (await client.listResources()).resources;
  if (step.prompts) return (await client.listPrompts()).prompts;
  if (step.call) return call(step.call, step.arguments);
  if (step.cancel) {
    const abort = new AbortController();
    const options = { signal: abort.signal, onprogress: () => abort.abort("enough") };
    return call(step.cancel, step.arguments, options).then(
      () => ({ cancelled: false }),
      () => ({ cancelled: abort.signal.aborted }),
    );
  }
  if (step.read) return client.readResource({ uri: step.read });
  if (step.prompt) return client.getPrompt({ name: step.prompt, arguments: step.arguments });
  if (step.listen) return (await client.listen(step.listen)).honoredFilter;
  if (step.expect) {
    if (!events.includes(step.expect)) await new Promise((done) => expected.set(step.expect, done));
    return {};
  }
  throw new Error(`unknown step ${JSON.stringify(step)}`);
}

async function call(name, args = {}, options) {
  const progress = [];
  const onprogress = (report) => progress.push(report);
  const result = await client.callTool({ name, arguments: args }, { onprogress, timeout: DEADLINE, ...options });
  const texts = result.content.filter((part) => part.type === "text").map((part) => part.text);
  return { ...result, text: texts.join("\n"), progress };
}

const results = [];
await client.connect(new StreamableHTTPClientTransport(new URL(url), { fetch: noted }));
for (const one of JSON.parse(steps)) {
  results.push(await step(one).catch((error) => ({ exception: String(error) })));
}
const version = client.getNegotiatedProtocolVersion();
await client.close();
console.log(JSON.stringify([{ version, sent, results, events, asked }]));
