"""Products of other kinds than the corpus: their mistakes are named, they and their variants are silent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from harness.database.check import Options, check_connection
from harness.database.declaration import load
from harness.database.findings import Report
from harness.providers.selfhosted.bootstrap import scratch_database
from tests.corpus import Mutation, differences, told
from tests.pg_fixture import Cluster

PRODUCTS = sorted((Path(__file__).parents[1] / "corpus" / "products").glob("*.sql"))


def entries(product: Path) -> dict[str, Any]:
    """The mistakes of a product, and the ways of writing it that are as good."""
    found: dict[str, Any] = yaml.safe_load(product.with_suffix(".cases.yaml").read_text(encoding="utf-8"))
    return found


@pytest.fixture(params=PRODUCTS, ids=lambda path: path.stem)
def product(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[tuple[Path, str]]:
    """A product, and a database with its schema."""
    path: Path = request.param
    with scratch_database(cluster.dsn(), "product") as dsn:
        with psycopg.connect(dsn) as connection:
            connection.execute(path.read_bytes())
        yield path, dsn


def examined(product: Path, dsn: str, sql: str) -> Report:
    """The report on the product once ``sql`` has run; undone at the end."""
    with psycopg.connect(dsn) as connection:
        connection.execute(sql.encode())
        report = check_connection(connection, load(product.with_suffix(".yaml")), Options())
        connection.rollback()
    return report


def test_its_mistakes_are_named(product: tuple[Path, str]) -> None:
    path, dsn = product
    wrong: list[str] = []
    for case in entries(path)["mistakes"]:
        also = frozenset(case.get("also", ()))
        mistake = Mutation(path.stem, case["sql"], tuple(case["expect"]), also, superuser=False)
        wrong += differences(mistake, examined(path, dsn, mistake.sql))
    assert not wrong, "\n\n".join(wrong)


def test_it_is_silent_however_it_is_written(product: tuple[Path, str]) -> None:
    path, dsn = product
    for sql in ("select 1", *(entries(path)["correct"] or ())):
        report = examined(path, dsn, sql)
        assert report.holds, f"{sql}\n{told(report)}"
