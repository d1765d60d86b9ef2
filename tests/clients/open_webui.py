"""MCP as Open WebUI uses it: the SDK's newest client, which asks for `server/discover` before anything else.

    open_webui.py URL KEY TOOL ARGUMENTS

Connects anew for listing and for calling, as Open WebUI does for each message. Prints a list with one object: the names of all
tools, and the result of calling TOOL.
"""

import asyncio
import json
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client


def connect(url, key):
    http_client = httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=httpx2.Timeout(30, read=300))
    return Client(streamable_http_client(url, http_client=http_client), read_timeout_seconds=10)


async def main():
    url, key, tool, arguments = sys.argv[1:]
    names = []
    async with connect(url, key) as client:
        cursor = None
        while True:
            page = await client.list_tools(cursor=cursor)
            names.extend(tool.name for tool in page.tools)
            cursor = page.next_cursor
            if cursor is None:
                break
    async with connect(url, key) as client:
        result = await client.call_tool(tool, json.loads(arguments))
    result = result.model_dump(mode="json", by_alias=True, exclude_none=True)
    print(json.dumps([{"tools": names, "result": result}]))


asyncio.run(main())
