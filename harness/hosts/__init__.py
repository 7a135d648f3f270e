"""Machines reached over ssh: the transport, what is read from them, what is written to them."""
