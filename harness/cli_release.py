"""Commands that make a release, and fetch the one that an environment has passed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.cli_promotion import ROOT, AsJson, Root, console
from harness.errors import HarnessError

__all__ = ["mount"]

release_app = typer.Typer(help="Make a release, or fetch one.", no_args_is_help=True)


def mount(app: typer.Typer) -> None:
    """Add these commands to ``app``."""
    app.add_typer(release_app, name="release")


@release_app.command("build")
def release_build(
    image: Annotated[str, typer.Option(help="The gateway image that was pushed: NAME@sha256:…")] = "",
    publish: Annotated[
        str, typer.Option("--publish-for", help="Build and push the image for this environment's registry.")
    ] = "",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: release.json.")] = None,
    as_json: AsJson = False,
    root: Root = ROOT,
) -> None:
    """Write release.json: every artefact by digest. The same tree gives the same file."""
    from harness.promotion import RELEASE_FILE
    from harness.release import Release

    made = Release.build(root, image or (_published(root, publish) if publish else ""))
    path = output or root / RELEASE_FILE
    made.write(path)
    if as_json:
        sys.stdout.write(path.read_text(encoding="utf-8"))
        return
    console.print(f"{made.name}  {path}", markup=False)
    for name, digest in made.subjects.items():
        console.print(f"  {name:<24} {digest}", markup=False)
    for name, why in made.missing.items():
        console.print(f"  {name:<24} missing: {why}", style="yellow", markup=False)
    if made.source.dirty:
        changed = ", ".join(made.source.changed)
        told = f"  not committed: {changed}\n  a gate lets in only what a commit names"
        console.print(told, style="yellow", markup=False)


def _published(root: Path, env: str) -> str:
    """The digest of the gateway image in the registry of ``env``, built and pushed when it is not there."""
    from harness.environment.gateway import DockerGateway
    from harness.environment.loader import load
    from harness.providers.docker.published import published

    declared = load(env, root).environment.gateway
    if not isinstance(declared, DockerGateway):
        raise HarnessError(f"--publish-for {env}: its gateway does not run from an image")
    return published(root, declared, lambda phase: console.print(f"  … {phase}", style="dim"))[0]


@release_app.command("fetch")
def release_fetch(
    env: Annotated[str, typer.Option("--env", help="The environment in which it has passed.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: release.json.")] = None,
    this_commit: Annotated[
        bool, typer.Option("--this-commit", help="Only a release of the commit that is checked out.")
    ] = False,
    root: Root = ROOT,
) -> None:
    """Write the release.json of the newest passing run of an environment; print its commit."""
    from harness.environment.loader import load
    from harness.history import own_key, running_release
    from harness.promotion import RELEASE_FILE
    from harness.provenance import source
    from harness.secrets import SecretStore
    from harness.store import open_store

    environment = load(env, root).environment
    secrets = SecretStore(root, root / ".harness" / environment.environment)
    store = open_store(environment, root, secrets)
    if (key := own_key(environment, secrets)) is None:
        raise HarnessError(
            f"what has run in {env} cannot be verified here, so no release of it is fetched: pin "
            f"gate.public_key in environments/{env}.yaml"
        )
    running = running_release(store, environment.environment, key)
    if running is None:
        raise HarnessError(f"no run of {env} has passed yet: there is no release to fetch")
    here = source(root).commit
    if this_commit and running.release.source.commit != here:
        raise HarnessError(
            f"what passed last in {env} is {running.release.name} of commit "
            f"{running.release.source.commit[:12]}; checked out is {here[:12]}: let {env} pass it first"
        )
    running.release.write(output or root / RELEASE_FILE)
    sys.stdout.write(f"{running.release.source.commit}\n")
