// A server with what the conformance suite's server scenarios ask for: server.mjs legacy|modern stdio|http
//
// Legacy serves `initialize` (up to 2025-11-25) and knows no `server/discover`; modern serves 2026-07-28 alone. Over HTTP it is what the
// SDK's own transports make of it, on a free port of loopback that it prints as `{"url": …}`: the measure that a bridge in front of the
// same server over stdio is held to.

import { randomUUID } from "node:crypto";
import { createServer as createHttpServer } from "node:http";

import { createServer } from "./features.mjs";
import { sdk } from "./sdk.mjs";

const { createMcpHandler } = sdk("server");
const { StdioServerTransport, serveStdio } = sdk("server/stdio");
const { NodeStreamableHTTPServerTransport, localhostHostValidation, localhostOriginValidation, toNodeHandler } = sdk("node");

/** Milliseconds that a legacy client is told to wait before it comes back for the rest of a stream. */
const RETRY = 500;

const serve = {
  legacy: {
    stdio: () => createServer().connect(new StdioServerTransport()),
    http: () => listen(legacySessions()),
  },
  modern: {
    stdio: () => serveStdio(() => createServer(), { legacy: "reject" }),
    http: () => listen(modernRequests()),
  },
};

/** Serves each session of Streamable HTTP by a server of its own. */
function legacySessions() {
  const sessions = new Map();
  return async (request, response) => {
    const id = request.headers["mcp-session-id"];
    let transport = sessions.get(id);
    if (id !== undefined && transport === undefined) {
      response.writeHead(404, { "Content-Type": "application/json" });
      response.end('{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}');
      return;
    }
    if (transport === undefined) {
      transport = new NodeStreamableHTTPServerTransport({
        sessionIdGenerator: randomUUID,
        eventStore: new Events(),
        retryInterval: RETRY,
        onsessioninitialized: (id) => void sessions.set(id, transport),
        onsessionclosed: (id) => void sessions.delete(id),
      });
      await createServer().connect(transport);
    }
    await transport.handleRequest(request, response);
  };
}

/** Serves each request by a server of its own; changed lists go to whoever listens. */
function modernRequests() {
  const handler = createMcpHandler(() => createServer(handler.notify), { legacy: "reject" });
  return toNodeHandler(handler);
}

/** Every event of a session, in order; its id is its place, after its stream's name. */
class Events {
  #events = [];

  async storeEvent(stream, message) {
    const id = `${stream}:${this.#events.length}`;
    this.#events.push({ id, stream, message });
    return id;
  }

  async getStreamIdForEventId(id) {
    return this.#events.find((event) => event.id === id)?.stream;
  }

  async replayEventsAfter(last, { send }) {
    const from = this.#events.findIndex((event) => event.id === last);
    const { stream } = this.#events[from];
    const missed = this.#events.slice(from + 1).filter((event) => event.stream === stream);
    for (const { id, message } of missed) await send(id, message);
    return stream;
  }
}

function listen(handle) {
  const hasOwnHost = localhostHostValidation();
  const hasOwnOrigin = localhostOriginValidation();
  const http = createHttpServer((request, response) => {
    if (hasOwnHost(request, response) && hasOwnOrigin(request, response)) handle(request, response);
  });
  http.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ url: `http://127.0.0.1:${http.address().port}/mcp` })));
}

const [era, transport] = process.argv.slice(2);
const start = serve[era]?.[transport];
if (start === undefined) {
  console.error("usage: server.mjs legacy|modern stdio|http");
  process.exit(64);
}
await start();
