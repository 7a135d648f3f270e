"""The ssh transport, against real ssh servers on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import testinfra

from harness.errors import Unreachable
from harness.hosts.ssh import CommandFailed, CommandResult, Remote
from tests.sshd import Server, needs_sshd, servers

pytestmark = needs_sshd


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Remote, dict[str, Server]]]:
    with servers(tmp_path, "one", "two") as made:
        yield made


@pytest.fixture
def remote(pair: tuple[Remote, dict[str, Server]]) -> Remote:
    return pair[0]


def test_arguments_arrive_as_they_are(remote: Remote) -> None:
    argv = ["printf", "%s|", "a b", "$HOME", "'q'", '"d"', "; false", "ü", ""]
    assert remote.run("one", argv).text == "a b|$HOME|'q'|\"d\"|; false|ü||"


def test_a_status_and_both_outputs_come_back(remote: Remote) -> None:
    done = remote.script("one", "echo out; echo err >&2; exit 3")
    assert (done.status, done.text, done.stderr) == (3, "out\n", b"err\n")
    with pytest.raises(CommandFailed, match=r"one: `sh -s` ended with 3: err"):
        done.require()


def test_one_connection_serves_all_commands(remote: Remote) -> None:
    seen = {remote.script("one", "echo $SSH_CONNECTION").text for _ in range(5)}
    assert len(seen) == 1
    assert seen != {"\n"}


def test_many_threads_share_it(remote: Remote) -> None:
    seen: list[str] = []

    def ask() -> None:
        seen.append(remote.script("one", "echo $SSH_CONNECTION").text)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(seen) == 8
    assert len(set(seen)) == 1


def test_an_unreachable_machine_does_not_hide_the_others(pair: tuple[Remote, dict[str, Server]]) -> None:
    remote, running = pair
    running["two"].stop()
    found = remote.everywhere({"one": ["echo", "here"], "two": ["echo", "here"]})
    assert isinstance(found["one"], CommandResult)
    assert found["one"].text == "here\n"
    assert isinstance(found["two"], Unreachable)
    assert "Connection refused" in str(found["two"])


def test_another_host_key_is_refused_and_named(
    pair: tuple[Remote, dict[str, Server]], tmp_path: Path
) -> None:
    remote, running = pair
    known = tmp_path / "known_hosts"
    known.write_text(known.read_text().replace(running["one"].host_key, running["two"].host_key))
    with pytest.raises(Unreachable, match="one: its host key is not the pinned one"):
        remote.run("one", ["true"])


def test_an_unknown_host_key_is_refused(pair: tuple[Remote, dict[str, Server]], tmp_path: Path) -> None:
    (tmp_path / "known_hosts").write_text("")
    with pytest.raises(Unreachable, match="host key"):
        pair[0].run("one", ["true"])


def test_a_key_that_is_not_accepted_is_unreachable(
    pair: tuple[Remote, dict[str, Server]], tmp_path: Path
) -> None:
    (tmp_path / "one" / "authorized_keys").write_text("")
    with pytest.raises(Unreachable, match="Permission denied"):
        pair[0].run("one", ["true"])


def test_a_command_that_hangs_ends_with_its_time(remote: Remote) -> None:
    remote.run("one", ["true"])
    with pytest.raises(Unreachable, match=r"no end of the command within 0\.2 s"):
        remote.run("one", ["sleep", "60"], seconds=0.2)


def test_a_file_is_written_whole_with_its_mode(remote: Remote, tmp_path: Path) -> None:
    content = bytes(range(256)) * 500
    remote.put("one", str(tmp_path / "a file"), content, mode=0o640, sudo=False)
    assert (tmp_path / "a file").read_bytes() == content
    assert (tmp_path / "a file").stat().st_mode & 0o777 == 0o640
    assert [p.name for p in tmp_path.glob("a file*")] == ["a file"]


def test_a_file_that_cannot_be_written_says_where(remote: Remote, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"one: .*nowhere"):
        remote.put("one", str(tmp_path / "nowhere" / "file"), b"x", sudo=False)


def _accept_and_send(server: socket.socket, data: bytes) -> None:
    accepted, _ = server.accept()
    with accepted:
        accepted.sendall(data)


def test_a_socket_and_a_port_are_led_here_and_there(remote: Remote, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "engine.sock"))
        server.listen()
        with (
            remote.forwarded("one", str(tmp_path / "engine.sock")) as here,
            socket.socket(socket.AF_UNIX) as us,
        ):
            us.connect(here)
            _accept_and_send(server, b"there")
            assert us.recv(16) == b"there"
    assert not Path(here).exists()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with remote.forwarded("one", f"127.0.0.1:{port}") as here:
            host, _, number = here.partition(":")
            with socket.create_connection((host, int(number)), timeout=30) as us:
                _accept_and_send(server, b"port")
                assert us.recv(16) == b"port"


def test_what_is_here_can_be_reached_there(remote: Remote) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        there = f"127.0.0.1:{unused.getsockname()[1]}"
        unused.close()
        here = f"127.0.0.1:{server.getsockname()[1]}"
        with (
            remote.forwarded("one", there, reverse=True, here=here) as name,
            socket.create_connection(
                (name.partition(":")[0], int(name.partition(":")[2])), timeout=30
            ) as us,
        ):
            _accept_and_send(server, b"back")
            assert us.recv(16) == b"back"


def test_close_leaves_no_connection_and_no_socket(remote: Remote) -> None:
    remote.run("one", ["true"])
    sockets = remote._files.sockets
    assert any(sockets.iterdir())
    remote.close()
    assert not sockets.exists() or not any(sockets.iterdir())


def test_the_key_is_for_its_owner_alone_and_in_no_argument(remote: Remote) -> None:
    key = remote._files.key
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.stat().st_uid == os.getuid()
    secret = key.read_text().splitlines()[1]
    assert not any(secret in part for part in remote._argv("one"))


def test_a_program_is_talked_with_line_by_line(remote: Remote) -> None:
    with remote.talking("one", ["sh", "-c", "read a; echo got $a; read b; echo then $b"]) as talk:
        talk.say(b"this\n")
        assert talk.line(30) == b"got this\n"
        talk.say(b"that\n")
        assert talk.line(30) == b"then that\n"


def test_a_program_that_ends_or_hangs_is_unreachable_in_its_own_words(remote: Remote) -> None:
    with remote.talking("one", ["sh", "-c", "echo broken >&2; exit 3"]) as talk:
        with pytest.raises(Unreachable, match="one: broken"):
            talk.line(30)
        with pytest.raises(Unreachable, match="one: "):
            for _ in range(1000):  # until the pipe is known to be closed
                talk.say(b"x" * 65536)
    with (
        remote.talking("one", ["sleep", "600"]) as talk,
        pytest.raises(Unreachable, match=r"one: no answer within 0\.2 s"),
    ):
        talk.line(0.2)


def test_a_new_login_does_not_use_the_connection_that_stands(
    pair: tuple[Remote, dict[str, Server]],
) -> None:
    remote, running = pair
    assert remote.login_anew("one")
    remote.run("one", ["true"])
    running["one"].process.terminate()
    running["one"].process.wait(30)
    assert remote.run("one", ["true"]).status == 0  # over the connection that stands
    with pytest.raises(Unreachable, match="one: "):
        remote.login_anew("one")


def test_other_tools_can_use_our_connections(remote: Remote) -> None:
    used = remote.script("one", "echo $SSH_CONNECTION").text
    argv = ["ssh", "-F", str(remote.configuration("one")), "one", "echo $SSH_CONNECTION"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout == used


def test_testinfra_asks_over_our_connection(remote: Remote, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("secret")
    kept.chmod(0o640)
    host = testinfra.get_host("ssh://one", ssh_config=str(remote.configuration("one")))
    assert host.file(str(kept)).mode == 0o640
