"""Declarative pipelines: nodes in a dict, YAML or JSON, bound to plain functions."""

from segue.pipelines.pipeline import Pipeline

__all__ = ["Pipeline"]
