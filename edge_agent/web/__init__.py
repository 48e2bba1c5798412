"""The agent's window for a browser and for monitoring: status page, metrics, health. Loaded only when the site file has `web:`.

`server` speaks HTTP (h11) and bounds what a stranger can cost; `guard` says who may see and do what; `app` answers;
`metrics` writes the figures for Prometheus. A server of our own on h11, which the uplink brings along, costs a tenth
of the memory of uvicorn with Starlette (0.4 instead of 3.5 MB) and has deadlines for slow clients, which uvicorn has not.
"""
