"""A client of the Python SDK 2 in the stateless revision; does a list of steps and prints what it saw as JSON.

    modern.py URL STEPS [DECLARE] [CONTENT]

Steps, DECLARE and CONTENT are those of client.py, with

    {"listen": {...}}   open `subscriptions/listen` with this filter, until the end

in place of subscriptions; the output is a list with one object. The SDK asks for `server/discover` and would take up the older
handshake if it had to: "version" is what it settled on, "sent" are the revisions and methods of the requests that it really made.
"""

import asyncio
import json
import sys
from contextlib import AsyncExitStack

import httpx2
import mcp_types as types
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import ResourceUpdated
from mcp.shared.subscriptions import event_to_notification

DEADLINE = 60


class Modern:
    def __init__(self, url, declare, content):
        self.url = url
        self.declare = declare
        self.content = content
        self.sent = []
        self.results = []
        self.events = []
        self.notifications = []
        self.asked = []
        self.news = asyncio.Event()

    async def on_request(self, request):
        body = json.loads(request.content or b"{}")
        self.sent.append([request.headers.get("mcp-protocol-version"), body.get("method")])

    async def on_message(self, message):
        self.notifications.append(repr(message) if isinstance(message, Exception) else message.method)

    async def on_sampling(self, context, params):
        self.asked.append("sampling/createMessage")
        text = types.TextContent(type="text", text="sampled by client-2.")
        return types.CreateMessageResult(role="assistant", content=text, model="none")

    async def on_elicitation(self, context, params):
        self.asked.append("elicitation/create")
        if self.content is None:
            return types.ElicitResult(action="decline")
        return types.ElicitResult(action="accept", content=self.content)

    async def on_roots(self, context):
        self.asked.append("roots/list")
        return types.ListRootsResult(roots=[types.Root(uri="file:///client-2.", name="client-2.")])

    async def run(self, steps):
        hooks = {"request": [self.on_request]}
        async with AsyncExitStack() as self.stack:
            http_client = await self.stack.enter_async_context(httpx2.AsyncClient(timeout=DEADLINE, event_hooks=hooks))
            client = Client(
                streamable_http_client(self.url, http_client=http_client),
                read_timeout_seconds=DEADLINE,
                message_handler=self.on_message,
                sampling_callback=self.on_sampling if "sampling" in self.declare else None,
                elicitation_callback=self.on_elicitation if "elicitation" in self.declare else None,
                list_roots_callback=self.on_roots if "roots" in self.declare else None,
            )
            self.client = await self.stack.enter_async_context(client)
            for step in steps:
                try:
                    self.results.append(await self.step(step))
                except Exception as error:
                    self.results.append({"exception": str(error)})
            return self.facts()

    async def step(self, step):
        await asyncio.sleep(step.get("delay", 0))
        client = self.client
        if "tools" in step:
            return dump(await client.list_tools())["tools"]
        if "resources" in step:
            return dump(await client.list_resources())["resources"]
        if "prompts" in step:
            return dump(await client.list_prompts())["prompts"]
        if "call" in step:
            return await self.call(step["call"], step.get("arguments", {}))
        if "cancel" in step:
            begun = asyncio.Event()
            call = asyncio.create_task(self.call(step["cancel"], step.get("arguments", {}), begun))
            await begun.wait()
            call.cancel()
            await asyncio.wait([call])
            return {"cancelled": call.cancelled()}
        if "read" in step:
            return dump(await client.read_resource(step["read"]))
        if "prompt" in step:
            return dump(await client.get_prompt(step["prompt"], step.get("arguments")))
        if "listen" in step:
            wanted = types.SubscriptionFilter.model_validate(step["listen"])
            lists = {name: value for name, value in wanted if value is not None}
            stream = await self.stack.enter_async_context(client.listen(**lists))
            task = asyncio.create_task(self.listen(stream))
            self.stack.callback(task.cancel)
            return dump(stream.honored)
        if "expect" in step:
            async with asyncio.timeout(DEADLINE):
                while step["expect"] not in self.events:
                    self.news.clear()
                    await self.news.wait()
            return {}
        raise ValueError(f"unknown step {step}")

    async def call(self, name, arguments, begun=None):
        progress = []

        async def on_progress(done, total, message):
            progress.append({"progress": done, "total": total, "message": message})
            if begun:
                begun.set()

        result = await self.client.call_tool(name, arguments, progress_callback=on_progress)
        texts = [part.text for part in result.content if part.type == "text"]
        return {**dump(result), "text": "\n".join(texts), "progress": progress}

    async def listen(self, stream):
        async for event in stream:
            name = event_to_notification(event, {}).method
            self.events.append(f"{name} {event.uri}" if isinstance(event, ResourceUpdated) else name)
            self.news.set()

    def facts(self):
        return {
            "version": self.client.protocol_version,
            "sent": self.sent,
            "results": self.results,
            "events": self.events,
            "notifications": self.notifications,
            "asked": self.asked,
        }


def dump(model):
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


async def main():
    url, steps, declare, content = (*sys.argv[1:], "", "")[:4]
    modern = Modern(url, declare.split(","), json.loads(content) if content else None)
    async with asyncio.timeout(DEADLINE * 2):
        print(json.dumps([await modern.run(json.loads(steps))]))


asyncio.run(main())
