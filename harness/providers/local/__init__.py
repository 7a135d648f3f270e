"""The local environment: real parts under a process manager, owned by whoever runs them."""
