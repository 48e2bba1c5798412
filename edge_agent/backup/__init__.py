"""`edge-agent backup` and `restore`: a house in one file, for a new SD card or gateway.

What counts is in the queue's file: waiting events, the counters' last readings, the open interval. Two gateways that
both go on from there would send the same energy twice, so a restored one must know until when the other one sent:
exactly, where `backup --move` ended it, else from whoever restores it.
"""
