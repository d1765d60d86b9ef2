// A server of either era over stdio: server.mjs legacy|modern
//
// It has what the conformance suite's server has, and what tells whether a client is heard: a tool that goes on until it is cancelled,
// and then says so on stderr, and one after which a resource has changed.

import { createServer } from "../conformance/features.mjs";
import { sdk } from "../conformance/sdk.mjs";

const { StdioServerTransport, serveStdio } = sdk("server/stdio");
const z = sdk("zod");

/** Reports of progress after which a call ends that nobody cancels: ten seconds of them. */
const PATIENCE = 200;

function create() {
  const server = createServer();
  const tool = (name, description, call) => server.registerTool(name, { description, inputSchema: z.object({}) }, call);
  tool("test_until_cancelled", "Goes on until it is cancelled.", async (_, { mcpReq }) => {
    const progressToken = mcpReq._meta?.progressToken;
    for (let progress = 1; progress <= PATIENCE; progress += 1) {
      if (mcpReq.signal.aborted) {
        console.error("stopped: test_until_cancelled");
        break;
      }
      await mcpReq.notify({ method: "notifications/progress", params: { progressToken, progress } });
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return { content: [{ type: "text", text: "Nobody cancelled" }] };
  });
  tool("test_change_watched", "Changes the watched resource.", async () => {
    await server.server.sendResourceUpdated({ uri: "test://watched-resource" });
    return { content: [{ type: "text", text: "Changed" }] };
  });
  return server;
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
