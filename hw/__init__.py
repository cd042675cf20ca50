"""Pins, buses and physics. Imports nothing of the agent."""
