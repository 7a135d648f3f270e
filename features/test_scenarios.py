"""Binds every scenario of every feature in this directory; nothing else may."""

import pytest
from pytest_bdd import scenarios

pytestmark = pytest.mark.checklist

scenarios(".")
