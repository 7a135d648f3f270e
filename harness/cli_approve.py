"""`harness approve`: show what would happen, then sign for it with a key of one's own."""

from __future__ import annotations

import datetime as dt
import re
import sys
import webbrowser
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli_promotion import (
    ROOT,
    ApprovalFiles,
    EvidenceFile,
    ReleaseFile,
    Root,
    Target,
    console,
    private_key,
    promotion_of,
    write_page,
)
from harness.errors import HarnessError
from harness.secrets import REFERENCE_PATTERN

if TYPE_CHECKING:
    from harness.attestation.keys import Signer
    from harness.environment import Environment
    from harness.environment.gate import Approver
    from harness.gate_evidence import Sealed
    from harness.promotion import Promotion
    from harness.promotion_view import View
    from harness.secrets import SecretStore

__all__ = ["mount"]

_SSH_KEY = "~/.ssh/id_ed25519"


def mount(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(approve)


def approve(
    env: Target,
    release: ReleaseFile = None,
    evidence: EvidenceFile = None,
    approval: ApprovalFiles = None,
    key: Annotated[
        str, typer.Option(help="Your key: an ssh key file, or env:NAME / file:PATH of an ed25519 key.")
    ] = _SSH_KEY,
    name: Annotated[str, typer.Option("--as", help="Who you are, in gate.approvals.approvers.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask (where a pipeline has asked).")] = False,
    browser: Annotated[bool, typer.Option("--open", help="Open the decision page in a browser.")] = False,
    root: Root = ROOT,
) -> None:
    """Show the decision page; sign report and evidence with your own key. Exit 1: nothing was signed."""
    from harness.approval_screen import tell, tell_verdict

    promotion, secrets = promotion_of(root, env, release, evidence, approval)
    if promotion.environment.gate.approvals is None:
        raise HarnessError(
            f"{env} asks for no approval: there is nothing to sign; harness gate check --env {env}"
        )
    view, page = write_page(promotion, promotion.decide(), secrets)
    tell(view, page, console, dt.datetime.now(dt.UTC))
    if browser:
        webbrowser.open(page.resolve().as_uri())
    if view.blocking or promotion.evidence is None:
        console.print("nothing to approve: mend what stands above first", style="red")
        raise typer.Exit(1)
    approver, signing = _who(promotion.environment, key, name, secrets)
    _sign(promotion, promotion.evidence, view, approver, signing, ask=not yes)
    after = promotion.decide()
    tell_verdict(replace(view, decision=after), after, console)
    if view.decision.promotion != after.promotion or approver.name not in after.approved_by:
        console.print("the approval does not count: see above", style="red")
        raise typer.Exit(1)


def _sign(
    promotion: Promotion,
    evidence: Sealed,
    view: View,
    approver: Approver,
    signing: Signer | Path,
    *,
    ask: bool,
) -> None:
    """Sign for what ``view`` shows, and store it; exit 1 where the approver would rather not."""
    from harness.approval import approve as sign

    env, shown, now = promotion.environment.environment, view.decision.promotion, dt.datetime.now(dt.UTC)
    try:
        if ask:
            _ask(view, approver)
        raw = sign(env, shown, promotion.release, evidence, approver.name, now, signing)
    except (KeyboardInterrupt, typer.Abort):  # Ctrl-C or Ctrl-D, at the question or at the passphrase
        console.print("\nnot approved: nothing was signed", style="red")
        raise typer.Exit(1) from None
    place = f"approvals/{env}/{shown}/{approver.name}.{now:%Y%m%dT%H%M%S.%fZ}.json"
    promotion.store.put(place, raw)
    console.print(f"approved by {approver.name}: {promotion.store.where(place)}", markup=False)


def _who(
    environment: Environment, key: str, name: str, secrets: SecretStore
) -> tuple[Approver, Signer | Path]:
    """The approver whose key it is, and what signs for them.

    Raises:
        HarnessError: when it is nobody's whom the environment allows.
    """
    approvals = environment.gate.approvals
    if approvals is None:
        raise HarnessError(f"{environment.environment} asks for no approval")
    allowed = [a for a in approvals.approvers if not name or a.name == name]
    if re.match(REFERENCE_PATTERN, key):
        own = private_key(secrets, key)
        found = [a for a in allowed if a.key == own.public.text]
        signing: Signer | Path = own
    else:
        signing = Path(key).expanduser()
        public = _ssh_public(signing)
        found = [a for a in allowed if a.key == public]
    if len(found) != 1:
        names = ", ".join(approver.name for approver in approvals.approvers)
        who = f"{name}'s" if name else "that of an approver"
        raise HarnessError(
            f"--key {key}: is not {who} of {environment.environment} (allowed: {names})\n"
            f"approvers are pinned in environments/{environment.environment}.yaml, gate.approvals"
        )
    return found[0], signing


def _ssh_public(path: Path) -> str:
    """Kind and key of the .pub file beside ``path``."""
    public = path if path.suffix == ".pub" else path.with_name(f"{path.name}.pub")
    try:
        return " ".join(public.read_text(encoding="utf-8").split()[:2])
    except (OSError, UnicodeDecodeError) as error:
        raise HarnessError(f"{public}: cannot be read: {error}; name your ssh key with --key") from None


def _ask(view: View, approver: Approver) -> None:
    if not sys.stdin.isatty():
        raise HarnessError("nobody is there to ask: approve from a terminal, or pass --yes")
    question = f"type {view.release.name} to approve it for {view.environment} as {approver.name}"
    if typer.prompt(question, default="", show_default=False).strip() != view.release.name:
        console.print("not approved: nothing was signed", style="red")
        raise typer.Exit(1)
