"""Takes what SNS POSTs: https://docs.aws.amazon.com/sns/latest/dg/sns-http-https-endpoint-as-subscriber.html"""

import base64
import json
import re
import ssl
import threading
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import Certificate, load_pem_x509_certificate

from transfer import Handler, Unusable, log, opener


class Forged(Exception):
    """Not signed by the topic."""


def sns_of(topic: str) -> str:
    """Where SNS is in the topic's region."""
    _, partition, _, region, _, _ = topic.split(":")
    return f"https://sns.{region}.amazonaws.com" + (".cn" if partition == "aws-cn" else "")


class Endpoint:
    def __init__(self, topic: str, sns: str, trust: ssl.SSLContext, handler: Handler):
        self.topic, self.sns, self.handler = topic, sns, handler
        self.opener = opener(urllib.request.HTTPSHandler(context=trust))
        self.certificates: dict[str, Certificate] = {}  # by URL; few, for only URLs of SNS's form are fetched

    def answer(self, body: bytes) -> int:
        """The status: 2xx to what is done, 403 to what is not the topic's, 422 to what no repeat makes better, and 503 to what is to come again. SNS repeats only
        the last, and moves the others to the subscription's dead-letter queue."""
        try:
            message = json.loads(body)
        except ValueError:
            return 400
        if not isinstance(message, dict):
            return 400
        try:
            self.verify(message)
            if message["Type"] == "SubscriptionConfirmation":
                self.confirm(message["Token"])
                log(outcome="confirmed")
                return 204
        except Forged:
            log(outcome="forged")
            return 403
        except Exception as error:
            log(outcome="failed", error=type(error).__name__)
            return 503
        if message["Type"] != "Notification":
            return 422
        try:
            self.handler.handle(message["Message"])
        except Unusable:
            return 422
        except Exception:  # logged where it happened
            return 503
        return 204

    def verify(self, message: dict) -> None:
        """Checks SNS's signature, version 2. Whoever can name the certificate can sign: so it is fetched only from SNS, by https, and under a name of the form that
        SNS gives it. And SNS signs for everybody's topics: so the topic is checked too.
        https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html"""
        if message.get("TopicArn") != self.topic or message.get("SignatureVersion") != "2":
            raise Forged
        certificate = self.certificate(str(message.get("SigningCertURL")))
        fields = ["Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
        if not all(isinstance(message.get(field, ""), str) for field in [*fields, "Signature"]):
            raise Forged
        signed = "".join(f"{field}\n{message[field]}\n" for field in fields if field in message)
        try:
            signature = base64.b64decode(message["Signature"], validate=True)
            certificate.public_key().verify(signature, signed.encode(), PKCS1v15(), SHA256())
        except (KeyError, ValueError, InvalidSignature) as error:
            raise Forged from error

    def certificate(self, url: str) -> Certificate:
        name = url.removeprefix(self.sns)
        if name == url or not url.startswith("https://") or not re.fullmatch(r"/SimpleNotificationService-[0-9a-f]{32}\.pem", name):
            raise Forged
        if url not in self.certificates:
            self.certificates[url] = load_pem_x509_certificate(self.get(url))
        return self.certificates[url]

    def confirm(self, token: str) -> None:
        """Confirms the subscription to the expected topic, and no other. It does not visit the SubscribeURL but what it should be."""
        self.get(f"{self.sns}/?" + urllib.parse.urlencode({"Action": "ConfirmSubscription", "TopicArn": self.topic, "Token": token}))

    def get(self, url: str) -> bytes:
        with self.opener.open(url, timeout=20) as response:
            return response.read(64 << 10)


def serve(listen: str, endpoint: Endpoint, stopping: threading.Event) -> None:
    class Request(BaseHTTPRequestHandler):
        timeout = 10

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            # SNS's own limit is 256 KiB.
            self.send_response(endpoint.answer(self.rfile.read(length)) if length <= 1 << 20 else 413)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_) -> None:
            pass  # the lines of log tell more

    host, _, port = listen.rpartition(":")
    with ThreadingHTTPServer((host, int(port)), Request) as server:
        running = threading.Thread(target=server.serve_forever)
        running.start()
        stopping.wait()
        server.shutdown()
        running.join()
