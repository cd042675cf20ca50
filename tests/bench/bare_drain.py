"""The peer of drain.py: the bare SDK, 20 messages in flight, a process of its own.

    DEVICE=<connection string> CA_FILE=<PEM> python -m tests.bench.bare_drain FILE

FILE has a line a message: a JSON array of its id, its body and its properties. Returns when the hub has
confirmed all.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from azure.iot.device import Message
from azure.iot.device.aio import IoTHubDeviceClient

IN_FLIGHT = 20


async def main() -> None:
    client = IoTHubDeviceClient.create_from_connection_string(
        os.environ["DEVICE"], server_verification_cert=Path(os.environ["CA_FILE"]).read_text()
    )
    await client.connect()
    messages = map(json.loads, Path(sys.argv[1]).read_text().splitlines())
    await asyncio.gather(*(_send(client, messages) for _ in range(IN_FLIGHT)))
    await client.shutdown()


async def _send(client: IoTHubDeviceClient, messages: Iterator[tuple[str, str, dict[str, str]]]) -> None:
    for message_id, body, properties in messages:
        message = Message(  # type: ignore[no-untyped-call]
            body.encode(), message_id, content_encoding="utf-8", content_type="application/json"
        )
        message.custom_properties = properties
        await client.send_message(message)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    asyncio.run(main())
