"""A client of the Python SDK that does a list of steps and prints what it saw as JSON.

    client.py sse|http|stdio TARGET [--steps JSON] [--clients N] [--declare roots,sampling,elicitation] [--content JSON] [--header NAME=VALUE]...

TARGET is a URL, or for stdio a JSON array of command and arguments. A step is one of

    {"tools": true} {"resources": true} {"prompts": true}   list them
    {"call": NAME, "arguments": {...}, "delay": s}   call a tool, with a progress token
    {"cancel": NAME, "arguments": {...}}             call a tool, and cancel that at its first progress
    {"read": URI} {"prompt": NAME, "arguments": {...}} {"level": LEVEL} {"ping": true}
    {"subscribe": URI} {"unsubscribe": URI}
    {"expect": EVENT}   wait until it has happened: the method of a list_changed, or that of an update and its URI

With --content elicitations are accepted with that, else declined.

With --clients N, N sessions run in this process; each step starts in all of them at the same moment, and "{i}" in a step is the
session's number; with "turn": true the sessions do the step one after the other. The SDK numbers requests from 0 in every session, so equal ids (and progress tokens) are the rule, not chance.
The output is a list with one object per session.
"""

import argparse
import asyncio
import json
import time
from contextlib import asynccontextmanager
from datetime import timedelta

import mcp.types as types
from mcp import ClientSession, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client

DEADLINE = 60


@asynccontextmanager
async def connect(transport, target, headers):
    if transport == "sse":
        async with sse_client(target, headers=headers) as (read, write):
            yield read, write
    elif transport == "http":
        async with streamablehttp_client(target, headers=headers) as (read, write, _):
            yield read, write
    else:
        command, *arguments = json.loads(target)
        parameters = StdioServerParameters(command=command, args=arguments)
        async with stdio_client(parameters) as (read, write):
            yield read, write


class Client:
    def __init__(self, number, options, barrier, turn):
        self.number = number
        self.options = options
        self.barrier = barrier
        self.turn = turn
        self.notifications = []
        self.events = []
        self.logs = []
        self.asked = []
        self.results = []
        self.news = asyncio.Event()

    async def on_message(self, message):
        if isinstance(message, types.ServerNotification):
            method = message.root.method
            self.notifications.append(method)
            if isinstance(message.root, types.ResourceUpdatedNotification):
                self.events.append(f"{method} {message.root.params.uri}")
            elif method.endswith("/list_changed"):
                self.events.append(method)
            self.news.set()
        elif isinstance(message, Exception):
            self.notifications.append(f"exception: {message!r}")

    async def on_log(self, params):
        self.logs.append({"level": params.level, "data": params.data})

    async def on_sampling(self, context, params):
        self.asked.append("sampling/createMessage")
        text = types.TextContent(type="text", text=f"sampled by client-{self.number}.")
        return types.CreateMessageResult(role="assistant", content=text, model="none")

    async def on_elicitation(self, context, params):
        self.asked.append("elicitation/create")
        if self.options.content is None:
            return types.ElicitResult(action="decline")
        return types.ElicitResult(action="accept", content=self.options.content)

    async def on_roots(self, context):
        self.asked.append("roots/list")
        root = types.Root(uri=f"file:///client-{self.number}.", name=f"client-{self.number}.")
        return types.ListRootsResult(roots=[root])

    async def run(self):
        declare = self.options.declare
        headers = dict(header.split("=", 1) for header in self.options.header)
        async with connect(self.options.transport, self.options.target, headers) as streams:
            async with ClientSession(
                *streams,
                read_timeout_seconds=timedelta(seconds=DEADLINE),
                message_handler=self.on_message,
                logging_callback=self.on_log,
                sampling_callback=self.on_sampling if "sampling" in declare else None,
                elicitation_callback=self.on_elicitation if "elicitation" in declare else None,
                list_roots_callback=self.on_roots if "roots" in declare else None,
            ) as session:
                start = time.monotonic()
                self.initialized = await session.initialize()
                self.initialize_ms = (time.monotonic() - start) * 1000
                for step in json.loads(self.options.steps.replace("{i}", str(self.number))):
                    await self.barrier.wait()
                    try:
                        if step.get("turn"):
                            async with self.turn:
                                result = await self.step(session, step)
                        else:
                            result = await self.step(session, step)
                    except Exception as error:
                        result = {"exception": str(error)}
                    self.results.append(result)
                await self.barrier.wait()
        return self.facts()

    async def step(self, session, step):
        await asyncio.sleep(step.get("delay", 0))
        if "tools" in step:
            listed = await session.list_tools()
            return dump(listed)["tools"]
        if "resources" in step:
            return dump(await session.list_resources())["resources"]
        if "prompts" in step:
            return dump(await session.list_prompts())["prompts"]
        if "call" in step:
            return await self.call(session, step["call"], step.get("arguments", {}))
        if "cancel" in step:
            return await self.cancel(session, step["cancel"], step.get("arguments", {}))
        if "read" in step:
            return dump(await session.read_resource(step["read"]))
        if "prompt" in step:
            return dump(await session.get_prompt(step["prompt"], step.get("arguments")))
        if "level" in step:
            return dump(await session.set_logging_level(step["level"]))
        if "subscribe" in step:
            return dump(await session.subscribe_resource(step["subscribe"]))
        if "unsubscribe" in step:
            return dump(await session.unsubscribe_resource(step["unsubscribe"]))
        if "ping" in step:
            return dump(await session.send_ping())
        if "expect" in step:
            async with asyncio.timeout(DEADLINE):
                while step["expect"] not in self.events:
                    self.news.clear()
                    await self.news.wait()
            return {}
        raise ValueError(f"unknown step {step}")

    async def call(self, session, name, arguments, begun=None):
        progress = []

        async def on_progress(done, total, message):
            progress.append({"progress": done, "total": total, "message": message})
            if begun:
                begun.set()

        result = await session.call_tool(name, arguments, progress_callback=on_progress)
        texts = [part.text for part in result.content if part.type == "text"]
        return {**dump(result), "text": "\n".join(texts), "progress": progress}

    async def cancel(self, session, name, arguments):
        # this SDK leaves it to its user to say that nobody waits any more
        number = session._request_id
        begun = asyncio.Event()
        call = asyncio.create_task(self.call(session, name, arguments, begun))
        await begun.wait()
        params = types.CancelledNotificationParams(requestId=number)
        await session.send_notification(types.ClientNotification(types.CancelledNotification(params=params)))
        call.cancel()
        await asyncio.wait([call])
        return {"cancelled": call.cancelled()}

    def facts(self):
        return {
            "version": self.initialized.protocolVersion,
            "initialized": dump(self.initialized),
            "initialize_ms": self.initialize_ms,
            "results": self.results,
            "events": self.events,
            "notifications": self.notifications,
            "logs": self.logs,
            "asked": self.asked,
        }


def dump(model):
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("transport", choices=["sse", "http", "stdio"])
    parser.add_argument("target")
    parser.add_argument("--steps", default='[{"tools": true}]')
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--declare", type=lambda text: text.split(","), default=[])
    parser.add_argument("--content", type=json.loads)
    parser.add_argument("--header", action="append", default=[])
    options = parser.parse_args()
    barrier = asyncio.Barrier(options.clients)
    turn = asyncio.Lock()
    clients = [Client(number, options, barrier, turn) for number in range(options.clients)]
    async with asyncio.timeout(DEADLINE * 2):
        print(json.dumps(await asyncio.gather(*(client.run() for client in clients))))


asyncio.run(main())
