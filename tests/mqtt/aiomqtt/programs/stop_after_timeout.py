import asyncio
import sys

import aiomqtt

HOST, PORT, TOPIC = sys.argv[1], int(sys.argv[2]), sys.argv[3]


async def consume(client: aiomqtt.Client) -> None:
    async for message in client.messages():
        print(message.payload)


async def main() -> None:
    async with aiomqtt.Client(hostname=HOST, port=PORT) as client:
        await client.subscribe(aiomqtt.TopicFilter(f"{TOPIC}/#", max_qos=aiomqtt.QoS.AT_MOST_ONCE))
        await client.publish(f"{TOPIC}/louie/status", b"quack")
        try:
            # Cancel the consumer after two seconds
            async with asyncio.timeout(2):
                await consume(client)
        except asyncio.TimeoutError:
            print("stopped")
        await client.publish(f"{TOPIC}/louie/status", b"still connected")


asyncio.run(main())
