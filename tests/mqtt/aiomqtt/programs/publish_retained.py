import asyncio
import sys

import aiomqtt

HOST, PORT, TOPIC = sys.argv[1], int(sys.argv[2]), sys.argv[3]


async def main() -> None:
    async with aiomqtt.Client(hostname=HOST, port=PORT) as client:
        await client.publish(f"{TOPIC}/louie/status", b"asleep", retain=True)
        await client.subscribe(aiomqtt.TopicFilter(f"{TOPIC}/#"))
        message = await anext(client.messages())
        print(message.payload, message.retain)
        # An empty payload deletes it
        await client.publish(f"{TOPIC}/louie/status", b"", retain=True)


asyncio.run(main())
