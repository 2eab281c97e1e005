"""The certificate of the ext_proc port: the one in --cert-path, or one made at start as the EPP makes it.

Self-signed, without subject alternative names, valid ten years: data planes must not verify it. (The EPP's
key is RSA-4096; P-256 takes no second to make and serves the same clients.)
"""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.picker.errors import PickerConfigError


def load_pair(cert_path: str) -> tuple[bytes, bytes]:
    """(key, certificate) of the directory's tls.key and tls.crt, PEM.

    PickerConfigError when one cannot be read.
    """
    directory = Path(cert_path)
    try:
        return (directory / "tls.key").read_bytes(), (directory / "tls.crt").read_bytes()
    except OSError as error:
        raise PickerConfigError(
            f"--cert-path {cert_path}: {error.filename}: {error.strerror}; "
            "a directory with tls.crt and tls.key is expected"
        ) from None


def self_signed_pair() -> tuple[bytes, bytes]:
    """(key, certificate), PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Inference Ext")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private, certificate.public_bytes(pem)
