import asyncio
import sys

import aiomqtt

HOST, PORT, TOPIC = sys.argv[1], int(sys.argv[2]), sys.argv[3]


async def main() -> None:
    async with aiomqtt.Client(hostname=HOST, port=PORT) as client:
        await client.publish(f"{TOPIC}/louie/status", b"quack")


asyncio.run(main())
