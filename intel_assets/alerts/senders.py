"""Senders: the ways out to a webhook and a mail server, each with an end to every wait.

One thread for each channel, so that none holds another. What fails is returned, never raised, and
says nothing of an address but its host.
"""

from __future__ import annotations

import json
import logging
import smtplib
import socket
import ssl
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from intel_assets.alerts import messages
from intel_assets.alerts.channels import EMAIL, SLACK, WEBHOOK, Channels, Mailbox
from intel_assets.alerts.delivery import Item, Patience
from intel_assets.alerts.words import plain
from intel_assets.clock import Clock
from intel_assets.ingest.redact import Redactor

if TYPE_CHECKING:
    import httpx

    from intel_assets.ingest.wire import Deadline

Done = Callable[[Item, str | None], None]
"""Takes what became of an item: None when it was delivered, else why not."""

_QUOTED = 200


def send(
    items: Sequence[Item], channels: Channels, patience: Patience, clock: Clock
) -> list[tuple[Item, str | None]]:
    """Tell everybody; return what became of each item that was tried.

    A target that fails is left in peace for the rest of the call: what else it was to be told is
    not returned. The call ends after `budget` and twice `seconds`, whatever the others do.
    """
    redactor = Redactor(channels.secrets)
    found: list[tuple[Item, str | None]] = []
    lock, closed = threading.Lock(), threading.Event()

    def done(item: Item, error: str | None) -> None:
        shown = None if error is None else plain(redactor.text(error), _QUOTED)
        with lock:
            if not closed.is_set():
                found.append((item, shown))

    ways: Mapping[str, type[_Way]] = {SLACK: _Slack, WEBHOOK: _Webhook, EMAIL: _Email}
    started = []
    for channel, kind in ways.items():
        ours = [item for item in items if item.target.channel == channel]
        if ours:
            way = kind(ours, channels, patience, clock, closed, done)
            # A daemon: a name server that does not answer must not hold the process at its end.
            thread = threading.Thread(target=way.go, name=f"alerts-{channel}", daemon=True)
            thread.start()
            started.append((thread, way))
    end = time.monotonic() + patience.budget + 2 * patience.seconds
    for thread, way in started:
        thread.join(max(0.0, end - time.monotonic()))
        if thread.is_alive() and way.current is not None:
            done(way.current, f"it took longer than {patience.budget + 2 * patience.seconds:g} s")
    with lock:
        closed.set()
        return found


class _Way(ABC):
    """The messages of one channel, one after the other."""

    def __init__(
        self,
        items: Sequence[Item],
        channels: Channels,
        patience: Patience,
        clock: Clock,
        closed: threading.Event,
        done: Done,
    ) -> None:
        self.items = items
        self.channels = channels
        self.seconds = patience.seconds
        self.clock = clock
        self.current: Item | None = items[0]
        self.reported: list[Item] = []
        self._closed = closed
        self._done = done
        self._end = time.monotonic() + patience.budget

    def go(self) -> None:
        """Send; whatever goes wrong is reported."""
        try:
            self.run()
        except Exception as error:
            # The words of an exception may hold an address with its secrets; its name does not.
            if self.current is not None:
                self.report(self.current, f"it failed with {type(error).__name__}")

    @abstractmethod
    def run(self) -> None:
        """Send what is to be sent."""

    def remaining(self) -> Iterator[Item]:
        """Give the items until the time is over."""
        for item in self.items:
            if self._closed.is_set() or time.monotonic() >= self._end:
                return
            self.current = item
            yield item

    def report(self, item: Item, error: str | None) -> None:
        self.current = None
        self.reported.append(item)
        self._done(item, error)


class _Http(_Way):
    """Posts bodies to a URL."""

    def run(self) -> None:
        with _client(self.seconds) as (client, deadline):
            for item in self.remaining():
                url, body, headers = self.request(item)
                with deadline.within(self.seconds):
                    error = _posted(client, url, body, headers, self.seconds)
                self.report(item, error)
                if error is not None:
                    return

    @abstractmethod
    def request(self, item: Item) -> tuple[str, bytes, dict[str, str]]:
        """Return where a message goes, and its body and headers."""


class _Slack(_Http):
    def request(self, item: Item) -> tuple[str, bytes, dict[str, str]]:
        url = self.channels.slack
        if url is None:
            raise LookupError(SLACK)
        return url.get_secret_value(), json.dumps(messages.slack(item.row)).encode(), {}


class _Webhook(_Http):
    def request(self, item: Item) -> tuple[str, bytes, dict[str, str]]:
        webhook = self.channels.webhook
        if webhook is None:
            raise LookupError(WEBHOOK)
        body = messages.webhook(item.row)
        headers = messages.signed(item.row, body, webhook.key, self.clock())
        return webhook.url.get_secret_value(), body, headers


class _Email(_Way):
    """Sends a mail to each address, over one connection."""

    def run(self) -> None:
        mailbox = self.channels.email
        if mailbox is None:
            raise LookupError(EMAIL)
        told: dict[str, str | None] = {}  # What became of the last mail to each address.
        try:
            with _server(mailbox, self.seconds) as server:
                for item in self.remaining():
                    if told.get(item.target.key) is not None:
                        self.current = None
                        continue
                    with _watched(server, self.seconds):
                        error = _mailed(server, mailbox, item, self)
                    told[item.target.key] = error
                    self.report(item, error)
        except _ServerFailed as error:
            # The server is at fault, so that each address waits, and begins with its next message.
            failed = {key for key, why in told.items() if why is not None}
            for item in [item for item in self.items if item not in self.reported]:
                if item.target.key not in failed:
                    failed.add(item.target.key)
                    self.report(item, str(error))


