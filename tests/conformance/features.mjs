// What the server scenarios of the conformance suite ask for: tools, prompts, resources and completions under the names that they know.
//
// A tool that needs something of the client returns `input_required`. To a modern client that is the result; for a legacy one the SDK
// sends real sampling, elicitation and roots requests, and calls the tool again with what came back.

import { sdk } from "./sdk.mjs";

const { McpServer, ResourceTemplate, acceptedContent, completable, createRequestStateCodec } = sdk("server");
const { fromJsonSchema, inputRequired, inputResponse } = sdk("server");
const z = sdk("zod");

/** A red pixel, and an empty wave file. */
const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
const WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=";

/** Signs `requestState`; every process of this server knows the key, so that a retry may reach any of them. */
const states = createRequestStateCodec({ key: "a key of at least thirty-two bytes" });

const CAPABILITIES = "io.modelcontextprotocol/clientCapabilities";

/** JSON Schema 2020-12 in a tool's own words, which must survive every hop (SEP-1613, SEP-2106). */
const RICH_SCHEMA = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  $defs: {
    address: {
      $anchor: "addressDef",
      type: "object",
      properties: { street: { type: "string" }, city: { type: "string" } },
    },
  },
  properties: {
    name: { type: "string" },
    address: { $ref: "#/$defs/address" },
    contactMethod: { type: "string", enum: ["phone", "email"] },
    phone: { type: "string" },
    email: { type: "string" },
  },
  allOf: [{ anyOf: [{ required: ["phone"] }, { required: ["email"] }] }],
  if: { properties: { contactMethod: { const: "phone" } }, required: ["contactMethod"] },
  then: { required: ["phone"] },
  else: { required: ["email"] },
  additionalProperties: false,
};

/** A server with everything registered. `changed` tells clients of changed lists where the server itself has no way to. */
export function createServer(changed) {
  const server = new McpServer(
    { name: "conformance", version: "1.0.0" },
    {
      capabilities: {
        tools: { listChanged: true },
        prompts: { listChanged: true },
        resources: { listChanged: true, subscribe: true },
        logging: {},
        completions: {},
      },
      requestState: { verify: states.verify },
    },
  );
  addContents(server);
  addNotifying(server, changed ?? ownChanges(server));
  addAsking(server);
  addRounds(server);
  addPrompts(server);
  addResources(server);
  return server;
}

/** Tools whose result is all there is to them. */
function addContents(server) {
  const tool = (name, ...content) => server.registerTool(name, { description: name }, () => ({ content }));
  tool("test_simple_text", text("This is a simple text response for testing."));
  tool("test_image_content", image());
  tool("test_audio_content", { type: "audio", data: WAV, mimeType: "audio/wav" });
  tool("test_embedded_resource", embedded("test://embedded-resource", "text/plain", "This is an embedded resource content."));
  tool(
    "test_multiple_content_types",
    text("Multiple content types test:"),
    image(),
    embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
  );
  server.registerTool("test_error_handling", { description: "Always fails." }, () => {
    throw new Error("This tool intentionally returns an error for testing");
  });
  server.registerTool(
    "json_schema_2020_12_tool",
    { description: "Has a schema with many keywords.", inputSchema: fromJsonSchema(RICH_SCHEMA) },
    (contact) => says(JSON.stringify(contact)),
  );
  const region = z.string().meta({ "x-mcp-header": "Region" });
  server.registerTool(
    "test_x_mcp_header",
    { description: "Has an argument that is a header, too.", inputSchema: z.object({ region }) },
    ({ region }) => says(`In ${region}.`),
  );
}

/** Tools that say something before they answer. */
function addNotifying(server, changed) {
  const nothing = z.object({});
  const tool = (name, description, call) => server.registerTool(name, { description, inputSchema: nothing }, call);
  tool("test_tool_with_logging", "Logs three times.", async (_, { mcpReq }) => {
    await mcpReq.log("info", "Tool execution started");
    await pause();
    await mcpReq.log("info", "Tool processing data");
    await pause();
    await mcpReq.log("info", "Tool execution completed");
    return says("Tool with logging executed successfully");
  });
  tool("test_logging_tool", "Logs once.", async (_, { mcpReq }) => {
    await mcpReq.log("info", "Seen by who asked for it");
    return says("Logging evaluated");
  });
  tool("test_tool_with_progress", "Reports progress.", async (_, { mcpReq }) => {
    const progressToken = mcpReq._meta?.progressToken;
    for (const progress of [0, 50, 100]) {
      if (progress > 0) await pause();
      if (progressToken === undefined) continue;
      await mcpReq.notify({ method: "notifications/progress", params: { progressToken, progress, total: 100 } });
    }
    return says("Tool with progress executed successfully");
  });
  tool("test_reconnection", "Closes its stream where it has one, and answers on the next.", async (_, { mcpReq, http }) => {
    await mcpReq.log("info", "What comes first makes the response a stream");
    http?.closeSSE?.();
    await pause();
    return says("Answered after the stream was closed");
  });
  tool("test_trigger_tool_change", "Says that the tools changed.", async () => {
    await changed.toolsChanged();
    return says("Tools changed");
  });
  tool("test_trigger_prompt_change", "Says that the prompts changed.", async () => {
    await changed.promptsChanged();
    return says("Prompts changed");
  });
}

