"""Catch rate, false alarms and seconds of `harness db check` and of its peers, on the same databases.

    python -m benchmarks.database.run scale
    python -m benchmarks.database.run peers --peers DIRECTORY --every 3
    python -m benchmarks.database.run write

Peers come from PyPI into a throw-away environment (`python -m venv DIRECTORY`, then `DIRECTORY/bin/pip
install pgrls trespass-rls rls-policy-tester`); Supabase's advisors from tools/. A peer "catches" a mistake
when it says anything that it did not say of the correct schema: what it names is not held against it.
`write` puts the numbers of the last runs (.harness/benchmarks/database.json) into docs/database-checks.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from harness.database.check import Options, check
from harness.database.declaration import load, parse
from harness.providers.local.postgres import EmbeddedPostgres
from harness.providers.selfhosted.bootstrap import bootstrap, scratch_database, set_passwords
from harness.providers.supabase_cli import SupabaseCli, Target, advisors
from harness.secrets import Secret
from tests.corpus import DECLARATION, SCHEMA, mutations
from tests.pg_fixture import free_port

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / ".harness" / "benchmarks" / "database.json"
GUIDE = ROOT / "docs" / "database-checks.md"
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"

Said = frozenset[str]


@contextlib.contextmanager
def server() -> Iterator[tuple[str, str]]:
    """A throw-away server: DSNs of postgres and of the superuser."""
    with tempfile.TemporaryDirectory() as name:
        made = EmbeddedPostgres(Path(name) / "server", free_port(), Secret(uuid.uuid4().hex), durable=False)
        password = Secret(uuid.uuid4().hex)
        with made.running():
            bootstrap(made)
            set_passwords(made, {"postgres": password})
            yield made.dsn("postgres", password), made.dsn()
        made.destroy()


def ours(dsn: str, _: str) -> Said:
    report = check(dsn, load(DECLARATION))
    return frozenset(f"{one.rule} {one.object}" for one in report.found) | frozenset(map(str, report.gaps))


def ours_statically(dsn: str, _: str) -> Said:
    report = check(dsn, load(DECLARATION), Options(dynamic=False))
    return frozenset(f"{one.rule} {one.object}" for one in report.found)


def said_in_sarif(command: list[str | Path]) -> Said:
    """What a tool reports, notes left out; file names that differ from run to run too."""
    ordered = {**os.environ, "PYTHONHASHSEED": "0"}  # else the order of names in a message may differ
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=ordered)
    results = json.loads(done.stdout)["runs"][0]["results"]
    return frozenset(
        f"{one['ruleId']} {one['message']['text']}"
        for one in results
        if one.get("level") not in ("note", "none")
    )


def pgrls(peers: Path) -> Callable[[str, str], Said]:
    def ask(dsn: str, _: str) -> Said:
        p = conninfo_to_dict(dsn)
        url = f"postgresql://{p['user']}:{p['password']}@{p['host']}:{p['port']}/{p['dbname']}"
        options = ["--database-url", url, "--schemas", "public,storage", "--format", "sarif"]
        return said_in_sarif([peers / "bin" / "pgrls", "lint", *options])

    return ask


def trespass(peers: Path) -> Callable[[str, str], Said]:
    def ask(_: str, extra: str) -> Said:
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
            file.write(SCHEMA.read_text() + "\n" + extra + ";\n")
            file.flush()
            return said_in_sarif([peers / "bin" / "trespass", "check", "--sarif", file.name])

    return ask


def policy_tester(peers: Path) -> Callable[[str, str], Said]:
    """Its audit, which needs no definitions; its tests catch what somebody has written them for."""

    def ask(dsn: str, _: str) -> Said:
        command = [peers / "bin" / "rls-policy-tester", "--dsn", dsn, "--audit-schema", "public", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        found = json.loads(done.stdout)["findings"]
        return frozenset(f"{one['id']} {one['message']}" for one in found if one["status"] != "PASS")

    return ask


def supabase_advisors(cli: SupabaseCli) -> Callable[[str, str], Said]:
    def ask(dsn: str, _: str) -> Said:
        target = Target.from_dsn(dsn)
        with cli.project(ROOT / "supabase") as project:
            found = cli.run(advisors(target), project, target, seconds=120).json()
        return frozenset(
            f"{lint['name']} {lint.get('detail')}" for lint in found if lint.get("level") != "INFO"
        )

    return ask


def compare(peers: Path | None, every: int) -> dict[str, object]:
    chosen = mutations()[::every]
    with server() as (dsn, admin), tempfile.TemporaryDirectory() as state:
        tools: dict[str, Callable[[str, str], Said]] = {
            "harness db check": ours,
            "harness db check --static": ours_statically,
            "Supabase CLI `db advisors`": supabase_advisors(SupabaseCli(ROOT, Path(state))),
        }
        if peers is not None:
            tools |= {
                "pgrls 0.57.1": pgrls(peers),
                "trespass-rls 0.2.0": trespass(peers),
                "rls-policy-tester 0.1.0, its audit": policy_tester(peers),
            }
        with psycopg.connect(dsn, autocommit=True) as owner:
            owner.execute("create database corpus template supabase_baseline")
        corpus = psycopg.conninfo.make_conninfo(dsn, dbname="corpus")
        with psycopg.connect(corpus) as connection:
            connection.execute(SCHEMA.read_bytes())
        correct = {name: ask(corpus, "") for name, ask in tools.items()}
        caught = dict.fromkeys(tools, 0)
        seconds = dict.fromkeys(tools, 0.0)
        for mutation in chosen:
            with scratch_database(dsn, "mutation", "corpus") as made:
                name = conninfo_to_dict(made)["dbname"]
                writer = psycopg.conninfo.make_conninfo(admin, dbname=name) if mutation.superuser else made
                with psycopg.connect(writer) as connection:
                    connection.execute(mutation.sql.encode())
                for tool, ask in tools.items():
                    started = time.perf_counter()
                    said = ask(made, mutation.sql)
                    seconds[tool] += time.perf_counter() - started
                    caught[tool] += bool(said - correct[tool])
    return {
        "mutations": len(chosen),
        "tools": {
            name: {
                "caught": caught[name],
                "false": len(correct[name]),
                "seconds": seconds[name] / len(chosen),
            }
            for name in tools
        },
    }


def generated(tables: int, roles: list[str]) -> tuple[str, str]:
    """A schema of many tables, and its declaration."""
    made, declared = [], ["roles: [" + ", ".join(roles) + "]", "tables:"]
    for number in range(tables):
        name = f"public.t{number:04}"
        parent = f", parent uuid references public.t{number - 1:04} on delete cascade" if number % 5 else ""
        made.append(
            f"create table {name} (id uuid primary key default gen_random_uuid(), owner uuid not null"
            f" references auth.users, title text not null, state text not null default 'new'"
            f" check (state in ('new', 'old')){parent});"
            f"alter table {name} enable row level security;"
            f"create policy own on {name} for all to authenticated using (owner = (select auth.uid()))"
            f" with check (owner = (select auth.uid()));"
            f"grant select, insert, update, delete on {name} to authenticated;"
        )
        declared.append(f"  {name}: {{owner: owner, may: all}}")
    return "\n".join(made), "\n".join(declared) + "\n"


def scale() -> list[dict[str, float]]:
    rows = []
    with server() as (dsn, _):
        roles = ["bench_a", "bench_b", "bench_c"]  # beside anon and authenticated
        with psycopg.connect(dsn) as owner:
            for role in roles:
                owner.execute(f"create role {role}; grant {role} to postgres with inherit false, set true")
                owner.execute(f"grant usage on schema public to {role}")
        for tables in (50, 100, 200):
            with scratch_database(dsn, "scale") as made:
                text, declaration = generated(tables, roles)
                with psycopg.connect(made) as connection:
                    connection.execute(text.encode())
                row: dict[str, float] = {"tables": tables}
                for name, dynamic in (("static", False), ("both", True)):
                    started = time.perf_counter()
                    report = check(made, parse(declaration), Options(dynamic=dynamic))
                    row[name] = time.perf_counter() - started
                    assert report.holds, [str(f.finding()) for f in report.found[:3]]
                row["tries"] = report.probes
                rows.append(row)
    return rows


def write(results: dict[str, object]) -> None:
    lines = []
    if peers := results.get("peers"):
        lines += [f"Of {peers['mutations']} of the corpus's {len(mutations())} mistakes, evenly drawn:", ""]
        lines += ["| | caught | said of the correct schema | seconds a database |", "|---|---|---|---|"]
        for name, row in peers["tools"].items():
            lines.append(f"| {name} | {row['caught']} | {row['false']} | {row['seconds']:.2f} |")
        lines.append("")
    if rows := results.get("scale"):
        lines += ["| tables (5 roles) | read only, s | read and tried, s | tries |", "|---|---|---|---|"]
        lines += [f"| {r['tables']} | {r['static']:.2f} | {r['both']:.1f} | {r['tries']} |" for r in rows]
    text = GUIDE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    GUIDE.write_text(
        f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}" + rest.partition(END)[2], encoding="utf-8"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["scale", "peers", "write"])
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--every", type=int, default=1)
    options = parser.parse_args()
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if options.what == "scale":
        results["scale"] = scale()
    elif options.what == "peers":
        results["peers"] = compare(options.peers, options.every)
    else:
        write(results)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
