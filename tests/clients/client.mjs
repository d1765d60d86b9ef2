// A client of the TypeScript SDK that does a list of steps and prints what it saw as JSON: client.mjs sse|http|stdio TARGET STEPS [DECLARE] [CONTENT]
//
// Steps, TARGET, DECLARE and CONTENT are those of client.py; the SDK is taken from the node folder below $MCP_TEST_SERVERS.

import { createRequire } from "node:module";

const require = createRequire(`${process.env.MCP_TEST_SERVERS}/node/`);
const sdk = (path) => require(`@modelcontextprotocol/sdk/${path}.js`);
const { Client } = sdk("client/index");
const types = sdk("types");

const [kind, target, steps = '[{"tools":true}]', declare = "", content = ""] = process.argv.slice(2);
const DEADLINE = 60_000;

function transport() {
  if (kind === "sse") {
    return new (sdk("client/sse").SSEClientTransport)(new URL(target));
  }
  if (kind === "http") {
    return new (sdk("client/streamableHttp").StreamableHTTPClientTransport)(new URL(target));
  }
  const [command, ...args] = JSON.parse(target);
  return new (sdk("client/stdio").StdioClientTransport)({ command, args });
}

const declared = declare.split(",").filter(Boolean);
const capabilities = Object.fromEntries(declared.map((name) => [name, {}]));
const client = new Client({ name: "wire-test", version: "1" }, { capabilities });
const asked = [];
const logs = [];
const notifications = [];
const events = [];
const expected = new Map();
const answers = {
  roots: [types.ListRootsRequestSchema, { roots: [{ uri: "file:///client-js", name: "client-js" }] }],
  sampling: [
    types.CreateMessageRequestSchema,
    { role: "assistant", content: { type: "text", text: "sampled by client-js" }, model: "none" },
  ],
  elicitation: [types.ElicitRequestSchema, content ? { action: "accept", content: JSON.parse(content) } : { action: "decline" }],
};
for (const name of declared) {
  const [schema, answer] = answers[name];
  client.setRequestHandler(schema, (request) => {
    asked.push(request.method);
    return answer;
  });
}
client.setNotificationHandler(types.LoggingMessageNotificationSchema, ({ params }) => {
  logs.push({ level: params.level, data: params.data });
});
client.fallbackNotificationHandler = async ({ method, params }) => {
  notifications.push(method);
  const event = method === "notifications/resources/updated" ? `${method} ${params.uri}` : method;
  events.push(event);
  expected.get(event)?.();
};

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
  if (step.level) return client.setLoggingLevel(step.level);
  if (step.ping) return client.ping();
  if (step.subscribe) return client.subscribeResource({ uri: step.subscribe });
  if (step.expect) {
    if (!events.includes(step.expect)) await new Promise((done) => expected.set(step.expect, done));
    return {};
  }
  throw new Error(`unknown step ${JSON.stringify(step)}`);
}

async function call(name, args = {}, options) {
  const progress = [];
  const onprogress = (report) => progress.push(report);
  const result = await client.callTool({ name, arguments: args }, undefined, { onprogress, timeout: DEADLINE, ...options });
  const texts = result.content.filter((part) => part.type === "text").map((part) => part.text);
  return { ...result, text: texts.join("\n"), progress };
}

const results = [];
const start = performance.now();
const connection = transport();
await client.connect(connection);
const initialize_ms = performance.now() - start;
for (const one of JSON.parse(steps)) {
  results.push(await step(one).catch((error) => ({ exception: String(error) })));
}
const initialized = {
  serverInfo: client.getServerVersion(),
  capabilities: client.getServerCapabilities(),
  instructions: client.getInstructions(),
};
// this SDK closes no session of its own accord
await connection.terminateSession?.();
await client.close();
console.log(JSON.stringify([{ initialized, initialize_ms, results, events, notifications, logs, asked }]));
