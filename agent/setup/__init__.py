"""What `masthead setup` does: the sensor into the configuration, the credential into systemd's store, the
service started. Each file is there whole or not at all; what is done already is not done again.
Thread safety: one thread.
"""
