"""The parts of haproxy.cfg. docs/adr/0017 says why; `haproxy -c` judges what they make."""

from __future__ import annotations

__all__ = ["FRONT_END", "GATEWAYS", "GLOBAL", "HTTP", "NO_GATEWAY", "REST"]

GLOBAL = """\
# Written by the harness from the environment file; what is changed here is lost at the next deploy.
global
    log stdout format raw daemon notice
    chroot /var/lib/haproxy
    user haproxy
    group haproxy
    stats socket {socket} mode 600 user {user} level admin expose-fd listeners
    stats timeout 30s
    hard-stop-after 10m
    ssl-default-bind-options ssl-min-ver {least} no-tls-tickets
    ssl-default-bind-ciphers ECDHE+AESGCM:ECDHE+CHACHA20
    tune.ssl.default-dh-param 2048

defaults
    mode http
    log global
    option dontlognull
    option redispatch 1
    retries 3
    retry-on conn-failure
    timeout connect 2s
    timeout client 60s
    timeout http-request 10s
    timeout http-keep-alive 30s
    timeout queue 5s
    timeout server 330s
    default-server maxconn 1000
"""

NO_GATEWAY = (
    '{"error":{"message":"no gateway is there to answer; try again",'
    '"type":"server_error","code":"no_gateway"}}'
)
"""What clients get when nobody is there: the shape of the gateway's own errors."""

FRONT_END = """\
frontend tls
    bind :{port} ssl crt {certificate} alpn h2,http/1.1
    option forwardfor
    http-request del-header X-Forwarded-Proto
    http-response set-header Strict-Transport-Security "max-age=31536000"
    http-error status 503 content-type application/json string '{no_gateway}' hdr Retry-After 2
    use_backend gateways if {{ nbsrv(gateways) ge 1 }}
    default_backend alive
"""

GATEWAYS = """\
backend {name}
    balance leastconn
    option httpchk
    http-check send meth GET uri {path} ver HTTP/1.1 hdr Host {host}
    http-check expect status 200
    timeout check {patience}s
    default-server check inter 1s fastinter 250ms downinter 500ms fall 2 rise 1
{servers}
"""

HTTP = """\
frontend plain
    bind :{port}
    http-request redirect location {url}%[capture.req.uri] code 308
"""

REST = """\
frontend data_api
    bind :{port} ssl crt {certificate} alpn h2,http/1.1
    http-response set-header Strict-Transport-Security "max-age=31536000"
    default_backend data_api

backend data_api
    option httpchk GET /health
    http-check expect status 200
    default-server check inter 2s fall 2 rise 1
    server database {server}
"""
