"""Floor 8: the site file, checked as a whole and turned into the settings that each floor declares.

`load_site` reports every mistake at once, each with its line and what to write instead.
"""

from edge_agent.config.site import Site, database_of, load_site

__all__ = ["Site", "database_of", "load_site"]
