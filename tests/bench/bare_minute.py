"""The peer of footprint.py: what a tutorial's script does, a message a minute."""

import asyncio
import os
from pathlib import Path

from azure.iot.device.aio import IoTHubDeviceClient


async def main() -> None:
    client = IoTHubDeviceClient.create_from_connection_string(
        os.environ["DEVICE"], server_verification_cert=Path(os.environ["CA_FILE"]).read_text()
    )
    await client.connect()
    while True:
        await client.send_message('{"windSpeed": 7.02}')
        await asyncio.sleep(60)


asyncio.run(main())
