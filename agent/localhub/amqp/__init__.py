"""AMQP 1.0 as IoT Hub's service side speaks it."""
