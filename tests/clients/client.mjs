// A client of the TypeScript SDK that does a list of steps and prints what it saw as JSON: client.mjs sse|http|stdio TARGET STEPS [DECLARE]
//
// Steps, TARGET and DECLARE are those of client.py; the SDK is taken from the node folder below $MCP_TEST_SERVERS.

import { createRequire } from "node:module";

const require = createRequire(`${process.env.MCP_TEST_SERVERS}/node/`);
const sdk = (path) => require(`@modelcontextprotocol/sdk/${path}.js`);
const { Client } = sdk("client/index");
const types = sdk("types");

const [kind, target, steps = '[{"tools":true}]', declare = ""] = process.argv.slice(2);

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
const answers = {
  roots: [types.ListRootsRequestSchema, { roots: [{ uri: "file:///client-js", name: "client-js" }] }],
  sampling: [
    types.CreateMessageRequestSchema,
    { role: "assistant", content: { type: "text", text: "sampled by client-js" }, model: "none" },
  ],
  elicitation: [types.ElicitRequestSchema, { action: "decline" }],
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
client.fallbackNotificationHandler = async ({ method }) => {
  notifications.push(method);
};

async function step(step) {
  if (step.delay) await new Promise((done) => setTimeout(done, step.delay * 1000));
  if (step.tools) return (await client.listTools()).tools;
  if (step.call) {
    const progress = [];
    const onprogress = (report) => progress.push(report);
    const call = { name: step.call, arguments: step.arguments ?? {} };
    const result = await client.callTool(call, undefined, { onprogress, timeout: 60_000 });
    const texts = result.content.filter((part) => part.type === "text").map((part) => part.text);
    return { ...result, text: texts.join("\n"), progress };
  }
  if (step.read) return client.readResource({ uri: step.read });
  if (step.prompt) return client.getPrompt({ name: step.prompt, arguments: step.arguments });
  if (step.level) return client.setLoggingLevel(step.level);
  if (step.ping) return client.ping();
  throw new Error(`unknown step ${JSON.stringify(step)}`);
}

const results = [];
const start = performance.now();
await client.connect(transport());
const initialize_ms = performance.now() - start;
for (const one of JSON.parse(steps)) {
  results.push(await step(one).catch((error) => ({ exception: String(error) })));
}
const initialized = {
  serverInfo: client.getServerVersion(),
  capabilities: client.getServerCapabilities(),
  instructions: client.getInstructions(),
};
await client.close();
console.log(JSON.stringify([{ initialized, initialize_ms, results, notifications, logs, asked }]));
