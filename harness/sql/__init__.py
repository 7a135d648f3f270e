"""Reads SQL as PostgreSQL itself does, before it runs.

source       statements, their lines, and what a comment accepts
known        what earlier statements made: tables, columns, checks
destructive  rules: what would lose data
locks        rules: what would hold others up
hosted       rules: what a hosted project refuses
rules        all of them by name, with the reason for each
lint         the rules applied to a directory of migrations
"""
