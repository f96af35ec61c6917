"""Where the broker is, and how a client behaves.

The variables are those of ``jailfleet-producer``: ``JAILFLEET__AMQP__URI``,
``JAILFLEET__PRODUCER__LANE`` and so on, so that one environment serves both.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Optional
from urllib.parse import parse_qs, unquote, urlsplit

import pika
import pika.credentials

from .errors import ConfigError

DEFAULT_URI = "amqp://guest:guest@127.0.0.1:5672/%2f"
PORTS = {"amqp": 5672, "amqps": 5671}
LANES = ("interactive", "bulk")
REPLY_MODES = ("default", "exchange")
_VARIABLE = "JAILFLEET__"


@dataclass(frozen=True)
class Settings:
    """The defaults are those of ``config/producer.toml``. Units end the names."""

    uri: str = DEFAULT_URI
    #: A file that holds the URI; takes precedence. Read again at each connection.
    uri_file: str = ""
    #: A file that holds the password of the user in the URI. Read again at each connection.
    password_file: str = ""
    #: The only authorities that are trusted for amqps; "": those of the host.
    ca_file: str = ""
    client_cert_file: str = ""
    client_key_file: str = ""
    prefix: str = "jailfleet"
    heartbeat_s: int = 15
    connect_timeout_ms: int = 10_000
    confirm_timeout_ms: int = 30_000
    #: Where workers send results: "default", or "exchange", which the reply queue is then bound to.
    reply_mode: str = "default"
    backoff_min_ms: int = 200
    backoff_max_ms: int = 30_000
    #: Pool and lane of jobs that name none.
    pool: str = "default"
    lane: str = "bulk"
    #: Jobs of a bulk that are out at one time, and so the most results that wait in memory.
    window: int = 256
    #: Results that the broker hands over before it waits for our word.
    prefetch: int = 256
    idle_timeout_ms: int = 600_000
    message_bytes: int = 8_388_608
    result_bytes: int = 16_777_216

    def __post_init__(self) -> None:
        if self.lane not in LANES:
            raise ConfigError(f"lane: {self.lane!r} is none; use one of {', '.join(LANES)}")
        if self.reply_mode not in REPLY_MODES:
            raise ConfigError(f"reply_mode: {self.reply_mode!r} is none; use one of {', '.join(REPLY_MODES)}")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(field.default, int) and (
                not isinstance(value, int) or isinstance(value, bool) or value < 1
            ):
                raise ConfigError(f"{field.name}: {value!r} is no whole number above 0")
        if self.prefetch > 65_535:
            raise ConfigError(f"prefetch: {self.prefetch} is above 65535")
        self.address()

    def __repr__(self) -> str:
        # The URI may hold a password; a repr lands in logs and tracebacks.
        return f"Settings({self.redacted_uri()!r}, prefix={self.prefix!r})"

    @classmethod
    def from_environment(cls, environment: Optional[Mapping[str, str]] = None, **given: Any) -> Settings:
        """What the variables say; ``given`` goes on top of them."""
        environment = os.environ if environment is None else environment
        values: dict[str, Any] = {}
        for field in fields(cls):
            section = "PRODUCER" if field.name in _OF_PRODUCER else "AMQP"
            name = f"{_VARIABLE}{section}__{field.name.upper()}"
            text = environment.get(name)
            if text is None:
                continue
            values[field.name] = _number(name, text) if isinstance(field.default, int) else text
        values.update(given)
        return cls(**values)

    def address(self) -> Address:
        """The broker's address as it is now: files are read again.

        :raises ConfigError: without a word of the URI in it, which may hold a password.
        """
        uri = _content("uri_file", self.uri_file) if self.uri_file else self.uri
        address = Address.parse(uri)
        if self.password_file:
            address = Address(**{**vars(address), "password": _content("password_file", self.password_file)})
        return address

    def redacted_uri(self) -> str:
        """The URI without its password, for people."""
        try:
            return self.address().redacted()
        except ConfigError:
            return "(no URI that can be read)"

    def parameters(self) -> pika.ConnectionParameters:
        """What pika needs for one connection."""
        address = self.address()
        credentials = (
            pika.credentials.ExternalCredentials()
            if address.external
            else pika.PlainCredentials(address.user, address.password)
        )
        seconds = self.connect_timeout_ms / 1000
        return pika.ConnectionParameters(
            host=address.host,
            port=address.port,
            virtual_host=address.vhost,
            credentials=credentials,
            ssl_options=self._tls(address.host) if address.tls else None,
            heartbeat=self.heartbeat_s,
            socket_timeout=seconds,
            stack_timeout=seconds,
            # One try each: the pauses between them are ours.
            connection_attempts=1,
            client_properties={"connection_name": "jailfleet-python"},
        )

    def _tls(self, host: str) -> pika.SSLOptions:
        try:
            context = ssl.create_default_context(cafile=self.ca_file or None)
            if self.client_cert_file:
                context.load_cert_chain(self.client_cert_file, self.client_key_file or None)
        except OSError as error:
            raise ConfigError(
                f"ca_file, client_cert_file or client_key_file cannot be used: {error}"
            ) from None
        return pika.SSLOptions(context, server_hostname=host)


_OF_PRODUCER = {
    "pool",
    "lane",
    "window",
    "prefetch",
    "idle_timeout_ms",
    "message_bytes",
    "result_bytes",
}


@dataclass(frozen=True)
class Address:
    """A URI of a broker, taken apart."""

    tls: bool
    host: str
    port: int
    user: str
    password: str
    vhost: str
    external: bool

    def __repr__(self) -> str:
        return f"Address({self.redacted()!r})"

    @classmethod
    def parse(cls, uri: str) -> Address:
        """Takes a URI apart. What is wrong is told without the URI and without what parsers say of it."""
        try:
            parts = urlsplit(uri.strip())
            host, port = parts.hostname, parts.port
            query = parse_qs(parts.query)
        except ValueError:
            host, port, parts, query = None, None, None, {}
        if parts is None or parts.scheme not in PORTS or not host:
            raise ConfigError(
                "uri: is no amqp://user:password@host:port/vhost; are / : @ in the password "
                "written as %2f %3a %40?"
            )
        path = parts.path[1:]
        if "/" in path or "@" in path:
            # Where a password has a slash in it, the rest of it looks like a vhost.
            raise ConfigError("uri: write / and @ in passwords and in the vhost's name as %2f and %40")
        return cls(
            tls=parts.scheme == "amqps",
            host=host,
            port=port or PORTS[parts.scheme],
            user=unquote(parts.username) if parts.username is not None else "guest",
            password=unquote(parts.password) if parts.password is not None else "guest",
            # As lapin does: no path is the default vhost, and so is an empty one.
            vhost=unquote(path) or "/",
            external=query.get("auth_mechanism", [""])[-1].lower() == "external",
        )

    def redacted(self) -> str:
        """The URI without its password."""
        scheme = "amqps" if self.tls else "amqp"
        vhost = self.vhost.replace("/", "%2f")
        return f"{scheme}://{self.user}:***@{self.host}:{self.port}/{vhost}"

    def scrubbed(self, text: str) -> str:
        """Somebody else's words, with the password taken out should it be among them."""
        return text.replace(self.password, "***") if self.password else text


def _number(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"{name}: is no whole number") from None


def _content(name: str, path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(65_536).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(f"{name}: {path} cannot be read: {reason}") from None
