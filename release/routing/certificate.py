"""A certificate that no client ever sees: no entry point has TLS.

Without one Traefik makes an RSA key whenever it starts and whenever a route changes, and answers 404 until it has it.
"""

from datetime import UTC, datetime, timedelta

import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

FILE = "_certificate.yml"  # among the routes; no model's name begins with _
VALIDITY = timedelta(days=36500)


def render_certificate() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    nobody = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(nobody, nobody, key.public_key(), x509.random_serial_number(), now, now + VALIDITY)
    pair = {
        "certFile": made.sign(key, SHA256()).public_bytes(Encoding.PEM).decode(),
        "keyFile": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    }
    content: str = yaml.safe_dump({"tls": {"stores": {"default": {"defaultCertificate": pair}}}})
    return content
