"""What must be true of a Vercel project before anything is deployed to it."""

from __future__ import annotations

from harness.errors import DeployError
from harness.providers.cloud.vercel_api import Project, VercelApi

__all__ = ["require_domain", "require_open", "require_ours"]

_BEHIND_SIGN_IN = {
    "production": ("all",),
    "preview": ("all", "preview", "prod_deployment_urls_and_all_previews"),
}
"""Where Vercel asks visitors of a custom domain to sign in to Vercel (ssoProtection.deploymentType)."""


def require_domain(api: VercelApi, name: str, target: str) -> None:
    """Do nothing when the domain ``name`` is the project's, verified, and meant for ``target``.

    Raises:
        DeployError: when it is not.
    """
    where, found = api.where(f"{api.project_path}/domains"), api.domain(name)
    if found is None:
        hint = "add it in the project's dashboard, Domains"
        raise DeployError("web", f"{where}: the project has no domain {name}", hint)
    if not found.verified:
        asked = f" (asks for {found.asked_for})" if found.asked_for else ""
        hint = "make the DNS record that the dashboard shows under Domains, then have it verified there"
        raise DeployError("web", f"{where}: {name} is not verified{asked}", hint)
    if found.redirect:
        hint = "remove the redirect in the project's dashboard, Domains"
        raise DeployError("web", f"{where}: {name} leads to {found.redirect}, not to the web app", hint)
    own = bool(found.branch or found.custom)
    if target == "preview" and not own:
        what = f"{where}: {name} is a production domain: the next promotion would take it over"
        raise DeployError("web", what, "give it a git branch in the dashboard, one that nobody pushes to")
    if target == "production" and own:
        what = f"{where}: {name} is the domain of {found.branch or 'another environment'}"
        raise DeployError("web", what, "make it a production domain in the dashboard, Domains")


def require_ours(api: VercelApi, project: Project, target: str) -> None:
    """Do nothing when only this deploys to production, and what it uploads can be used as it is.

    Raises:
        DeployError: when Vercel would deploy by itself, past every gate, or looks for another folder.
    """
    where = api.where(api.project_path)
    if target == "production" and project.repository and project.goes_live is not False:
        what = f"{where}: a push to {project.repository.branch} would go live by itself, past the gate"
        hint = "dashboard, Environments, Production: switch off the assignment of custom domains"
        raise DeployError("web", what, hint)
    if project.folder:
        what = f"{where}: its root directory is {project.folder!r}, and what is uploaded has none"
        raise DeployError("web", what, "dashboard, Build and Deployment: leave the root directory empty")


def require_open(api: VercelApi, project: Project, target: str) -> None:
    """Do nothing when visitors need no account of Vercel's.

    Raises:
        DeployError: when its Deployment Protection would keep people, and the checks, out.
    """
    kind = project.sign_in.kind if project.sign_in else ""
    if kind in _BEHIND_SIGN_IN[target]:
        what = f"{api.where(api.project_path)}: visitors must sign in to Vercel (ssoProtection: {kind})"
        hint = "dashboard, Deployment Protection: protect everything but custom domains, or nothing"
        raise DeployError("web", what, hint)
