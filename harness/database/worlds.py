"""Rows to try things on: for each of a few users a whole world of rows, planted through the catalogue.

In the world of A every owner is A, every group A's own, every foreign key leads to another row of A. So
whatever the rules say of owners and members is true of A and false of B, without a word about the tables.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from harness.database.catalogue import Catalogue, Relation
from harness.database.counterparts import counterparts_of
from harness.database.declaration import Declaration
from harness.database.findings import Gap
from harness.database.folders import folder_of
from harness.database.mentions import tables_in
from harness.database.oracle import Actor, Subject, literal
from harness.database.planted import CannotPlant, Planted, World, as_text
from harness.database.row_maker import RowMaker
from harness.database.row_values import WHOLE
from harness.database.static_functions import MANAGED
from harness.database.synthesise import fresh, plausible
from harness.database.whose import Claim, claims_of, documents_of, held, joined

__all__ = ["Planter", "wanted"]


@dataclass
class Planter(RowMaker):
    """Plants through ``connection``, whose role bypasses row level security."""

    declaration: Declaration = field(default_factory=Declaration)
    subjects: list[Subject] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.users = self.catalogue.by_title.get(self.declaration.users or "")
        if self.users is None and self.declaration.users not in (None, "auth.users"):
            raise CannotPlant(f"there is no table of users {self.declaration.users}")
        self.by_relation = {
            subject.relation.oid: subject for subject in self.subjects if not subject.bucket
        }
        self.prefer = dict(self._preferences())
        self.owners = {
            (subject.relation.oid, rule.by)
            for subject in self.subjects
            for rule in subject.rules
            if rule.who == "owner" and rule.by and not subject.bucket
        }
        self.documents = documents_of(self.subjects)
        self.counterparts = counterparts_of(self.catalogue, self.subjects)
        told = self.declaration.settings.get("request.jwt.claims", "")
        self.claims = [
            claim for claim in claims_of(self.catalogue, self.subjects) if f'"{claim.path[-1]}"' not in told
        ]
        for membership in self.declaration.memberships.values():
            if (relation := self.catalogue.by_title.get(membership.table)) is not None:
                self.owners.add((relation.oid, membership.user))

    def _preferences(self) -> Iterator[tuple[tuple[int, str], str]]:
        """What makes a member's row strong: the role that most rules ask for."""
        for name, membership in self.declaration.memberships.items():
            relation = self.catalogue.by_title.get(membership.table)
            asked = [
                rule.roles for s in self.subjects for rule in s.rules if rule.of == name and rule.roles
            ]
            if relation is None:
                continue
            if membership.role and asked:
                everyone = [role for roles in asked for role in roles]
                yield (relation.oid, membership.role), max(dict.fromkeys(everyone), key=everyone.count)
            for column in relation.columns:
                found = re.search(
                    rf"(?<!\w){re.escape(column.name)}(?!\w)\W*(?:::\w+\W*)?(?:=|\bin\b)\W*'([^']+)'",
                    membership.where or "",
                )
                if found:
                    yield (relation.oid, column.name), found[1]
                elif column.base == "bool" and re.search(
                    rf"(?<!\w){re.escape(column.name)}(?!\w)", membership.where or ""
                ):
                    yield (relation.oid, column.name), wanted(column.name, membership.where or "")
                elif re.search(
                    rf"(?<!\w){re.escape(column.name)}(?!\w) is not null", membership.where or "", re.I
                ):
                    yield (relation.oid, column.name), plausible(column, self.mark)
                elif column.category == "A" and (listed := self._listed(relation, column.name)):
                    yield (relation.oid, column.name), "{" + ",".join(listed) + "}"

    def _listed(self, relation: Relation, name: str) -> list[str]:
        """What rules and helper functions look for in a list of roles, such as `roles && '{admin}'`."""
        rules = (rule for subject in self.subjects for rule in subject.rules)
        texts = [f"{rule.where or ''} {rule.check or ''}" for rule in rules]
        texts += [f.body for f in self.catalogue.functions if not f.extension]
        about = " ".join(text for text in texts if relation.name in text)
        column = rf"(?<!\w){re.escape(name)}(?!\w)"
        found = re.findall(rf"{column}\W*?(?:&&|@>)\s*'\{{([^}}']*)\}}'", about)
        found += re.findall(rf"'([^']+)'(?:::\w+)? = any \(+(?:\w+\.)?{column}", about, re.I)
        return sorted({word for one in found for word in one.split(",") if word.isidentifier()})

    # --- worlds -------------------------------------------------------------------------------------

    def world(self, name: str, role: str, user: str | None = None) -> World:
        """A user (with the id ``user``, when given), with a row in the table of users where there is one.

        Raises:
            CannotPlant: when the user cannot be made.
        """
        world = World(Actor(name, role, user or str(uuid.uuid4())))
        self.worlds.append(world)
        if self.users is None:
            return world
        self.act(world)
        local = re.sub(r"\W+", "-", f"{self.mark}-{name}".lower())
        known = {
            "aud": "authenticated",
            "role": "authenticated",
            "email": f"probe-{local}-{uuid.uuid4().hex[:4]}@probe.invalid",
        }
        values = {c: v for c, v in known.items() if self.users.column(c)}
        key = self.users.key[0] if self.users.key else "id"
        column = self.users.column(key)
        if column is not None and column.base == "uuid":
            values[key] = world.user
        row = self.insert(self.users, world, values)
        if row.found:
            raise CannotPlant(f"{self.users.title}: no user of our own fits beside those who are there")
        claims = {"email": row.data["email"]} if row.data.get("email") else {}
        world.actor = Actor(name, role, as_text(row.data[key]), claims)
        world.rows[self.users.oid, ""] = row
        self._told(world)
        return world

    def _told(self, world: World) -> None:
        """The token says of the user what conditions compare columns with: a value of the user's own."""
        values: dict[tuple[str, ...], str] = {}
        for claim in sorted(self.claims, key=_narrowness):
            value = values.setdefault(claim.path, claim.value())
            world.told[claim.relation.oid, claim.column.name] = value
            for link in claim.relation.constraints:
                if link.kind == "f" and link.columns == [claim.column.name] and link.target:
                    world.promised.setdefault(link.target, {})[link.target_columns[0]] = value
        claims = dict(world.actor.claims)
        for path, value in values.items():
            claims = joined(claims, held(path, value))
        world.actor = replace(world.actor, claims=claims)

    def stranger(self) -> World:
        """A user who has nothing to do with anybody: whom a row needs that leads to two different users."""
        known = next((world for world in self.worlds if world.actor.name == "stranger"), None)
        if known is not None:
            return known
        acting = next((world for world in reversed(self.worlds) if world.busy), None)
        made = self.world("stranger", self.declaration.signed_in)
        if acting is not None:
            self.act(acting)
        return made

    def act(self, world: World) -> None:
        """Triggers and defaults that ask who is calling shall see the world's user."""
        settings = {"request.jwt.claims": world.actor.token} | {
            name: value.replace("{user}", world.user) for name, value in self.declaration.settings.items()
        }
        calls = ", ".join(f"set_config({literal(k)}, {literal(v)}, true)" for k, v in settings.items())
        self.connection.execute(f"select {calls}".encode())

    def plant(self, world: World, subject: Subject) -> Planted:
        """The row of ``subject`` in ``world``, made when it is not there yet.

        Raises:
            CannotPlant: when it cannot be made.
        """
        if (there := world.row(subject)) is not None:
            return there
        if subject.bucket:
            world.rows[subject.key] = self.insert(subject.relation, world, self.filled(world, subject))
        else:
            self.ensure(world, subject.relation)
        return world.rows[subject.key]

    def surroundings(self, world: World) -> Iterator[Gap]:
        """Rows of what the subjects' conditions and views look at, declared or not, where they can be made.

        A private table of members, say: without a row in it nobody would be let in. What a view would show
        of tables of which nothing is declared, and cannot be made, is said.
        """
        for relation in surroundings(self.catalogue, self.declaration, self.subjects):
            try:
                self.ensure(world, relation)
            except CannotPlant as error:
                why = f"rows that it would show cannot be made up: {error}"
                yield from (Gap(view.title, why) for view in self._showing(relation))

    def _showing(self, relation: Relation) -> list[Subject]:
        """The views that read ``relation``, where nobody reaches it by itself."""
        if relation.oid in self.by_relation:
            return []
        views = [subject for subject in self.subjects if not subject.relation.table]
        return [view for view in views if relation.oid in self.catalogue.reach(view.relation)]

    def filled(self, world: World, subject: Subject) -> dict[str, str]:
        """The subject's fixed values, with the world's user, folder and mark in them."""
        words = {
            "{user}": world.user,
            "{folder}": folder_of(self, world, subject) if subject.bucket else world.user,
            "{mark}": fresh(self.mark),
            "{number}": str(10**8 + uuid.uuid4().int % 10**8),
        }
        values = {}
        for name, template in subject.fixed.items():
            value = template
            for word, meant in words.items():
                value = value.replace(word, meant)
            if subject.relation.column(name):
                values[name] = value
        return values

    def ensure(self, world: World, relation: Relation) -> Planted:
        """The row of ``relation`` in ``world``; rows that it refers to are made first."""
        if (there := world.rows.get((relation.oid, ""))) is not None:
            return there
        if relation.oid in world.busy:
            raise CannotPlant(f"{relation.title}: foreign keys lead in a circle that no null breaks")
        world.busy.add(relation.oid)
        try:
            subject = self.by_relation.get(relation.oid)
            fixed = self.filled(world, subject) if subject else {}
            planted = self.insert(relation, world, fixed)
            if planted.found:
                self.shared.setdefault(relation.oid, planted)
        finally:
            world.busy.discard(relation.oid)
        world.rows[relation.oid, ""] = planted
        return planted

    def refresh(self, world: World) -> list[tuple[int, str]]:
        """Look every row up again: triggers of later rows may have changed it. Those that are gone."""
        gone = []
        for key, planted in world.rows.items():
            query = f"select {WHOLE} from {planted.relation.sql} t where {planted.match()}"
            row = self.connection.execute(query.encode()).fetchone()
            if row is not None:
                planted.data, planted.table, planted.ctid = row
            elif planted.relation.key:
                gone.append(key)
        return gone


