"""The rehearsal: the machines of an environment file, raised as containers on this machine.

harness.rehearsal.topology   what the environment file says must stand
harness.rehearsal.engine     the Docker engine, installed and started where it can be
harness.rehearsal.limits     what this machine's kernel must allow
harness.rehearsal.image      the images, made from Debian's packages
harness.rehearsal.network    the bridge that they share, and that nothing leaves
harness.rehearsal.hosts      the machines: systemd, sshd, a user, host keys
harness.rehearsal.private    the private network between the servers
harness.rehearsal.pki        a certificate authority and the load balancer's certificate
harness.rehearsal.registry   the image registry on loopback
harness.rehearsal.up         all of it, in order
harness.rehearsal.down       none of it

Only ssh, packages, certificates and the private network are put on a machine here. Everything else gets
there as it gets to a real one: by the environment's providers, over ssh.
"""
