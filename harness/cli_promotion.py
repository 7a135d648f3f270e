"""Commands around a promotion: ask the gate, make and show keys."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.errors import ConfigurationError, HarnessError, Problem
from harness.plain import PlainConsole
from harness.secrets import redact

if TYPE_CHECKING:
    from harness.attestation.keys import Signer
    from harness.gate import Decision
    from harness.promotion import Promotion
    from harness.promotion_view import View
    from harness.secrets import SecretStore

__all__ = ["mount"]

ROOT = Path(__file__).resolve().parent.parent
console = PlainConsole(highlight=False, emoji=False, soft_wrap=True)
Root = Annotated[Path, typer.Option("--root", help="The checkout; default: this one.", hidden=True)]
Target = Annotated[str, typer.Option("--env", help="The environment that the release shall enter.")]
Env = Annotated[str, typer.Option("--env", help="Environment: the name of a file in environments/.")]
ReleaseFile = Annotated[
    Path | None,
    typer.Option("--release", help="The release: a release.json (default: what the tree makes)."),
]
EvidenceFile = Annotated[
    Path | None,
    typer.Option("--evidence", help="Evidence, if not in the store; its report lies beside it."),
]
ApprovalFiles = Annotated[
    list[Path] | None, typer.Option("--approval", help="An approval, if not in the store; may be repeated.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

gate_app = typer.Typer(help="Ask the gate of an environment.", no_args_is_help=True)
keys_app = typer.Typer(help="Make and show keys.", no_args_is_help=True)


def mount(app: typer.Typer) -> None:
    """Add these commands to ``app``."""
    app.add_typer(gate_app, name="gate")
    app.add_typer(keys_app, name="keys")


# --- gate ----------------------------------------------------------------------------------------------


@gate_app.command("check")
def gate_check(
    env: Target,
    release: ReleaseFile = None,
    evidence: EvidenceFile = None,
    approval: ApprovalFiles = None,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="May it come back, having passed here before?")
    ] = False,
    before_approval: Annotated[
        bool, typer.Option("--before-approval", help="Exit 0 also when only approvals are missing.")
    ] = False,
    page: Annotated[bool, typer.Option("--page", help="Write the decision page, say where.")] = False,
    summary: Annotated[
        Path | None, typer.Option("--markdown", help="Append the decision page in Markdown to a file.")
    ] = None,
    as_json: AsJson = False,
    root: Root = ROOT,
) -> None:
    """May the release enter? Says every reason why not, and what to do. Exit 0: it may; 1: it may not."""
    promotion, secrets = promotion_of(root, env, release, evidence, approval, rollback=rollback)
    decision = promotion.decide()
    where, unsigned = _summary(promotion, decision, secrets)
    if summary is not None:
        append_markdown(promotion, decision, secrets, summary)
    if as_json:
        sys.stdout.write(
            redact(json.dumps(_as_dict(promotion, decision, where, unsigned), indent=2)) + "\n"
        )
    else:
        say(promotion, decision)
        console.print(f"  decision  {where or unsigned}", style="dim", markup=False)
        if page:
            console.print(f"  page      {write_page(promotion, decision, secrets)[1]}", markup=False)
    waits = all(reason.where == "gate.approvals" for reason in decision.reasons)
    if not decision.open and not (before_approval and waits):
        raise typer.Exit(1)


@gate_app.command("touched")
def gate_touched(env: Target, release: ReleaseFile = None, root: Root = ROOT) -> None:
    """Has the attempt to let the release in changed anything? Prints touched=true or =false, for a pipeline
    that decides whether to roll back; it does not matter how that attempt came to its end.
    """
    from harness.aftermath import touched

    promotion, _ = promotion_of(root, env, release, None, None)
    answer, why = touched(promotion.store, env, promotion.release)
    sys.stderr.write(redact(f"{why}\n"))
    sys.stdout.write(f"touched={str(answer).lower()}\n")


def promotion_of(
    root: Path,
    env: str,
    release: Path | None,
    evidence: Path | None,
    approvals: list[Path] | None,
    *,
    rollback: bool = False,
) -> tuple[Promotion, SecretStore]:
    """The promotion that the options describe.

    Raises:
        HarnessError: when the environment, the release or the store is not right.
    """
    from harness.environment.loader import load
    from harness.promotion import Promotion, in_hand
    from harness.secrets import SecretStore
    from harness.store import open_store

    loaded = load(env, root)
    environment = loaded.environment
    secrets = SecretStore(root, root / ".harness" / environment.environment)
    store = open_store(environment, root, secrets)
    in_it, passed_over = in_hand(root, release)
    about = (environment, root, store, in_it)
    if rollback:
        from harness.history import own_key
        from harness.reentry import Reentry

        made: Promotion = Reentry(*about, key=own_key(environment, secrets))
    else:
        made = Promotion(*about, evidence, approvals or [])
    made.file, made.passed_over = loaded.content, passed_over
    return made, secrets


def say(promotion: Promotion, decision: Decision) -> None:
    """Print the decision for a person."""
    name = decision.environment
    if decision.open:
        by = f", approved by {', '.join(decision.approved_by)}" if decision.approved_by else ""
        console.print(f"[bold green]OPEN[/]  {promotion.release.name} may enter {name}{by}")
        _say_waived(decision)
    else:
        count = len(decision.reasons)
        reasons = "one reason" if count == 1 else f"{count} reasons"
        console.print(f"[bold red]CLOSED[/]  {promotion.release.name} may not enter {name}: {reasons}")
        _say_waived(decision)
        for reason in decision.reasons:
            console.print(f"  ✗ {reason.where}: {reason.what}", markup=False)
            if reason.hint:
                console.print(f"      to do  {reason.hint}", markup=False)
    if promotion.passed_over and promotion.passed_over not in [r.what for r in decision.reasons]:
        console.print(f"  note      {promotion.passed_over}", style="yellow", markup=False)
    if promotion.evidence:
        console.print(f"  evidence  {promotion.evidence.where}", style="dim", markup=False)


def _say_waived(decision: Decision) -> None:
    from harness.promotion_view import waived

    for line in waived(decision.statement.predicate) if decision.statement else ():
        console.print(f"  waived    {line}", style="cyan", markup=False)


def write_page(promotion: Promotion, decision: Decision, secrets: SecretStore) -> tuple[View, Path]:
    """Write the decision page, with the report and the evidence beside it; the view, and where it is."""
    from harness.sinks.promotion_page import page

    view = _view(promotion, decision, secrets)
    folder = promotion.root / ".harness" / view.environment / "promotions" / decision.promotion
    folder.mkdir(parents=True, exist_ok=True)
    sealed = promotion.evidence
    if sealed is not None:
        (folder / "evidence.intoto.json").write_bytes(sealed.raw)
        (folder / "evidence.html").write_bytes(sealed.report or b"")
    report = "evidence.html" if sealed is not None and sealed.report else ""
    (folder / "index.html").write_text(redact(page(view, report)), encoding="utf-8")
    return view, folder / "index.html"


def append_markdown(promotion: Promotion, decision: Decision, secrets: SecretStore, file: Path) -> None:
    """Append the decision page in Markdown to ``file``."""
    from harness.sinks.promotion_markdown import markdown

    with file.open("a", encoding="utf-8") as out:
        out.write(redact(markdown(_view(promotion, decision, secrets))))


def _view(promotion: Promotion, decision: Decision, secrets: SecretStore) -> View:
    from harness.history import own_key, running_release
    from harness.promotion_view import look

    environment = promotion.environment
    running = running_release(promotion.store, environment.environment, own_key(environment, secrets))
    return look(promotion, decision, running)


def _summary(promotion: Promotion, decision: Decision, secrets: SecretStore) -> tuple[str, str]:
    """Where the signed decision is; or why there is none."""
    from harness.history import own_signer

    try:
        return promotion.write_summary(decision, own_signer(promotion.environment, secrets)), ""
    except ConfigurationError as error:
        return "", f"not signed: {'; '.join(map(str, error.problems))}"


def _as_dict(promotion: Promotion, decision: Decision, where: str, unsigned: str) -> dict[str, Any]:
    sealed = promotion.evidence
    return {
        "environment": decision.environment,
        "release": promotion.release.digest,
        "open": decision.open,
        "promotion": decision.promotion,
        "evidence": {"where": sealed.where, "sha256": sealed.digest} if sealed else None,
        "approved_by": list(decision.approved_by),
        "reasons": [{"where": r.where, "what": r.what, "to_do": r.hint} for r in decision.reasons],
        "summary": where or None,
        "not_signed": unsigned or None,
        "passed_over": promotion.passed_over or None,
    }


# --- keys ----------------------------------------------------------------------------------------------


@keys_app.command("new")
def keys_new(file: Annotated[Path, typer.Argument(help="Where the private key goes.")]) -> None:
    """Make an ed25519 key: the private half into FILE (mode 0600), the public half on the screen."""
    from harness.attestation.keys import new_private_key

    pem, public = new_private_key()
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        hint = "a key is never replaced: choose another name" if file.exists() else ""
        raise ConfigurationError(
            [Problem(str(file), error.strerror or "cannot be written", hint)]
        ) from None
    with os.fdopen(descriptor, "w") as out:
        out.write(pem)
    console.print(f"private  {file} (mode 0600; keep it out of the repository)", markup=False)
    console.print(f"public   {public.text}", markup=False)


@keys_app.command("show")
def keys_show(env: Env = "local", root: Root = ROOT) -> None:
    """Print the public half of the key that signs an environment's evidence: what its successor pins."""
    from harness.environment.loader import load
    from harness.secrets import SecretStore

    environment = load(env, root).environment
    secrets = SecretStore(root, root / ".harness" / environment.environment)
    console.print(private_key(secrets, environment.gate.signing_key).public.text, markup=False)


def private_key(secrets: SecretStore, reference: str) -> Signer:
    """The signer behind a secret reference.

    Raises:
        ConfigurationError: when it is missing or no key.
        HarnessError: when the text is no reference.
    """
    from harness.attestation.keys import signer

    try:
        return signer(secrets.resolve(reference))
    except ValueError as error:
        raise HarnessError(f"--key: {error}") from None
