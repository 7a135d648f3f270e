"""The gateway as a container on machines behind a load balancer."""
