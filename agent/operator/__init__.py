"""What a hub's owner does: identities, messages to devices, what they answer, and what devices send.

The same code against Azure IoT Hub and against the local hub. The vendors' libraries are at arm's length:
``rest`` is the only importer of requests, ``amqp`` the only one of azure.eventhub; all else is plain Python.
"""
