"""What machines are given, as pure functions: configurations, units, scripts, packages, passwords."""

from __future__ import annotations

import io
import shlex
import subprocess
import tarfile
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from harness.environment.inference import PodInstant
from harness.errors import DeployError
from harness.hosts import packages
from harness.hosts.place import SeenProcess, descendants
from harness.hosts.ssh import CommandFailed, CommandResult
from harness.providers.base import Process
from harness.providers.everywhere import Everywhere
from harness.providers.host import scripts as database_scripts
from harness.providers.host.files import Parts, services
from harness.providers.host.server import derived
from harness.providers.machine_programs import MachineProgram, MachinePrograms, _process
from harness.providers.pod import scripts
from harness.providers.pod.configuration import UNIT, configuration, key_file
from harness.providers.pod.scripts import Seen
from harness.secrets import Secret

ROOT = Path(__file__).parents[2]
SENTINEL = "sentinel-of-a-secret-5f2c"


def instant(**changes: object) -> PodInstant:
    model = {"name": "m", "context_tokens": 512, "sha256": "a" * 64}
    said = {"provider": "pod", "engine": "llamacpp", "url": "http://10.0.0.1:8000", "host": "instant"}
    rest = {"api_key": "env:KEY", "gpu": "none", "vram_mib": 1, "model": model}
    return PodInstant.model_validate({**said, **rest, **changes})


def parts(**changes: object) -> Parts:
    made = Parts(
        root=ROOT,
        network="10.87.0.0/24",
        database_port=5432,
        api_port=3000,
        authenticator_password=Secret(f"{SENTINEL}-authenticator"),
        jwt_secret=Secret(f"{SENTINEL}-jwt-secret-long-enough"),
        anon_key=Secret(f"{SENTINEL}-anon"),
        service_role_key=Secret(f"{SENTINEL}-service"),
        superuser="supabase_admin",
    )
    return replace(made, **changes)


@pytest.mark.parametrize("engine", ["llamacpp", "vllm"])
def test_a_configuration_says_what_the_environment_says(engine: str) -> None:
    made = configuration(instant(engine=engine), ROOT)
    document = yaml.safe_load(made.files["engine.yaml"])
    assert document["port"] == 8000
    assert 512 in document.values()
    assert "m" in document.values()
    assert UNIT in made.files


@pytest.mark.parametrize("change", [{"concurrency": 2}, {"url": "http://10.0.0.1:9000"}])
def test_whatever_changes_makes_another_configuration(change: dict[str, object]) -> None:
    assert configuration(instant(**change), ROOT).digest != configuration(instant(), ROOT).digest


def test_a_key_arrives_whole_whatever_is_in_it() -> None:
    key = 'a"b\\c$d`e f#g'
    text = key_file("VLLM_API_KEY", key).decode()
    name, _, value = text.rstrip("\n").partition("=")
    assert name == "VLLM_API_KEY"
    # systemd unquotes double quotes and backslashes as a shell does
    assert shlex.split(value)[0].replace("\\$", "$").replace("\\`", "`") == key
    with pytest.raises(DeployError, match="line break"):
        key_file("VLLM_API_KEY", "two\nlines")


