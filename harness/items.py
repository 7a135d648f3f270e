"""The deployment plan's five checklists, item by item: what the features have to prove.

The plan is the source; here it is data, so that a missing scenario or a misspelt tag can be noticed.
"""

from __future__ import annotations

__all__ = ["CHECKLISTS", "ITEMS"]

CHECKLISTS = {
    "WEB": "Web app",
    "GW": "Gateway",
    "IG": "Instant GPU pod",
    "TG": "Thinking GPU (serverless)",
    "SB": "Supabase",
}
"""Prefix of an item: the checklist that it belongs to."""

ITEMS = {
    "WEB-1": "Environment variables set correctly",
    "WEB-2": "Auth callback URLs configured in Supabase",
    "WEB-3": "API routes point to correct Gateway",
    "WEB-4": "Error tracking enabled",
    "GW-1": "Docker image built and tested",
    "GW-2": "Environment variables for production",
    "GW-3": "Health check endpoint working",
    "GW-4": "Logging configured (structured JSON)",
    "GW-5": "Secrets not baked into image",
    "IG-1": "GPU type and VRAM verified",
    "IG-2": "Model downloaded and loaded",
    "IG-3": "API server running and healthy",
    "IG-4": "Firewall allows only Gateway",
    "IG-5": "Process manager configured",
    "TG-1": "Endpoint URL configured",
    "TG-2": "Model selected and tested",
    "TG-3": "Token limits set",
    "TG-4": "Spending caps enabled",
    "TG-5": "Cold start time acceptable",
    "SB-1": "All RLS policies verified",
    "SB-2": "Storage bucket permissions set",
    "SB-3": "Service role key secured",
    "SB-4": "Backups configured",
    "SB-5": "Monitoring enabled",
}
"""Item: what the plan says, in the plan's order."""
