"""A server of the Python SDK 2 over stdio, which serves both eras and is taken for a modern one.

It has those tools, prompts and resources of server.mjs beside it that the matrix of eras asks for.
"""

import asyncio
import json
import sys
from typing import Annotated

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.resolve import Elicit, ListRoots, Resolve, Sample
from mcp_types import CreateMessageResult, ListRootsResult, SamplingMessage, TextContent
from pydantic import BaseModel

server = MCPServer("eras")


class Person(BaseModel):
    username: str
    email: str


def ask_who(message: str) -> Elicit[Person]:
    return Elicit(message, Person)


def ask_model(prompt: str) -> Sample:
    return Sample([SamplingMessage(role="user", content=TextContent(type="text", text=prompt))], max_tokens=100)


def ask_roots() -> ListRoots:
    return ListRoots()


@server.tool()
def test_simple_text() -> str:
    return "This is a simple text response for testing."


@server.tool()
def test_elicitation(message: str, who: Annotated[Person, Resolve(ask_who)]) -> str:
    return f"action=accept, content={json.dumps(who.model_dump(), separators=(',', ':'))}"


@server.tool()
def test_sampling(prompt: str, answer: Annotated[CreateMessageResult, Resolve(ask_model)]) -> str:
    return f"LLM response: {answer.content.text}"


@server.tool()
def test_input_required_result_list_roots(roots: Annotated[ListRootsResult, Resolve(ask_roots)]) -> str:
    return json.dumps([str(root.uri) for root in roots.roots])


@server.tool()
async def test_slow_progress(ctx: Context) -> str:
    for progress in range(1, 4):
        await ctx.report_progress(progress, 3)
        await asyncio.sleep(0.25)
    return "Done"


@server.tool()
async def test_until_cancelled(ctx: Context) -> str:
    try:
        for progress in range(1, 201):
            await ctx.report_progress(progress)
            await asyncio.sleep(0.05)
    except asyncio.CancelledError:
        print("stopped: test_until_cancelled", file=sys.stderr, flush=True)
        raise
    return "Nobody cancelled"


@server.tool()
async def test_trigger_tool_change(ctx: Context) -> str:
    await ctx.notify_tools_changed()
    return "Tools changed"


@server.tool()
async def test_change_watched(ctx: Context) -> str:
    await ctx.notify_resource_updated("test://watched-resource")
    return "Changed"


@server.resource("test://static-text")
def static_text() -> str:
    return "This is the content of the static text resource."


@server.resource("test://watched-resource")
def watched_resource() -> str:
    return "Watched resource content"


@server.resource("test://template/{id}/data")
def template(id: str) -> str:
    return f"Data for ID: {id}"


@server.prompt()
def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


server.run()
