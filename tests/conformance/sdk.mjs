// The packages of the TypeScript SDK: those beside the node that runs this, which `tests/run` installs together.

import { createRequire } from "node:module";

const require = createRequire(process.execPath);

/** `server`, `server/stdio` and `node` of `@modelcontextprotocol`, or `zod`. */
export function sdk(name) {
  return require(name === "zod" ? name : `@modelcontextprotocol/${name}`);
}
