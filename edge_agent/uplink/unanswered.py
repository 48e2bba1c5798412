"""Why no answer came, in words of ours: an exception's own words may hold the URL, and that the client secret. Pure."""

from __future__ import annotations

import ssl

from edge_agent.uplink.verdict import Verdict, unreached


def no_answer(call: str, error: Exception) -> Verdict:
    """The verdict on an exception during `call`; of its words only the operating system's are quoted."""
    cause = _cause(error)
    if isinstance(cause, ssl.SSLError):
        why = f"TLS is refused ({getattr(cause, 'verify_message', '') or cause.reason}); check the system's clock, `ca_file:` and the proxy"
        return unreached(call, why, reached=True, in_doubt=type(error).__name__ in ("ReadError", "WriteError"))
    words = {
        "ConnectTimeout": "no connection in time; check the network",
        "ReadTimeout": "no answer in time",
        "TimeoutError": "no complete answer in time",
        "WriteTimeout": "the connection takes no more data",
        "RemoteProtocolError": "the connection was closed without an answer",
        "ReadError": "the connection broke",
        "WriteError": "the connection broke",
        "ProxyError": "the proxy refuses; check HTTPS_PROXY",
    }
    name = type(error).__name__
    quoted = f" ({cause.strerror})" if isinstance(cause, OSError) and cause.strerror else ""
    why = words.get(name, f"cannot be reached{quoted}; check the network" if name == "ConnectError" else f"failed ({name}){quoted}")
    reached = name not in ("ConnectError", "ConnectTimeout", "ProxyError")
    return unreached(call, why, reached, in_doubt=reached and name in words)


def _cause(error: BaseException) -> BaseException:
    """The operating system's error at the bottom, or the error itself."""
    seen = error
    while (below := seen.__cause__ or seen.__context__) is not None:
        seen = below
        if isinstance(seen, ssl.SSLError):
            return seen
    return seen
