import asyncio
import random
import sys

import aiomqtt

HOST, PORT, TOPIC = sys.argv[1], int(sys.argv[2]), sys.argv[3]


async def consume(client: aiomqtt.Client, number: int) -> None:
    async for message in client.messages():
        await asyncio.sleep(random.random() / 100)  # Simulate some I/O-bound work
        print(number, message.payload, flush=True)


async def main() -> None:
    async with aiomqtt.Client(hostname=HOST, port=PORT, receive_max=16) as client:
        await client.subscribe(aiomqtt.TopicFilter(f"{TOPIC}/#", max_qos=aiomqtt.QoS.AT_MOST_ONCE))
        print("subscribed", flush=True)
        async with asyncio.TaskGroup() as tg:
            for number in range(4):  # The number of consumer tasks
                tg.create_task(consume(client, number))


asyncio.run(main())