function ownChanges({ server }) {
  return { toolsChanged: () => server.sendToolListChanged(), promptsChanged: () => server.sendPromptListChanged() };
}

/** Tools that ask the client once. */
function addAsking(server) {
  const tool = (name, inputSchema, inputRequests, done) =>
    server.registerTool(name, { description: `Asks, then answers: ${name}.`, inputSchema }, (args, { mcpReq }) => {
      const requests = inputRequests(args);
      const views = Object.keys(requests).map((key) => inputResponse(mcpReq.inputResponses, key));
      const missing = views.some((view) => view.kind === "missing");
      return missing ? inputRequired({ inputRequests: requests }) : says(done(...views));
    });
  const nothing = z.object({});
  const elicited = ({ action, content }) => `action=${action}, content=${JSON.stringify(content)}`;
  const sampled = ({ result }) => `LLM response: ${result.content.text}`;

  tool("test_sampling", z.object({ prompt: z.string() }), ({ prompt }) => ({ answer: sample(prompt) }), sampled);
  tool(
    "test_elicitation",
    z.object({ message: z.string() }),
    ({ message }) => {
      const field = (description) => ({ type: "string", description });
      const properties = { username: field("User's response"), email: field("User's email address") };
      return { user: elicit(message, properties, ["username", "email"]) };
    },
    (view) => `User response: ${elicited(view)}`,
  );
  tool(
    "test_elicitation_sep1034_defaults",
    nothing,
    () => ({
      person: elicit("Please review and update the form fields with defaults", {
        name: { type: "string", description: "User name", default: "John Doe" },
        age: { type: "integer", description: "User age", default: 30 },
        score: { type: "number", description: "User score", default: 95.5 },
        status: { type: "string", description: "User status", enum: ["active", "inactive", "pending"], default: "active" },
        verified: { type: "boolean", description: "Verification status", default: true },
      }),
    }),
    (view) => `Elicitation completed: ${elicited(view)}`,
  );
  tool(
    "test_elicitation_sep1330_enums",
    nothing,
    () => {
      const names = ["First", "Second", "Third"];
      const options = ["option1", "option2", "option3"];
      const titled = (noun) => names.map((name, n) => ({ const: `value${n + 1}`, title: `${name} ${noun}` }));
      return {
        choice: elicit("Please select options from the enum fields", {
          untitledSingle: { type: "string", enum: options },
          titledSingle: { type: "string", oneOf: titled("Option") },
          legacyEnum: { type: "string", enum: ["opt1", "opt2", "opt3"], enumNames: ["Option One", "Option Two", "Option Three"] },
          untitledMulti: { type: "array", items: { type: "string", enum: options } },
          titledMulti: { type: "array", items: { anyOf: titled("Choice") } },
        }),
      };
    },
    (view) => `Elicitation completed: ${elicited(view)}`,
  );
  tool("test_streaming_elicitation", nothing, () => ({ value: askFor("value", "A value, please") }), elicited);
  tool("test_missing_capability", nothing, () => ({ answer: sample("Needs sampling") }), sampled);
  tool("test_input_required_result_sampling", nothing, () => ({ capital_question: sample("What is the capital of France?") }), sampled);
  tool("test_input_required_result_list_roots", nothing, () => ({ client_roots: inputRequired.listRoots() }), ({ roots }) =>
    JSON.stringify(roots),
  );
}

