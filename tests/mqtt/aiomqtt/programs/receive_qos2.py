import asyncio
import sys

import aiomqtt

HOST, PORT, TOPIC = sys.argv[1], int(sys.argv[2]), sys.argv[3]


async def main() -> None:
    kept = {}
    async with aiomqtt.Client(hostname=HOST, port=PORT, receive_max=2) as client:
        await client.subscribe(aiomqtt.TopicFilter(f"{TOPIC}/#"))
        print("subscribed", flush=True)
        async for message in client.messages():
            match message:
                case aiomqtt.PublishPacket(qos=aiomqtt.QoS.EXACTLY_ONCE):
                    kept[message.packet_id] = message.payload
                    await client.pubrec(message.packet_id)
                case aiomqtt.PubRelPacket():
                    print(2, kept.pop(message.packet_id), flush=True)
                    await client.pubcomp(message.packet_id)
                case aiomqtt.PublishPacket(qos=aiomqtt.QoS.AT_LEAST_ONCE):
                    print(1, message.payload, flush=True)
                    await client.puback(message.packet_id)
                case _:
                    print(0, message.payload, flush=True)


asyncio.run(main())
