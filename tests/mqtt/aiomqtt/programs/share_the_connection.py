import asyncio
import sys

import aiomqtt

HOST, PORT, TOPIC = sys.argv[1], int(sys.argv[2]), sys.argv[3]


async def publish_status(client: aiomqtt.Client) -> None:
    await client.publish(f"{TOPIC}/louie/status", b"quack")


async def publish_location(client: aiomqtt.Client) -> None:
    await client.publish(f"{TOPIC}/louie/location", b"sky")


async def main() -> None:
    async with aiomqtt.Client(hostname=HOST, port=PORT) as client:
        await publish_status(client)
        await publish_location(client)


asyncio.run(main())