/** Tools of multi round-trip requests (SEP-2322) that look closer at what comes back. */
function addRounds(server) {
  const tool = (name, call) =>
    server.registerTool(name, { description: `Multi round-trip: ${name}.`, inputSchema: z.object({}) }, (_, context) => call(context));

  tool("test_input_required_result_elicitation", ({ mcpReq }) => {
    const { name } = acceptedContent(mcpReq.inputResponses, "user_name") ?? {};
    if (name !== undefined) return says(`Hello, ${name}!`);
    return inputRequired({ inputRequests: { user_name: askFor("name", "What is your name?") } });
  });
  for (const name of ["test_input_required_result_request_state", "test_input_required_result_tampered_state"]) {
    tool(name, async ({ mcpReq }) => {
      const confirmed = acceptedContent(mcpReq.inputResponses, "confirm");
      if (confirmed && mcpReq.requestState()?.tool === name) return says("state-ok: verified");
      const inputRequests = { confirm: elicit("Please confirm", { ok: { type: "boolean" } }, ["ok"]) };
      return inputRequired({ inputRequests, requestState: await states.mint({ tool: name }) });
    });
  }
  tool("test_input_required_result_multiple_inputs", async ({ mcpReq }) => {
    const inputRequests = {
      user_name: askFor("name", "What is your name?"),
      greeting: sample("Generate a greeting"),
      client_roots: inputRequired.listRoots(),
    };
    const kinds = Object.keys(inputRequests).map((key) => inputResponse(mcpReq.inputResponses, key).kind);
    if (!kinds.includes("missing")) return says(`Received ${kinds.join(", ")}`);
    return inputRequired({ inputRequests, requestState: await states.mint({ kinds }) });
  });
  tool("test_input_required_result_multi_round", async ({ mcpReq }) => {
    const state = mcpReq.requestState() ?? { name: undefined };
    const name = state.name ?? acceptedContent(mcpReq.inputResponses, "step1")?.name;
    const color = acceptedContent(mcpReq.inputResponses, "step2")?.color;
    if (name !== undefined && color !== undefined) return says(`${name} likes ${color}`);
    const inputRequests =
      name === undefined
        ? { step1: askFor("name", "Step 1: What is your name?") }
        : { step2: askFor("color", "Step 2: What is your favorite color?") };
    return inputRequired({ inputRequests, requestState: await states.mint({ name }) });
  });
  tool("test_input_required_result_capabilities", ({ mcpReq }) => {
    const received = Object.keys(mcpReq.inputResponses ?? {});
    if (received.length > 0) return says(`Received ${received.join(", ")}`);
    const declared = mcpReq.envelope?.[CAPABILITIES] ?? server.server.getClientCapabilities() ?? {};
    const inputRequests = {};
    if (declared.elicitation) inputRequests.elicited = askFor("value", "A value, please");
    if (declared.sampling) inputRequests.sampled = sample("Say something");
    if (Object.keys(inputRequests).length === 0) return says("The client can't be asked");
    return inputRequired({ inputRequests });
  });
}

function addPrompts(server) {
  const user = (content) => ({ role: "user", content });
  const prompt = (name, argsSchema, messages) =>
    server.registerPrompt(name, { description: name, argsSchema }, (args) => ({ messages: messages(args).map(user) }));
  const topics = ["paris", "park", "party"];
  const topic = completable(z.string(), (start) => topics.filter((topic) => topic.startsWith(start)));

  prompt("test_simple_prompt", z.object({}), () => [text("This is a simple prompt for testing.")]);
  prompt("test_prompt_with_arguments", z.object({ arg1: topic, arg2: z.string() }), ({ arg1, arg2 }) => [
    text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`),
  ]);
  prompt("test_prompt_with_embedded_resource", z.object({ resourceUri: z.string() }), ({ resourceUri }) => [
    embedded(resourceUri, "text/plain", "Embedded resource content for testing."),
    text("Please process the embedded resource above."),
  ]);
  prompt("test_prompt_with_image", z.object({}), () => [image(), text("Please analyze the image above.")]);
  const asking = { description: "Asks for its context.", argsSchema: z.object({}) };
  server.registerPrompt("test_input_required_result_prompt", asking, (_, { mcpReq }) => {
    const { context } = acceptedContent(mcpReq.inputResponses, "user_context") ?? {};
    if (context !== undefined) return { messages: [user(text(`Use this context: ${context}`))] };
    return inputRequired({ inputRequests: { user_context: askFor("context", "What context should the prompt use?") } });
  });
}

function addResources(server) {
  const resource = (name, uri, mimeType, content) => {
    const read = () => ({ contents: [{ uri, mimeType, ...content }] });
    server.registerResource(name, uri, { description: name, mimeType }, read);
  };
  resource("static-text", "test://static-text", "text/plain", { text: "This is the content of the static text resource." });
  resource("static-binary", "test://static-binary", "image/png", { blob: PNG });
  resource("watched-resource", "test://watched-resource", "text/plain", { text: "Watched resource content" });
  const template = new ResourceTemplate("test://template/{id}/data", { list: undefined });
  const mimeType = "application/json";
  server.registerResource("template", template, { description: "By id.", mimeType }, (uri, { id }) => {
    const data = { id, templateTest: true, data: `Data for ID: ${id}` };
    return { contents: [{ uri: uri.href, mimeType, text: JSON.stringify(data) }] };
  });
  // subscribers are the transport's affair in the modern era; in the legacy one the SDK leaves them to the server
  server.server.setRequestHandler("resources/subscribe", () => ({}));
  server.server.setRequestHandler("resources/unsubscribe", () => ({}));
}

function elicit(message, properties, required) {
  return inputRequired.elicit({ message, requestedSchema: { type: "object", properties, required } });
}

/** An elicitation of one string. */
function askFor(name, message) {
  return elicit(message, { [name]: { type: "string" } }, [name]);
}

function sample(prompt) {
  return inputRequired.createMessage({ messages: [{ role: "user", content: text(prompt) }], maxTokens: 100 });
}

function says(words) {
  return { content: [text(words)] };
}

function text(words) {
  return { type: "text", text: words };
}

function image() {
  return { type: "image", data: PNG, mimeType: "image/png" };
}

function embedded(uri, mimeType, words) {
  return { type: "resource", resource: { uri, mimeType, text: words } };
}

function pause() {
  return new Promise((resolve) => setTimeout(resolve, 50));
}
