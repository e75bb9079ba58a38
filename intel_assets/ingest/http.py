"""Asking hosts over HTTP: attempts, limits, conditional requests, bodies streamed to the landing.

One client for all sources. What a body means, and what becomes of a failure, is not decided here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Self

import httpx
import tenacity

from intel_assets.clock import Clock
from intel_assets.errors import (
    BodyTooLarge,
    ConfigurationError,
    HostUnavailable,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnavailable,
    UsageError,
)
from intel_assets.ingest import answers, wire
from intel_assets.ingest.answers import Answer
from intel_assets.ingest.hosts import HostLedger
from intel_assets.ingest.messages import HttpPolicy, Received, Request, Validators
from intel_assets.ingest.played import Played
from intel_assets.ingest.redact import Redactor
from intel_assets.lakehouse.landing import Body, Landing

__all__ = ["HttpClient", "HttpPolicy", "Received", "Request", "Validators"]

log = logging.getLogger(__name__)

# These write whole addresses and headers, keys included. What is worth knowing is logged here.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

_MAX_REDIRECTS = 5
_QUOTED = 200


class _TryAgain(Exception):
    """An attempt failed in a way that another may not. Holds no secret."""

    def __init__(
        self,
        what: str,
        *,
        retry_after: float | None = None,
        partial: Body | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.retry_after = retry_after
        self.partial = partial


class _HostFault(_TryAgain):
    """The host is at fault, so its circuit hears of it."""


@dataclass
class _Call:
    """One call of `fetch` on its way through its attempts."""

    request: httpx.Request
    policy: HttpPolicy
    shown: str
    started_at: datetime
    began: float
    attempts: int = 0
    status: int | None = None


class HttpClient:
    """Fetches bodies into a landing. Safe to share between threads; connections are reused."""

    def __init__(
        self,
        landing: Landing,
        ledger: HostLedger,
        redactor: Redactor,
        clock: Clock,
        policy: HttpPolicy | None = None,
        sleep: Callable[[float], None] = time.sleep,
        via: str | None = None,
    ) -> None:
        """Prepare a client.

        Args:
            landing: Where bodies go.
            ledger: The limits and circuits of hosts.
            redactor: Knows the secrets.
            clock: The time of what is received.
            policy: Used where `fetch` is given none.
            sleep: Waits between attempts.
            via: Where a simulator plays all hosts, each below a path of its name; None asks the
                hosts themselves. Limits, logs and the journal name the host in either case.
        """
        self._landing = landing
        self._ledger = ledger
        self._redactor = redactor
        self._clock = clock
        self._policy = policy or HttpPolicy()
        self._sleep = sleep
        self._deadline = wire.Deadline()
        self._client = httpx.Client(
            follow_redirects=False,
            event_hooks={"response": [wire.keep_location]},
            headers={"Accept-Encoding": "gzip, deflate", "User-Agent": "intel-assets"},
            # No host gets to recognise a request by a cookie, and no source another's.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            transport=Played(via) if via else None,
        )
        wire.set_deadline(self._client, self._deadline)

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the client."""
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def shown(self, request: Request) -> str:
        """Return the address of a request as it may be shown: without its secrets."""
        return self._redactor.url(str(_address(request)))

    def fetch(
        self,
        request: Request,
        *,
        policy: HttpPolicy | None = None,
        validators: Validators | None = None,
    ) -> Received:
        """Ask, as often as the policy says, and land the body.

        Every error carries the redacted address, the last status, the number of attempts, when
        the first began and, if a truncated or garbled body came in the last, that body as landed.

        Raises:
            NotPublished: 404 or 410.
            Unauthorized: 401, 402 or 403.
            UpstreamRefused: Any other answer that asking again does not change.
            UpstreamUnavailable: All attempts are used up.
            HostUnavailable: The host's circuit is open, or the host asked not to be called for
                longer than the policy waits; it says until when.
            BodyTooLarge: The body is larger than the policy allows.
            ConfigurationError: A header cannot be sent, such as a key with a line end in it.
            StorageError: The body cannot be stored.
        """
        policy = policy or self._policy
        call = _Call(
            self._build(request, policy, validators),
            policy,
            self.shown(request),
            self._clock(),
            time.monotonic(),
        )
        try:
            return self._retrying(call)(self._attempt, call)
        except _TryAgain as error:
            last = error
        except UpstreamError as error:
            raise _complete(error, call) from None
        raise self._given_up(call, last)

    def _build(
        self, request: Request, policy: HttpPolicy, validators: Validators | None
    ) -> httpx.Request:
        headers = dict(request.headers)
        if validators and self._still_held(validators):
            if validators.etag:
                headers["If-None-Match"] = validators.etag
            if validators.last_modified:
                headers["If-Modified-Since"] = validators.last_modified
        timeout = httpx.Timeout(
            policy.read_timeout, connect=policy.connect_timeout, pool=policy.total_timeout
        )
        data = request.data
        try:
            return self._client.build_request(
                request.method,
                _address(request),
                headers=headers,
                json=request.json,
                content=data if isinstance(data, bytes) else None,
                data=data if isinstance(data, Mapping) else None,
                timeout=timeout,
            )
        except UnicodeError:
            pass
        raise _bad_header(_host(_address(request)))

    def _still_held(self, validators: Validators) -> bool:
        sha256 = validators.body_sha256
        return sha256 is None or self._landing.exists(sha256)

    def _retrying(self, call: _Call) -> tenacity.Retrying:
        backoff = tenacity.wait_exponential_jitter(initial=0.5, max=call.policy.max_wait)

        def wait(state: tenacity.RetryCallState) -> float:
            asked = _failure(state).retry_after
            seconds = backoff(state) if asked is None else asked + 0.1 * backoff(state)
            return min(seconds, call.policy.max_wait)

        return tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: _worth_it(error, call.policy)),
            stop=tenacity.stop_after_attempt(call.policy.attempts),
            wait=wait,
            sleep=self._sleep,
            before_sleep=lambda state: self._log_retry(call, state),
            reraise=True,
        )

    def _attempt(self, call: _Call) -> Received:
        request = call.request
        for _ in range(_MAX_REDIRECTS + 1):
            answer = self._exchange(request, call)
            if not answer.redirects:
                return self._result(answer, call)
            request = answers.redirected(request, answer)
        raise UpstreamRefused(
            f"{call.request.url.host} redirects more than {_MAX_REDIRECTS} times.",
            "Check the address of the source.",
        )

    def _exchange(self, request: httpx.Request, call: _Call) -> Answer:
        """Send one request in its turn and through its host's circuit."""
        host, policy = _host(request.url), call.policy
        shown = self._redactor.url(str(request.url))
        turn = self._ledger.wait_turn(host, policy.rate_per_second, policy.burst)
        with turn, self._ledger.guard(host, (_HostFault,)):
            if request is call.request:
                call.attempts += 1
            facts = {"host": request.url.host, "url": shown, "attempt": call.attempts}
            log.debug("asking %s, attempt %d", shown, call.attempts, extra=facts)
            with self._deadline.within(policy.total_timeout):
                call.status = None
                response = self._send(request, policy)
                turn.arrived()
                try:
                    answer = self._read(response, call)
                finally:
                    response.close()
        log.debug("%s answered %d", shown, answer.status, extra=facts | {"status": answer.status})
        return answer

    def _send(self, request: httpx.Request, policy: HttpPolicy) -> httpx.Response:
        # Errors are raised after their cause is left behind: httpx's carry the address and the
        # headers, and an exception that is raised while another is handled drags it along.
        try:
            return self._client.send(request, stream=True)
        except (httpx.LocalProtocolError, UnicodeError):
            failure: Exception = _bad_header(_host(request.url))
        except httpx.UnsupportedProtocol:
            failure = UsageError("An address must begin with http:// or https://.")
        except httpx.TransportError as error:
            failure = _HostFault(self._why(error, policy))
        raise failure

    def _read(self, response: httpx.Response, call: _Call) -> Answer:
        status, headers = response.status_code, response.headers
        call.status = status
        if response.is_success:
            return Answer(status, headers, self._land(response, call))
        if status >= 500 or status == 429:
            kind = _HostFault if status >= 500 else _TryAgain
            raise kind(
                f"it answered {status}",
                retry_after=answers.retry_after(headers, self._clock),
            )
        location = response.extensions.get("location")
        return Answer(status, headers, quote=self._quote(response), location=location)

    def _land(self, response: httpx.Response, call: _Call) -> Body:
        limit = call.policy.max_bytes
        encoding = response.headers.get("Content-Encoding", "")
        with self._landing.writer() as writer:
            try:
                for piece in wire.decode(response.iter_raw(), encoding, limit):
                    writer.write(piece)
                return writer.commit()
            except wire.TooLarge:
                raise BodyTooLarge(
                    f"The body from {response.url.host} is larger than {limit} bytes.",
                    "Ask for less at once, or raise the size limit of the source.",
                ) from None
            except wire.Garbled as error:
                kind, why = _TryAgain, f"the body is garbled: {error}"
                if not writer.size:
                    writer.write(error.raw)
            except httpx.TransportError as error:
                kind, why = _HostFault, f"the body broke off: {self._why(error, call.policy)}"
            last = call.attempts >= call.policy.attempts
            partial = writer.commit() if last and writer.size else None
        raise kind(why, partial=partial)

    def _quote(self, response: httpx.Response) -> str:
        """Return the beginning of an error's text, for people."""
        encoding = response.headers.get("Content-Encoding", "")
        data = b""
        try:
            for piece in wire.decode(response.iter_raw(), encoding, 1 << 20):
                data += piece
                if len(data) >= 4 * _QUOTED:
                    break
        except (httpx.TransportError, wire.Garbled, wire.TooLarge) as error:
            log.debug("the text of an error could not be read: %s", type(error).__name__)
        text = "".join(c if c.isprintable() else " " for c in data.decode("utf-8", "replace"))
        return " ".join(self._redactor.text(text).split())[:_QUOTED]

    def _why(self, error: httpx.TransportError, policy: HttpPolicy) -> str:
        if isinstance(error, httpx.TimeoutException):
            if self._deadline.passed:
                return f"it took longer than {policy.total_timeout:g} s"
            if isinstance(error, httpx.ConnectTimeout):
                return f"no connection within {policy.connect_timeout:g} s"
            return f"nothing came for {policy.read_timeout:g} s"
        said = str(error)
        # What quotes the host's bytes may quote half a key; its class says enough.
        if not said or "'" in said or '"' in said:
            return f"the answer is no proper HTTP ({type(error).__name__})"
        return self._redactor.text(said)

    def _result(self, answer: Answer, call: _Call) -> Received:
        conditional = {"If-None-Match", "If-Modified-Since"} & {
            name.title() for name in call.request.headers
        }
        if answer.body is None and not (answer.status == 304 and conditional):
            raise answers.refusal(answer, call.request.url, call.shown)
        headers = answer.headers
        return Received(
            url=call.shown,
            status=answer.status,
            attempts=call.attempts,
            body=answer.body,
            etag=headers.get("ETag"),
            last_modified=headers.get("Last-Modified"),
            content_type=headers.get("Content-Type"),
            started_at=call.started_at,
            received_at=self._clock(),
            seconds=time.monotonic() - call.began,
        )

    def _given_up(self, call: _Call, last: _TryAgain) -> UpstreamError:
        host = call.request.url.host
        asked = last.retry_after
        error: UpstreamError
        if asked is not None and asked > call.policy.max_wait:
            retry_at = self._clock() + timedelta(seconds=asked)
            error = HostUnavailable(
                f"{host} answered {call.status} and asks not to be called before"
                f" {retry_at:%Y-%m-%d %H:%M:%S} UTC.",
                "Run this again after that.",
                retry_at=retry_at,
            )
        else:
            tried = "1 attempt" if call.attempts == 1 else f"{call.attempts} attempts"
            error = UpstreamUnavailable(
                f"{host} gave no usable answer in {tried}: {last.what.rstrip('.')}.",
                "Try again later.",
            )
        error.partial = last.partial
        return _complete(error, call)

    def _log_retry(self, call: _Call, state: tenacity.RetryCallState) -> None:
        what, host = _failure(state).what, call.request.url.host
        seconds = state.next_action.sleep if state.next_action else 0.0
        facts = {"host": host, "url": call.shown, "attempt": call.attempts, "wait": seconds}
        log.info("%s: %s; again in %.1f s", host, what, seconds, extra=facts)


def _address(request: Request) -> httpx.URL:
    try:
        return httpx.URL(request.url).copy_merge_params(dict(request.params))
    except (httpx.InvalidURL, UnicodeError):
        pass
    raise UsageError("The address of a request is not well formed.", "Check the source's address.")


def _host(url: httpx.URL) -> str:
    return url.netloc.decode("ascii")


def _failure(state: tenacity.RetryCallState) -> _TryAgain:
    error = state.outcome.exception() if state.outcome else None
    return error if isinstance(error, _TryAgain) else _TryAgain("it failed")


def _worth_it(error: BaseException, policy: HttpPolicy) -> bool:
    return isinstance(error, _TryAgain) and (error.retry_after or 0.0) <= policy.max_wait


def _bad_header(host: str) -> ConfigurationError:
    return ConfigurationError(
        f"A header of the request to {host} holds a character that HTTP does not allow.",
        "Look at the key of the source: it must be plain ASCII without spaces or line ends.",
    )


def _complete(error: UpstreamError, call: _Call) -> UpstreamError:
    """Say in an error which call it ended."""
    error.url = call.shown
    error.status = call.status
    error.attempts = call.attempts
    error.started_at = call.started_at
    return error
