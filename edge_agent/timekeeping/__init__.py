"""When the machine's clock can be believed, and what becomes of readings until it can.

A gateway boots without a clock and is set by the network minutes later, or never. `system` asks the machine who
sets its clock, `trust` judges, `held` keeps what was read meanwhile by the time since boot, which needs no clock.
"""
