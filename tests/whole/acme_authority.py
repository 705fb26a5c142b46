"""A certificate authority that speaks ACME (RFC 8555), as far as clients need it for a certificate by HTTP-01 or TLS-ALPN.

It is strict where a real one is: nonces are used once, every request is signed by the account's key for its own URL, a name is
certified only after its challenge was fetched from the server in question, and a certificate has the names of its order.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import josepy
from acme.jws import JWS
from cryptography import x509

from tests.authority import Issued, authority


class Refused(Exception):
    """A problem document: its type and what is wrong."""

    def __init__(self, kind: str, detail: str, status: int = 400) -> None:
        super().__init__(detail)
        self.kind, self.detail, self.status = kind, detail, status


class AcmeAuthority:
    """The server. port: where it listens. challenge_port: where the challenges of all names are fetched, on this machine.

    issued: the certificates, in order. fetched: the names whose challenge was fetched.
    """

    def __init__(self, challenge_port: int) -> None:
        self.challenge_port = challenge_port
        self.root = authority("ACME Root")
        self.middle = self.root.issue("ACME Intermediate", is_authority=True, days=400)
        self.issued: list[Issued] = []
        self.fetched: list[str] = []
        self.problems: list[str] = []
        self._nonces: set[str] = set()
        self._accounts: dict[str, Any] = {}
        self._orders: dict[str, dict[str, Any]] = {}
        self._authorizations: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(None)

            do_HEAD = do_GET

            def do_POST(self) -> None:
                self._answer(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

            def _answer(self, body: bytes | None) -> None:
                fields: dict[str, str] = {}
                try:
                    with outer._lock:
                        status, said = outer._serve(self.path, body, fields)
                except Refused as refusal:
                    outer.problems.append(f"{self.path}: {refusal}")
                    status = refusal.status
                    said = {"type": f"urn:ietf:params:acme:error:{refusal.kind}", "detail": refusal.detail}
                content = said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(status)
                kind = "application/problem+json" if status >= 400 else "application/json"
                fields.setdefault("Content-Type", kind)
                for name, value in {**fields, "Replay-Nonce": outer._nonce(), "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            def log_message(self, *words: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="acme")
        self._thread.start()

    @property
    def directory(self) -> str:
        """The URL that clients are given."""
        return self._url("directory")

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _url(self, *parts: str) -> str:
        return "/".join((f"http://127.0.0.1:{self.port}", *parts))

    def _nonce(self) -> str:
        nonce = secrets.token_urlsafe(16)
        self._nonces.add(nonce)
        return nonce

    # Requests.

    def _serve(self, path: str, body: bytes | None, fields: dict[str, str]) -> tuple[int, Any]:
        kind, _, key = path.lstrip("/").partition("/")
        if kind == "directory":
            names = ("newNonce", "newAccount", "newOrder", "revokeCert", "keyChange")
            return 200, {**{name: self._url(name) for name in names}, "meta": {}}
        if kind == "newNonce":
            return 200, b""
        if body is None:
            raise Refused("malformed", "only POST", 405)
        account, payload = self._open(path, body)
        if kind == "newAccount":
            fields["Location"] = account
            return 201, {"status": "valid", "orders": self._url("orders")}
        if kind == "newOrder":
            return self._new_order(payload, fields)
        deeds = {
            "order": lambda: (200, self._orders[key]),
            "authorization": lambda: (200, self._authorizations[key]),
            "challenge": lambda: self._challenge(key, account, fields),
            "finalize": lambda: self._finalize(key, payload, fields),
            "certificate": lambda: self._certificate(key, fields),
        }
        if kind not in deeds:
            raise Refused("malformed", f"no such resource: {path}", 404)
        try:
            return deeds[kind]()
        except KeyError:
            raise Refused("malformed", f"no such {kind}: {key}", 404) from None

    def _open(self, path: str, body: bytes) -> tuple[str, Any]:
        """Check the signature of a request; return the URL of the account and the payload."""
        try:
            signed = JWS.json_loads(body.decode())
        except (josepy.errors.DeserializationError, ValueError) as error:
            raise Refused("malformed", f"no JWS: {error}") from None
        header = signed.signature.combined
        if header.url != self._url(path.lstrip("/")):
            raise Refused("unauthorized", f"signed for {header.url}", 403)
        nonce = josepy.encode_b64jose(header.nonce or b"")
        if nonce not in self._nonces:
            raise Refused("badNonce", f"the nonce {nonce} is unknown, or was used")
        self._nonces.discard(nonce)
        if path == "/newAccount":
            key = header.jwk
            thumbprint = josepy.encode_b64jose(key.thumbprint())
            account = self._url("account", thumbprint)
            self._accounts[account] = key
        else:
            account = header.kid or ""
            if account not in self._accounts:
                raise Refused("accountDoesNotExist", f"no account {account}")
            key = self._accounts[account]
        if not signed.verify(key):
            raise Refused("unauthorized", "the signature is wrong", 403)
        return account, json.loads(signed.payload) if signed.payload else None

    # Orders.

    def _new_order(self, payload: Any, fields: dict[str, str]) -> tuple[int, Any]:
        names = [identifier["value"] for identifier in payload["identifiers"]]
        number = secrets.token_hex(8)
        authorizations = []
        for name in names:
            key = secrets.token_hex(8)
            challenge = {
                "type": "http-01",
                "status": "pending",
                "url": self._url("challenge", key),
                "token": secrets.token_urlsafe(32),
            }
            self._authorizations[key] = {
                "status": "pending",
                "identifier": {"type": "dns", "value": name},
                "challenges": [challenge],
            }
            authorizations.append(self._url("authorization", key))
        self._orders[number] = {
            "status": "pending",
            "identifiers": payload["identifiers"],
            "authorizations": authorizations,
            "finalize": self._url("finalize", number),
        }
        fields["Location"] = self._url("order", number)
        return 201, self._orders[number]

    def _challenge(self, key: str, account: str, fields: dict[str, str]) -> tuple[int, Any]:
        """Fetch the answer to a challenge from the server in question."""
        fields["Link"] = f'<{self._url("authorization", key)}>;rel="up"'
        authorization = self._authorizations[key]
        challenge, name = authorization["challenges"][0], authorization["identifier"]["value"]
        expected = f"{challenge['token']}.{josepy.encode_b64jose(self._accounts[account].thumbprint())}"
        url = f"http://127.0.0.1:{self.challenge_port}/.well-known/acme-challenge/{challenge['token']}"
        try:
            request = urllib.request.Request(url, headers={"Host": name})
            with urllib.request.urlopen(request, timeout=10) as answer:
                found = answer.read().decode()
        except (OSError, urllib.error.URLError) as error:
            found = f"nothing: {error}"
        state = "valid" if found.strip() == expected else "invalid"
        authorization["status"] = challenge["status"] = state
        if state == "valid":
            self.fetched.append(name)
        else:
            detail = f"{url} of {name} gave {found!r}"
            self.problems.append(detail)
            challenge["error"] = {"type": "urn:ietf:params:acme:error:unauthorized", "detail": detail}
        return 200, challenge

    def _finalize(self, number: str, payload: Any, fields: dict[str, str]) -> tuple[int, Any]:
        order = self._orders[number]
        states = {self._authorizations[url.rpartition("/")[2]]["status"] for url in order["authorizations"]}
        if states != {"valid"}:
            raise Refused("orderNotReady", f"its names are {states}", 403)
        request = x509.load_der_x509_csr(base64.urlsafe_b64decode(payload["csr"] + "=="))
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
        if sorted(names) != sorted(identifier["value"] for identifier in order["identifiers"]):
            raise Refused("badCSR", f"it is for {names}")
        issued = self.middle.issue(names[0], names, days=90, key=_PublicKey(request.public_key()))
        self.issued.append(issued)
        order["status"], order["certificate"] = "valid", self._url("certificate", str(len(self.issued) - 1))
        fields["Location"] = self._url("order", number)
        return 200, order

    def _certificate(self, key: str, fields: dict[str, str]) -> tuple[int, Any]:
        fields["Content-Type"] = "application/pem-certificate-chain"
        return 200, self.issued[int(key)].chain


class _PublicKey:
    """A key of which only the public part is known, for those who certify it."""

    def __init__(self, key: Any) -> None:
        self._key = key

    def public_key(self) -> Any:
        return self._key
