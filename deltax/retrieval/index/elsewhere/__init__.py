"""Indexes that lie on other machines, and several that are searched as one."""
