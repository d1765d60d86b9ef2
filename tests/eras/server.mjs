// A server of either era over stdio: server.mjs legacy|modern
//
// It has what the conformance suite's server has, and tools for what a client has to see or cause: slow reports of progress; a call
// that goes on until it is cancelled, and then says so on stderr; a resource that changes.

import { createServer } from "../conformance/features.mjs";
import { sdk } from "../conformance/sdk.mjs";

const { StdioServerTransport, serveStdio } = sdk("server/stdio");
const z = sdk("zod");

/** Reports of progress after which a call ends that nobody cancels: ten seconds of them. */
const PATIENCE = 200;

function create() {
  const server = createServer();
  const tool = (name, description, call) => server.registerTool(name, { description, inputSchema: z.object({}) }, call);
  tool("test_slow_progress", "Reports progress three times, and takes its time.", async (_, { mcpReq }) => {
    const progressToken = mcpReq._meta?.progressToken;
    for (let progress = 1; progress <= 3; progress += 1) {
      await mcpReq.notify({ method: "notifications/progress", params: { progressToken, progress, total: 3 } });
      await pause(250);
    }
    return { content: [{ type: "text", text: "Done" }] };
  });
  tool("test_until_cancelled", "Goes on until it is cancelled.", async (_, { mcpReq }) => {
    const progressToken = mcpReq._meta?.progressToken;
    for (let progress = 1; progress <= PATIENCE; progress += 1) {
      if (mcpReq.signal.aborted) {
        console.error("stopped: test_until_cancelled");
        break;
      }
      await mcpReq.notify({ method: "notifications/progress", params: { progressToken, progress } });
      await pause(50);
    }
    return { content: [{ type: "text", text: "Nobody cancelled" }] };
  });
  tool("test_change_watched", "Changes the watched resource.", async () => {
    await server.server.sendResourceUpdated({ uri: "test://watched-resource" });
    return { content: [{ type: "text", text: "Changed" }] };
  });
  return server;
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

const serve = {
  legacy: () => create().connect(new StdioServerTransport()),
  modern: () => serveStdio(create, { legacy: "reject" }),
};

const start = serve[process.argv[2]];
if (start === undefined) {
  console.error("usage: server.mjs legacy|modern");
  process.exit(64);
}
await start();
