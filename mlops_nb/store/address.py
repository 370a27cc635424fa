"""Addresses of stores on a server: what they name, apart from what opens it.

The kernel reads them too, to know where its spool lies, so SQLAlchemy is not needed here; the
grammar is the one by which SQLAlchemy reads them.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode

DRIVER = "postgresql+psycopg"
_OURS = frozenset({DRIVER, "postgresql", "postgres"})
_PORT = "5432"
_ADDRESS = re.compile(
    r"""
    (?P<scheme>[\w+]+)://
    (?P<opening>[^:/]*(?::[^@]*)?@)?
    (?:\[(?P<host6>[^/?]+)\]|(?P<host>[^/:?]+))?
    (?::(?P<port>[^/?]*))?
    (?:/(?P<database>[^?]*))?
    (?:\?(?P<query>.*))?
    """,
    re.VERBOSE | re.DOTALL,
)
# What says which database is meant; everything else in a query says how it is opened.
_NAMING = ("host", "hostaddr", "port", "dbname", "service", "search_path")
_BY_ENVIRONMENT = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "service": "PGSERVICE",
}


class Address(NamedTuple):
    """The parts of a URL that name a database; none of them opens it.

    Attributes
    ----------
    scheme, host, port, database
        As they are written; empty where they are not.
    query
        Other places where a part may be named: ``host`` of a socket, ``service``, ``search_path``.
    is_clean
        Whether nothing of a password can have come into these parts by mistake.
    """

    scheme: str
    host: str
    port: str
    database: str
    query: tuple[tuple[str, str], ...]
    is_clean: bool

    @property
    def is_ours(self) -> bool:
        """Whether it is of a database that a store can be on."""
        return self.scheme in _OURS

    @property
    def names_database(self) -> bool:
        """Whether it says which database is meant."""
        return bool(self.database) or any(k in {"dbname", "service"} for k, _ in self.query)


def read_address(url: str) -> Address | None:
    """Read a URL; None if it has another form."""
    found = _ADDRESS.fullmatch(url)
    if found is None:
        return None
    given = dict(parse_qsl(found["query"] or "", keep_blank_values=True))
    if path := re.search(r"search_path=([\w$,]+)", given.get("options", "")):
        given["search_path"] = path[1]
    host = found["host6"] or found["host"] or ""
    port, database = found["port"] or "", found["database"] or ""
    known = {"host": host, "hostaddr": host, "port": port, "dbname": database}
    for name, variable in _BY_ENVIRONMENT.items():
        if os.environ.get(variable) and not known.get(name) and "service" not in given:
            given.setdefault(name, os.environ[variable])
    query = tuple((name, given[name]) for name in _NAMING if given.get(name))
    # A password that is not quoted ends at its first @, and what follows looks like a host.
    is_clean = "@" not in url[found.end("opening") :] if found["opening"] else "@" not in url
    is_clean = is_clean and (not port or port.isdecimal())
    return Address(found["scheme"], host, port, unquote(database), query, is_clean)


def location_of(url: str) -> str:
    """Name a server without what opens it.

    Examples
    --------
    >>> location_of("postgresql+psycopg://ann:secret@db.local/lab?sslkey=x")
    'postgresql+psycopg://db.local/lab'
    """
    address = read_address(url)
    if address is None:
        return f"{url.partition('://')[0]}://…"
    if not address.is_clean:
        return f"{address.scheme}://…"
    host = f"[{address.host}]" if ":" in address.host else address.host
    port = f":{address.port}" if address.port else ""
    database = f"/{address.database}" if address.database else ""
    query = f"?{urlencode(address.query, safe='/,')}" if address.query else ""
    return f"{address.scheme}://{host}{port}{database}{query}"


def digest_of(url: str) -> str:
    """Name the folder of a server's spools: the same for all ways to open the same database."""
    address = read_address(url)
    if address is None:
        parts: dict[str, str] = {"url": location_of(url)}
    else:
        parts = dict(address.query)
        parts.update({k: v for k, v in zip(_PARTS, address[1:4], strict=True) if v})
        parts["host"] = parts.get("host", "").lower()
        parts["port"] = parts.get("port") or _PORT
    text = "\n".join(f"{name}={parts[name]}" for name in sorted(parts))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:24]


_PARTS = ("host", "port", "dbname")