def _narrowness(claim: Claim) -> int:
    """A number is a text as well, and so is a UUID; not the other way round."""
    return {"uuid": 0}.get(claim.column.base, 1 if claim.column.category == "N" else 2)


def wanted(name: str, condition: str) -> str:
    """What a condition wants a yes or no to be."""
    word = rf"(?:\w+\.)?\"?(?<!\w){re.escape(name)}(?!\w)\"?"
    no = rf"\bnot\s+(?:coalesce\s*)?\(?\s*{word}"
    against = rf"{word}\W*\s(?:=\s*false|is\s+false|is\s+not\s+true|is\s+distinct\s+from\s+true)"
    return "false" if re.search(f"{no}|{against}", condition, re.I) else "true"


def surroundings(catalogue: Catalogue, declaration: Declaration, subjects: list[Subject]) -> list[Relation]:
    """Tables outside the platform's schemas that memberships, policies, their functions and views read."""
    oids: set[int] = set()
    titles = {membership.table for membership in declaration.memberships.values()}
    for subject in subjects:
        oids |= catalogue.reach(subject.relation)
        for policy in catalogue.policies_of(subject.relation):
            oids |= set(policy.relations)
            called = [catalogue.function_by_oid.get(oid) for oid in policy.functions]
            bodies = " ".join(f.body for f in called if f and f.schema not in MANAGED)
            titles |= tables_in(catalogue, bodies)
    return [
        relation
        for relation in catalogue.relations
        if (relation.oid in oids or relation.title in titles)
        and relation.table
        and relation.schema not in MANAGED
    ]
