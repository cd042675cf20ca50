"""The local IoT Hub: a peer of Azure's for laptops, with its state on disk. Imports nothing else of agent."""
