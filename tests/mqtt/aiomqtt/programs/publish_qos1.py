import asyncio
import sys

import aiomqtt

HOST, PORT, TOPIC = sys.argv[1], int(sys.argv[2]), sys.argv[3]


async def main() -> None:
    async with aiomqtt.Client(
        hostname=HOST, port=PORT, clean_start=False, session_expiry_interval=600, reconnect=True
    ) as client:
        packet_id = next(client.packet_ids)
        duplicate = False
        while True:
            try:
                await client.publish(
                    f"{TOPIC}/louie/status",
                    b"quack",
                    qos=aiomqtt.QoS.AT_LEAST_ONCE,
                    packet_id=packet_id,
                    duplicate=duplicate,
                )
                break
            except aiomqtt.ConnectError as error:
                print(error)
                duplicate = True
                await client.connected()
        print("delivered")


asyncio.run(main())
