"""edge-agent: reads a house's energy devices and delivers their events to the MOOST cloud."""

__version__ = "0.1.0"
