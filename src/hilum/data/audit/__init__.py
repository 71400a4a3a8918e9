"""Exploratory analysis of a data set, written as a page, as JSON and as figures."""

from hilum.data.audit.build import Audit, build_audit

__all__ = ["Audit", "build_audit"]
