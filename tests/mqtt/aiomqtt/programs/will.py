import asyncio
import sys

import aiomqtt

HOST, PORT, TOPIC = sys.argv[1], int(sys.argv[2]), sys.argv[3]


async def main() -> None:
    async with aiomqtt.Client(
        hostname=HOST, port=PORT, will=aiomqtt.Will(f"{TOPIC}/louie/status", payload=b"zzzz")
    ) as client:
        await client.subscribe(aiomqtt.TopicFilter(f"{TOPIC}/#", max_qos=aiomqtt.QoS.AT_MOST_ONCE))
        print("subscribed", flush=True)
        async for message in client.messages():
            print(message.payload, flush=True)
            raise RuntimeError("fell asleep")


asyncio.run(main())
