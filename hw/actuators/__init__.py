"""What moves, on GPIO pins: each with a state in which it does no harm."""
