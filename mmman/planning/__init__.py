"""The best way to train within a memory."""

from .planner import Plan, Planner

__all__ = ['Plan', 'Planner']
