"""Receivers on loopback: a web server and a mail server that do what a test tells them."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session


@dataclass(frozen=True)
class Call:
    """A request that came in."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Hook:
    """A web server that takes posts.

    Attributes:
        answers: What it answers next: a status, `hang`, `hang up` or `drip`; 200 when there is
            none left.
        text: The body of its answers.
    """

    url: str = ""
    calls: list[Call] = field(default_factory=list)
    answers: list[int | str] = field(default_factory=list)
    text: bytes = b"ok"
    closing: threading.Event = field(default_factory=threading.Event)


@contextmanager
def web() -> Iterator[Hook]:
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(size)
            headers = {name.lower(): value for name, value in self.headers.items()}
            hook.calls.append(Call(self.path, headers, body))
            answer = hook.answers.pop(0) if hook.answers else 200
            if answer == "hang":
                hook.closing.wait(30)
                return
            if answer == "hang up":
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            if answer == "drip":
                self._drip()
                return
            assert isinstance(answer, int)
            self.send_response(answer)
            if answer == 302:
                self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.send_header("Content-Length", str(len(hook.text)))
            self.end_headers()
            self.wfile.write(hook.text)

        def _drip(self) -> None:
            while not hook.closing.wait(0.1):
                try:
                    self.wfile.write(b"H")
                except OSError:
                    return

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    hook.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hook
    finally:
        hook.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Mails:
    """A mail server.

    Attributes:
        got: The mails, with their recipients.
        refuse: Recipients and the reply that they get.
        reply: What it says to a mail; None is yes.
        slow: Seconds before it answers a recipient.
        sender: What it says to the sender; None is yes.
        hangs_up_after: It takes so many mails, and then hangs up.
    """

    host: str = "127.0.0.1"
    port: int = 0
    got: list[Envelope] = field(default_factory=list)
    logins: list[bytes] = field(default_factory=list)
    refuse: dict[str, str] = field(default_factory=dict)
    reply: str | None = None
    slow: float = 0.0
    sender: str | None = None
    hangs_up_after: int = 1000

    async def handle_MAIL(
        self, server: Any, session: Session, envelope: Envelope, address: str, options: Any
    ) -> str:
        if len(self.got) >= self.hangs_up_after:
            server.transport.abort()
            return ""
        if self.sender:
            return self.sender
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(
        self, server: Any, session: Session, envelope: Envelope, address: str, options: Any
    ) -> str:
        if self.slow:
            import asyncio

            await asyncio.sleep(self.slow)
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:
        if self.reply:
            return self.reply
        self.got.append(envelope)
        return "250 OK"


@contextmanager
def mail(
    password: bytes | None = None,
    tls: ssl.SSLContext | None = None,
    port: int = 0,
    *,
    from_the_start: bool = False,
) -> Iterator[Mails]:
    mails = Mails()

    def check(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        mails.logins.append(data.password)
        return AuthResult(success=data.password == password, handled=False)

    controller = Controller(
        mails,
        hostname="127.0.0.1",
        port=port or free_port(),
        ssl_context=tls if from_the_start else None,
        tls_context=None if from_the_start else tls,
        require_starttls=tls is not None and not from_the_start,
        authenticator=check if password else None,
        auth_required=password is not None,
        auth_require_tls=tls is not None,
    )
    controller.start()
    mails.port = controller.port
    try:
        yield mails
    finally:
        controller.stop()


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def mute(says: bytes = b"2") -> Iterator[int]:
    """A port at which somebody listens and says the same now and then."""
    listener = socket.create_server(("127.0.0.1", 0))
    closing = threading.Event()

    def talk(peer: socket.socket) -> None:
        with peer:
            while not closing.wait(0.1):
                try:
                    peer.sendall(says)
                except OSError:
                    return

    def accept() -> None:
        while not closing.is_set():
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(peer,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        closing.set()
        listener.close()
        time.sleep(0.05)


def certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for 127.0.0.1 and its key."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert, private = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert, private
