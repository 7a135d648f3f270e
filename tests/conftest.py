"""Fixtures that every test may ask for; each is made when it is asked for."""

from tests.pg_fixture import cluster, database, database_stack, project, supabase_stack
from tests.web_stack import web_session, web_stand

__all__ = ["cluster", "database", "database_stack", "project", "supabase_stack", "web_session", "web_stand"]
