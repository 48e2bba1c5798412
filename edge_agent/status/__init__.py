"""How the agent and its house stand now: one document for `status`, the page, the metrics and the support bundle.

`document` names what is in it, `gather` fills it, `advice` says in words what to do, `text` draws it for a terminal.
Only `facts` is kept while the agent runs; everything else is made when somebody asks.
"""
