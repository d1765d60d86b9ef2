"""A client of the openai SDK that sends requests and prints what it got as JSON.

    openai_client.py MODE BASE_URL REQUEST [--count N]

The key is taken from OPENAI_API_KEY. REQUEST is a JSON object with the arguments of the SDK's method. MODE is one of

    chat               chat.completions.create
    chat-stream        the same with stream=True: all chunks as they came
    chat-accumulated   chat.completions.stream: what the SDK makes of the chunks
    responses          responses.create
    responses-stream   responses.stream: all events as they came, and what the SDK makes of them
    models             models.list, and models.retrieve for each

With --count N, N requests run at once, and "{i}" in REQUEST is the request's number. The output is a list with one object per
request. What the SDK raises stands under "error", beside what had come before.
"""

import argparse
import asyncio
import json

from openai import APIError, AsyncOpenAI


def plain(model):
    return model.model_dump(mode="json", exclude_unset=True)


async def chat(client, request, facts):
    facts["completion"] = plain(await client.chat.completions.create(**request))


async def chat_stream(client, request, facts):
    facts["chunks"] = []
    async for chunk in await client.chat.completions.create(stream=True, **request):
        facts["chunks"].append(plain(chunk))


async def chat_accumulated(client, request, facts):
    facts["events"] = []
    async with client.chat.completions.stream(**request) as stream:
        async for event in stream:
            facts["events"].append(event.type)
        facts["completion"] = plain(await stream.get_final_completion())


async def responses(client, request, facts):
    response = await client.responses.create(**request)
    facts["response"] = plain(response)
    facts["output_text"] = response.output_text


async def responses_stream(client, request, facts):
    facts["events"] = []
    async with client.responses.stream(**request) as stream:
        async for event in stream:
            facts["events"].append(plain(event))
        response = await stream.get_final_response()
        facts["response"] = plain(response)
        facts["output_text"] = response.output_text


async def models(client, request, facts):
    facts["models"] = [plain(model) async for model in client.models.list(**request)]
    names = [model["id"] for model in facts["models"]]
    facts["retrieved"] = [plain(await client.models.retrieve(name, **request)) for name in names]


MODES = {
    "chat": chat,
    "chat-stream": chat_stream,
    "chat-accumulated": chat_accumulated,
    "responses": responses,
    "responses-stream": responses_stream,
    "models": models,
}


async def one(client, options, number):
    facts = {}
    request = json.loads(options.request.replace("{i}", str(number)))
    try:
        await MODES[options.mode](client, request, facts)
    except (APIError, RuntimeError) as error:
        status = getattr(error, "status_code", None)
        facts["error"] = {"class": type(error).__name__, "message": str(error), "status": status}
    return facts


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("url")
    parser.add_argument("request")
    parser.add_argument("--count", type=int, default=1)
    options = parser.parse_args()
    # a retry would hide a failure
    async with AsyncOpenAI(base_url=options.url, max_retries=0, timeout=120) as client:
        everyone = [one(client, options, number) for number in range(options.count)]
        print(json.dumps(await asyncio.gather(*everyone)))


asyncio.run(main())
