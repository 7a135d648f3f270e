"""Stands in for the Vercel CLI where a test is not about it: the same arguments, the same files, no build.

It is copied to where a test wants it, and writes down beside itself how it was called.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from pathlib import Path


def main(argv: list[str]) -> int:
    here, options = Path(__file__), dict(itertools.pairwise(argv))
    with here.with_name("calls.jsonl").open("a") as file:
        file.write(json.dumps({"argv": argv, "environment": dict(os.environ)}) + "\n")
    folder, api = Path(options["--cwd"]), options["--api"]
    fails = here.with_name("fails")
    if fails.exists() and argv[0] == fails.read_text():
        print(f"Error: it does not work, {os.environ.get('VERCEL_TOKEN', '')}", file=sys.stderr)
        return 1
    if argv[0] == "pull":
        target = argv[-1] if argv[-1].startswith("--environment") else argv[2]
        path = f"/v3/env/pull/{os.environ['VERCEL_PROJECT_ID']}/{target.partition('=')[2]}"
        (folder / ".vercel").mkdir(exist_ok=True)
        variables = ask("GET", api + path)["env"]
        text = "".join(f'{name}="{value}"\n' for name, value in variables.items())
        (folder / ".vercel" / f".env.{target.partition('=')[2]}.local").write_text(text)
    elif argv[0] == "build":
        static = folder / ".vercel" / "output" / "static"
        static.mkdir(parents=True)
        (static / "release.txt").write_text(os.environ["NEXT_PUBLIC_RELEASE"])
    else:
        deploy(folder, api, argv)
    return 0


def deploy(folder: Path, api: str, argv: list[str]) -> None:
    import hashlib

    content = (folder / ".vercel" / "output" / "static" / "release.txt").read_bytes()
    sha = hashlib.sha1(content, usedforsecurity=False).hexdigest()
    ask("POST", f"{api}/v2/files", content, {"x-now-digest": sha})
    meta = dict(argv[at + 1].split("=", 1) for at, part in enumerate(argv) if part == "--meta")
    production = {"target": "production"} if "--prod" in argv else {}
    skips = {"autoAssignCustomDomains": False} if "--skip-domain" in argv else {}
    files = [{"file": ".vercel/output/static/release.txt", "sha": sha, "size": len(content)}]
    body = {"name": "chat-web", "project": os.environ["VERCEL_PROJECT_ID"], "meta": meta, "files": files}
    made = ask("POST", f"{api}/v13/deployments", json.dumps({**body, **production, **skips}).encode())
    print(json.dumps({"id": made["id"], "url": made["url"]}))


def ask(method: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None):
    import urllib.request  # takes longer than all the rest, and a build needs none

    sent = {"authorization": f"Bearer {os.environ['VERCEL_TOKEN']}", **(headers or {})}
    request = urllib.request.Request(url, body, sent, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
