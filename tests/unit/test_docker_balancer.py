"""haproxy's configuration out of the declaration, judged by haproxy itself, and what its socket says."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.environment import Environment
from harness.environment.loader import load
from harness.errors import HarnessError, NoProvider
from harness.providers.docker.balancer import Server, configuration, merged, parse_servers, strays
from tests.unit.environment_files import ROOT

HAPROXY = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
STATE = """\
1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight
3 gateways 1 gateway-1 10.87.1.21 2 0 1
3 gateways 2 gateway-2 10.87.1.22 0 8 1
4 alive 1 gateway-1 10.87.1.21 2 0 1
4 alive 2 gateway-2 10.87.1.22 2 8 1
6 data_api 1 database 10.87.1.41 2 0 1
"""
STAT = """\
# pxname,svname,qcur,qmax,scur,smax
gateways,gateway-1,0,0,3,9
gateways,gateway-2,0,0,1,9
gateways,BACKEND,0,0,4,9
alive,gateway-1,0,0,0,9
alive,gateway-2,0,0,2,9
data_api,database,0,0,0,9
"""


def declared(name: str) -> Environment:
    return load(name, ROOT).environment


@pytest.mark.skipif(HAPROXY is None, reason="no haproxy here (Debian: apt install haproxy)")
@pytest.mark.parametrize("name", ["rehearsal", "staging", "production"])
def test_haproxy_accepts_what_is_written_for_every_environment(name: str, tmp_path: Path) -> None:
    certificate = tmp_path / "gateway.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    argv += [
        "-subj",
        "/CN=x",
        "-days",
        "2",
        "-keyout",
        str(tmp_path / "key"),
        "-out",
        str(tmp_path / "crt"),
    ]
    subprocess.run(argv, check=True, capture_output=True)
    certificate.write_text((tmp_path / "crt").read_text() + (tmp_path / "key").read_text())
    text = configuration(declared(name)).replace("/etc/haproxy/tls/gateway.pem", str(certificate))
    text = text.replace(" user deploy level", " level")  # a user of the machine, not of this one
    (tmp_path / "haproxy.cfg").write_text(text)
    done = subprocess.run(
        [str(HAPROXY), "-c", "-f", str(tmp_path / "haproxy.cfg")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr


def test_requests_go_to_gateways_that_are_ready_and_else_to_those_that_live() -> None:
    lines = configuration(declared("rehearsal")).splitlines()
    assert "    use_backend gateways if { nbsrv(gateways) ge 1 }" in lines
    assert "    default_backend alive" in lines
    for backend, path in (("gateways", "/health/ready"), ("alive", "/health/live")):
        own = lines[lines.index(f"backend {backend}") :][:9]
        assert any(f"uri {path} " in line for line in own)
        assert (
            "    server gateway-1 10.87.1.21:8000" in own and "    server gateway-2 10.87.1.22:8000" in own
        )


def test_the_data_api_is_led_to_where_there_is_one_of_our_own() -> None:
    assert "server database 10.87.1.41:3000" in configuration(declared("rehearsal"))
    assert "data_api" not in configuration(declared("production"))


def test_tls_is_as_declared() -> None:
    environment = declared("production")
    tls = environment.gateway.tls.model_copy(
        update={"least_version": "TLSv1.3", "http_port": None, "certificate": "/etc/ssl/other.pem"}
    )
    gateway = environment.gateway.model_copy(update={"tls": tls})
    text = configuration(environment.model_copy(update={"gateway": gateway}))
    assert "ssl-min-ver TLSv1.3" in text and "crt /etc/ssl/other.pem" in text
    assert "redirect" not in text
    assert "code 308" in configuration(environment)


def test_a_gateway_without_a_balancer_has_no_configuration() -> None:
    with pytest.raises(NoProvider, match="behind no load balancer"):
        configuration(declared("local"))


def test_servers_are_read_from_both_tables() -> None:
    servers = parse_servers(STATE, STAT)
    assert [server.name for server in servers] == ["gateway-1", "gateway-2"] * 2
    assert merged(servers, "gateway-1") == Server("gateways", "gateway-1", True, False, 3)
    assert merged(servers, "gateway-2") == Server("gateways", "gateway-2", False, True, 3)
    assert merged(servers, "gateway-3") is None


def test_half_drained_is_not_drained() -> None:
    """A run that was killed between the two back ends: the next one must drain again."""
    servers = parse_servers(STATE.replace("10.87.1.22 2 8", "10.87.1.22 2 0"), STAT)
    server = merged(servers, "gateway-2")
    assert server is not None and not server.drained


HEADER, CHECKED = "srv_uweight", "srv_uweight srv_check_state"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("3 gateways 1 gateway-1 10.87.1.21 0 1 1", "it is in maintenance"),
        ("4 alive 1 gateway-1 10.87.1.21 2 0 1 2", "its health is not asked"),
        ("4 alive 1 gateway-1 10.87.1.21 2 8 1 6", "it is drained in one back end alone"),
    ],
)
def test_what_was_done_to_a_gateway_by_hand_is_named(line: str, why: str) -> None:
    assert strays(parse_servers(STATE, STAT)) == {}
    backend = line.split()[1]
    state = "\n".join(
        line if old.split()[1:4:2] == [backend, "gateway-1"] else old for old in STATE.splitlines()
    )
    assert strays(parse_servers(state.replace(HEADER, CHECKED), STAT)) == {"gateway-1": why}


@pytest.mark.parametrize(
    ("state", "stat"),
    [(STATE.replace("srv_admin_state", "other"), STAT), (STATE, "# pxname,svname,scur\n")],
)
def test_what_haproxy_never_says_is_an_error(state: str, stat: str) -> None:
    with pytest.raises(HarnessError, match="cannot be read"):
        parse_servers(state, stat)
