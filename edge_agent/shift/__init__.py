"""The time during which one site file is in force: who runs when, what a reading becomes, what is stored together, what commands hear."""

from edge_agent.shift.shift import EvidenceOfTime, Shift, no_evidence

__all__ = ["EvidenceOfTime", "Shift", "no_evidence"]
