"""`edge-agent setup`: the few questions that a site file needs, and the proof that their answers work.

Nothing is written before the cloud has accepted the credentials (unless told otherwise), the file before this one
is kept where `check` refuses the new one, and a file that somebody has edited keeps every line of theirs.
"""
