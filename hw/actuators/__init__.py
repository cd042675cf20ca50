"""What moves, on gpiozero: each with a state in which it does no harm."""
