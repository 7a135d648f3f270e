"""A small git repository with everything that a release is made of."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

__all__ = ["change", "commit", "git", "make_tree"]

ROOT = Path(__file__).resolve().parent.parent
FEATURE = """Feature: Gateway

  Rule: It serves

    @env:local @env:staging @env:production
    Scenario: It answers
      Given the gateway is deployed
      Then it answers

    @env:local @env:staging @env:production
    Scenario Outline: It refuses <what>
      Given the gateway is deployed
      Then it refuses <what>

      Examples:
        | what      |
        | strangers |
        | floods    |

    @env:local @env:staging @drill
    Scenario: It recovers
      Given the gateway is deployed
      Then it recovers

  @env:production
  Scenario: It is behind its load balancer
    Given the gateway is deployed
    Then it is behind its load balancer
"""
FILES = {
    "features/gateway.feature": FEATURE,
    "steps/words.py": "",
    "harness/code.py": "",
    "conftest.py": "",
    "pytest.ini": "[pytest]\n",
    "gateway/app.py": "",
    "requirements-gateway.txt": "",
    "Dockerfile": "FROM scratch\n",
    "web/package-lock.json": "{}\n",
    "supabase/migrations/20260101000000_first.sql": "create table public.notes (id bigint);\n",
    "supabase/rollbacks/20260101000000_first.sql": "drop table public.notes;\n",
    "inference/engines/vllm.yaml": "dtype: auto\n",
    "inference/models.yaml": "{}\n",
    ".gitignore": ".harness/\nrelease.json\n__pycache__/\n",
}


def make_tree(root: Path) -> Path:
    """The repository, with one commit and the project's own environment files."""
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    shutil.copytree(
        ROOT / "environments", root / "environments", ignore=shutil.ignore_patterns("schema.json")
    )
    git(root, "init", "--quiet", "--initial-branch=main")
    commit(root, "everything")
    return root


def git(root: Path, *arguments: str) -> str:
    """Run git in ``root``, as nobody in particular; what it prints."""
    who = {
        f"GIT_{role}_{what}": "t@example.com"
        for role in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    environ = {**os.environ, **who, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True, env=environ
    )
    return done.stdout


def commit(root: Path, message: str) -> None:
    """Commit everything."""
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", message)


def change(root: Path, file: str) -> None:
    """Add a line to a file."""
    with (root / file).open("a", encoding="utf-8") as out:
        out.write("\n")