# -- HTTP -------------------------------------------------------------------------------------


@contextmanager
def _client(seconds: float) -> Iterator[tuple[httpx.Client, Deadline]]:
    # Here, so that what has nothing to tell does not load an HTTP client.
    import httpx

    from intel_assets.ingest import wire

    for name in ("httpx", "httpcore"):  # They write whole addresses.
        logging.getLogger(name).setLevel(logging.WARNING)
    deadline = wire.Deadline()
    client = httpx.Client(
        timeout=seconds,
        follow_redirects=False,
        event_hooks={"response": [wire.keep_location]},
        headers={
            "User-Agent": "intel-assets",
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
        },
    )
    wire.set_deadline(client, deadline)
    with client:
        yield client, deadline


def _posted(
    client: httpx.Client, url: str, body: bytes, headers: Mapping[str, str], seconds: float
) -> str | None:
    import httpx

    try:
        request = client.build_request("POST", url, content=body, headers=headers)
        response = client.send(request, stream=True)
        with _closing(response):
            if response.is_success:
                return None
            return f"it answered {response.status_code}{_quote(response)}"
    except httpx.TimeoutException:
        return f"no answer within {seconds:g} s"
    except httpx.ConnectError:
        return "no connection"
    except httpx.TransportError:
        return "the connection broke"


@contextmanager
def _closing(response: httpx.Response) -> Iterator[None]:
    try:
        yield
    finally:
        response.close()


def _quote(response: httpx.Response) -> str:
    """Return the beginning of an answer, for people."""
    data = b""
    for piece in response.iter_raw():
        data += piece
        if len(data) >= _QUOTED:
            break
    text = plain(data[: 4 * _QUOTED].decode("utf-8", "replace"), _QUOTED)
    return f": {text}" if text else ""


# -- SMTP -------------------------------------------------------------------------------------


class _ServerFailed(Exception):
    """The mail server cannot be used, for whatever address. Holds no secret."""


@contextmanager
def _server(mailbox: Mailbox, seconds: float) -> Iterator[smtplib.SMTP]:
    """Open a connection to a mail server, signed in.

    Raises:
        _ServerFailed: If it cannot be opened, or breaks.
    """
    # Python's own way to find it may ask a name server, and wait for that.
    name = socket.gethostname()
    us = name if "." in name else "[127.0.0.1]"
    tls = ssl.create_default_context() if mailbox.security != "none" else None
    if tls is not None and mailbox.security == "tls":
        server: smtplib.SMTP = smtplib.SMTP_SSL(timeout=seconds, local_hostname=us, context=tls)
    else:
        server = smtplib.SMTP(timeout=seconds, local_hostname=us)
    # What TLS checks the certificate against: `connect` does not keep it.
    server._host = mailbox.host  # type: ignore[attr-defined]
    try:
        with _watched(server, seconds):
            code, text = server.connect(mailbox.host, mailbox.port)
            if code != 220:
                raise smtplib.SMTPConnectError(code, text)
            if tls is not None and mailbox.security == "starttls":
                server.starttls(context=tls)
            if mailbox.user and mailbox.password:
                server.login(mailbox.user, mailbox.password.get_secret_value())
        yield server
        with suppress(smtplib.SMTPException, OSError), _watched(server, seconds):
            server.quit()
    except (smtplib.SMTPException, OSError) as error:
        failure = _ServerFailed(_why(error, seconds))
    else:
        return
    finally:
        server.close()
    raise failure


@contextmanager
def _watched(server: smtplib.SMTP, seconds: float) -> Iterator[None]:
    """Cut a connection that takes too long in all: smtplib times single reads only."""

    def cut() -> None:
        if server.sock is not None:
            with suppress(OSError):
                server.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _mailed(server: smtplib.SMTP, mailbox: Mailbox, item: Item, way: _Way) -> str | None:
    """Send a mail; return why the server would not take this one."""
    to = item.target.shown
    message = messages.email(item.row, mailbox.sender, [to], way.clock())
    try:
        server.send_message(message, mailbox.sender, [to])
    except smtplib.SMTPRecipientsRefused as error:
        code, text = error.recipients[to]
        return f"the address is refused: {_reply(code, text)}"
    except smtplib.SMTPSenderRefused as error:
        return (
            f"the sender {mailbox.sender} is refused: {_reply(error.smtp_code, error.smtp_error)}"
        )
    except smtplib.SMTPDataError as error:
        return f"the mail is refused: {_reply(error.smtp_code, error.smtp_error)}"
    return None


def _why(error: Exception, seconds: float) -> str:
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return f"user and password are refused: {_reply(error.smtp_code, error.smtp_error)}"
    if isinstance(error, smtplib.SMTPResponseException):
        return f"it answered {_reply(error.smtp_code, error.smtp_error)}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not good: {error.verify_message}"
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return "it does not offer what the settings ask of it (STARTTLS or a login)"
    if isinstance(error, TimeoutError):
        return f"no answer within {seconds:g} s"
    if isinstance(error, ConnectionRefusedError | socket.gaierror):
        return "no connection"
    return "the connection broke"


def _reply(code: int, text: bytes | str) -> str:
    said = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return f"{code} {said}"
