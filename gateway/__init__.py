"""The gateway: an OpenAI-compatible front door with identity, limits, a ledger and honest health."""
