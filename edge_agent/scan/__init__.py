"""Finding devices: on the machine's own private networks over Modbus TCP, and on a broker over MQTT.

Only reads, only where it was told to or at home, few connections at once, one question at a time per host, and
bounded in time. `network` says where, `fingerprint` and `topics` decide what something is (both pure), `modbus`
and `mqtt` ask and listen, `draft` writes a site file of it, `command` is what the user sees.
"""