@pytest.mark.parametrize(
    "text",
    [
        scripts.observe("d", "p", "w", "K"),
        scripts.prepare(),
        scripts.keep_weights("a" * 64),
        scripts.unpack("/opt/instant/x"),
        scripts.activate("d", keep="e"),
        scripts.roll_back(),
        scripts.keep(""),
        scripts.keep("d"),
        database_scripts.observe(parts(), services(parts())),
        database_scripts.prepare("database"),
        database_scripts.create_cluster("/opt/supabase/postgresql"),
        database_scripts.run(services(parts())[0]),
    ],
)
def test_every_script_is_one_that_a_shell_understands(text: str) -> None:
    done = subprocess.run(["sh", "-n"], input=text.encode(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert SENTINEL not in text


def test_a_machine_without_anything_is_seen_as_empty() -> None:
    seen = Seen.parse("python=3.11 x86_64\ncurrent=\nprevious=\npid=0\nenabled=\nfiles=\n")
    assert (seen.current, seen.pid, seen.enabled, seen.files) == ("", 0, False, "")
    assert Seen.parse("current=releases/abc\n").current == "abc"


def test_no_unit_and_no_digest_shows_a_secret() -> None:
    for service in services(parts()):
        assert SENTINEL not in service.unit_file().decode()
        assert SENTINEL not in service.digest


def test_another_secret_is_another_configuration() -> None:
    other = services(parts(authenticator_password=Secret("another-password")))
    changed = [a.name for a, b in zip(services(parts()), other, strict=True) if a.digest != b.digest]
    assert changed == ["postgrest"]


def test_the_superuser_logs_in_on_the_machine_itself_alone_and_others_with_tls() -> None:
    rules = services(parts())[0].files["/etc/supabase/pg_hba.conf"].decode().splitlines()
    assert rules.index("host    all supabase_admin all reject") < rules.index(
        "hostssl all all 10.87.0.0/24 scram-sha-256"
    )
    assert not any("trust" in rule or "md5" in rule for rule in rules)


def test_derived_passwords_differ_by_role_and_do_not_show_where_they_come_from() -> None:
    declared = Secret(SENTINEL)
    one, other = derived(declared, "authenticator").reveal(), derived(declared, "supabase_admin").reveal()
    assert one != other
    assert SENTINEL not in one + other
    assert derived(declared, "authenticator").reveal() == one


def test_packages_come_with_what_they_require_and_nothing_compiled_for_another_python(
    tmp_path: Path,
) -> None:
    names = [item.metadata["Name"].lower() for item in packages.closure(["pyyaml", "aiohttp"])]
    assert {"pyyaml", "aiohttp", "multidict", "yarl"} <= set(names)
    content = packages.archive(["pyyaml"], tmp_path)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        found = tar.getnames()
    assert "yaml/__init__.py" in found
    assert not any("__pycache__" in name or name.startswith(("/", "..")) for name in found)
    assert packages.archive(["pyyaml"], tmp_path) == content
    with pytest.raises(metadata.PackageNotFoundError):
        packages.closure(["no-such-package-anywhere"])


def test_the_tree_of_a_process_is_itself_and_what_it_started() -> None:
    listed = [SeenProcess(pid, parent, str(pid), ()) for pid, parent in ((1, 0), (5, 1), (7, 5), (9, 1))]
    assert [process.pid for process in descendants(listed, 5)] == [5, 7]
    assert descendants(listed, 0) == descendants(listed, 4711) == []


def test_what_systemd_and_docker_say_of_a_program() -> None:
    unit = MachineProgram("api", "supabase", "database", unit="supabase-api.service")
    line = "MainPID=7 ExecMainStartTimestampMonotonic=2000000 ActiveState=active Restart=always 10.5"
    assert _process(unit, line) == Process("api", "active", 7, 8.5, restarts=True)
    container = MachineProgram("gateway", "gateway", "gateway-1", container="gateway")
    assert _process(container, "").pid == 0
    assert not _process(container, "MainPID=7 ActiveState=running Restart=no").restarts


class Here:
    def pid(self, program: str) -> int:
        return 1

    def programs(self) -> list[Process]:
        return [Process("web", "RUNNING", 1, 1.0, restarts=True)]


def test_a_program_is_found_by_its_name_wherever_it_runs() -> None:
    def never() -> None:
        raise AssertionError("nobody is asked for a local program")

    there = MachinePrograms(never, [])
    everywhere = Everywhere(Here(), there)
    assert everywhere.pid("web") == 1
    assert [program.name for program in everywhere.programs()] == ["web"]
    nowhere = Everywhere(None, there)
    with pytest.raises(DeployError, match="no machine runs a program 'web'"):
        nowhere.pid("web")


# --- hurting programs on several machines, one of which fails ----------------------------------------


class Recording:
    """In the place of the transport: writes down who was told what; ``fails`` end with status 1."""

    def __init__(self, *fails: tuple[str, str]) -> None:
        self.fails, self.told = set(fails), []

    def run(self, machine: str, argv: list[str], **_: object) -> CommandResult:
        self.told.append((machine, argv[1]))
        status = int((machine, argv[1]) in self.fails)
        return CommandResult(machine, tuple(argv), status, b"", b"refused" if status else b"")


def gateways(remote: Recording) -> MachinePrograms:
    programs = [
        MachineProgram("gateway", "gateway", machine, container="gateway", ready=lambda: True)
        for machine in ("gateway-1", "gateway-2")
    ]
    return MachinePrograms(lambda: remote, programs)


def test_a_pause_that_fails_on_the_second_machine_is_ended_on_the_first() -> None:
    remote = Recording(("gateway-2", "pause"))
    with pytest.raises(CommandFailed, match="gateway-2"), gateways(remote).paused("gateway"):
        raise AssertionError("the block was entered although one machine was not paused")
    assert remote.told[-2:] == [("gateway-2", "unpause"), ("gateway-1", "unpause")]


def test_a_stop_that_fails_on_the_second_machine_is_followed_by_a_start_on_both() -> None:
    remote = Recording(("gateway-2", "stop"))
    with pytest.raises(CommandFailed, match="gateway-2"), gateways(remote).stopped("gateway"):
        raise AssertionError("the block was entered although one machine was not stopped")
    assert remote.told[-2:] == [("gateway-1", "start"), ("gateway-2", "start")]


def test_a_machine_that_does_not_start_its_program_keeps_no_other_from_it() -> None:
    remote = Recording(("gateway-1", "start"))
    with pytest.raises(CommandFailed, match="gateway-1"):
        gateways(remote).start("gateway")
    assert ("gateway-2", "start") in remote.told
