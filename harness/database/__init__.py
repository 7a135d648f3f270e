"""Does a database let one user see or change another's data? Read from its catalogue, and proven by trying.

declaration   who is meant to do what (YAML)
catalogue     what there is: one query
synthesise    rows that satisfy the catalogue; worlds of rows, one a user
oracle        what the declaration says about one row and one caller
prober        tries it, as the caller, inside a transaction that is rolled back
blame         which policy, grant or function let it happen
static_*      what the catalogue alone gives away
check         all of it: a report of findings, and of what could not be proven
declare       a first declaration, from a live database

Nothing here knows this project's environments or pytest: a connection and a declaration are enough.
"""
