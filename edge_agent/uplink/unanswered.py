"""Why no answer came, in words of ours: an exception's own words may hold the URL, and that the client secret. Pure."""

from __future__ import annotations

import re
import ssl

from edge_agent.model.clock import utc_text
from edge_agent.uplink.verdict import Verdict, unreached

_NOT_YET_VALID, _EXPIRED = 9, 10  # OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED


def no_answer(call: str, error: Exception, now: float) -> Verdict:
    """The verdict on an exception during `call`; of its words only the operating system's are quoted. `now`: UTC epoch seconds."""
    cause = _cause(error)
    if isinstance(cause, ssl.SSLError):
        why = f"TLS is refused ({getattr(cause, 'verify_message', '') or cause.reason}); {_tls_advice(cause, now)}"
        return unreached(call, why, reached=True, in_doubt=type(error).__name__ in ("ReadError", "WriteError"))
    words = {
        "ConnectTimeout": "no connection in time; check the network",
        "ReadTimeout": "no answer in time",
        "TimeoutError": "no complete answer in time",
        "WriteTimeout": "the connection takes no more data",
        "RemoteProtocolError": "the connection was closed without an answer",
        "ReadError": "the connection broke",
        "WriteError": "the connection broke",
        "ProxyError": f"the proxy refuses{_status_in(error)}; check HTTPS_PROXY and the password in it",
    }
    name = type(error).__name__
    quoted = f" ({cause.strerror})" if isinstance(cause, OSError) and cause.strerror else ""
    why = words.get(name, f"cannot be reached{quoted}; check the network" if name == "ConnectError" else f"failed ({name}){quoted}")
    reached = name not in ("ConnectError", "ConnectTimeout", "ProxyError")
    return unreached(call, why, reached, in_doubt=reached and name in words)


def unprepared(call: str, error: Exception) -> Verdict:
    """The verdict when there is nothing to make a call with: the private authority or the proxy's address cannot be used."""
    what = "`ca_file:`" if isinstance(error, OSError) else "HTTPS_PROXY and ALL_PROXY: write http://host:port (SOCKS is not supported)"
    return unreached(call, f"the connection cannot be prepared ({type(error).__name__}); check {what}", reached=True)


def _tls_advice(error: ssl.SSLError, now: float) -> str:
    """A gateway without a clock of its own boots with a wrong date, and then no certificate fits."""
    code = getattr(error, "verify_code", 0)
    if code == _NOT_YET_VALID:
        return f"the clock says {utc_text(now)}; wait until it is set, or check the network time service"
    if code == _EXPIRED:
        return f"the clock says {utc_text(now)}; if that is right, the certificate of the cloud or the proxy has expired"
    return "check `ca_file:` and the proxy"


def _status_in(error: Exception) -> str:
    """The proxy's status; its words may be anything."""
    found = re.match(r"\d{3}\b", str(error))
    return f" ({found[0]})" if found else ""


def _cause(error: BaseException) -> BaseException:
    """The operating system's error at the bottom, or the error itself."""
    seen = error
    while (below := seen.__cause__ or seen.__context__) is not None:
        seen = below
        if isinstance(seen, ssl.SSLError):
            return seen
    return seen
