"""Floor 4, pure: from readings to energies of intervals, gauges at their ends, changes and house totals."""
