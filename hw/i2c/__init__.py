"""Instruments on an I2C bus."""
