"""What must stay secret: passwords drawn once, and the certificates by which Dask's parts know one another."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from infra.group.state import State, read_json, write_private

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate, Name

USER = "isovox"  # of Prefect's password
ADMIN = "admin"  # of MLflow's
YEARS = timedelta(days=2 * 365)  # for which a certificate is good
RENEWED = timedelta(days=60)  # before its end, by the next ``isovox up``
HIDDEN = "***"

# The settings of MLflow's users; their passwords are checked again after a minute, for the check is slow by design.
USERS = """[mlflow]
default_permission = READ
database_uri = sqlite:///{database}
admin_username = {admin}
admin_password = {password}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
"""


def secret(state: State, name: str) -> str:
    """A secret of the group, drawn where there is none yet."""
    path = state.secrets / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o700)
        write_private(path, secrets.token_urlsafe(32))
    return path.read_text(encoding="utf-8")


def prefect_login(state: State) -> str:
    """User and password of the Prefect server, as PREFECT_API_AUTH_STRING wants them."""
    return f"{USER}:{secret(state, 'prefect')}"


def mlflow_users(state: State) -> Path:
    """The file of MLflow's settings of users, with the password of its first."""
    path = state.secrets / "mlflow.ini"
    database = str(state.folder / "mlflow-users.db").replace("%", "%%")  # MLflow's reader of the file would fill in what follows
    write_private(path, USERS.format(database=database, admin=ADMIN, password=secret(state, "mlflow")))
    return path


def write_logins(state: State) -> Path:
    """A file that says, to its owner alone, what the pages ask for."""
    path = state.secrets / "logins"
    write_private(path, f"Prefect  {prefect_login(state)}\nMLflow   user {ADMIN}, password {secret(state, 'mlflow')}\n")
    return path


def all_secrets(state: State) -> set[str]:
    """Every secret text of a group, so that none of it is ever shown."""
    drawn = {path.read_text(encoding="utf-8").strip() for path in state.secrets.glob("*") if not path.suffix}
    url = urlsplit(read_json(state.settings).get("database") or "")
    return {word for word in drawn | {url.password or "", unquote(url.password or "")} if word}


def redacted(text: str, hidden: Iterable[str]) -> str:
    """A text without these words."""
    for word in hidden:
        text = text.replace(word, HIDDEN)
    return text


def certificates(state: State) -> dict[str, str]:
    """The files of Dask's certificates, as ISOVOX_TLS_* name them; made anew where they are missing or end soon."""
    paths = {name: state.secrets / f"dask-{name.lower()}.pem" for name in ("CA", "CERT", "KEY")}
    if any(not path.exists() for path in paths.values()) or ends(paths["CERT"]) < datetime.now(UTC) + RENEWED:
        for name, text in _drawn().items():
            write_private(paths[name], text)
    return {f"ISOVOX_TLS_{name}": str(path) for name, path in paths.items()}


def ends(certificate: Path) -> datetime:
    """When a certificate ends; long ago where the file is none."""
    from cryptography.x509 import load_pem_x509_certificate

    try:
        return load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return datetime.fromtimestamp(0, UTC)


def _drawn() -> dict[str, str]:
    """An authority's certificate, one that it signed, and that one's key; the authority's own key is not kept."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    authority, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    signed = {"CA": _certificate("isovox authority", authority, authority), "CERT": _certificate("isovox", own, authority)}
    key = own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {name: certificate.public_bytes(Encoding.PEM).decode() for name, certificate in signed.items()} | {"KEY": key.decode()}


def _certificate(name: str, own: EllipticCurvePrivateKey, signer: EllipticCurvePrivateKey) -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    now, names = datetime.now(UTC), [x509.DNSName("localhost"), *(x509.IPAddress(ip_address(ip)) for ip in ("127.0.0.1", "::1"))]
    builder = x509.CertificateBuilder(_named("isovox authority"), _named(name), own.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + YEARS)
    builder = builder.add_extension(x509.BasicConstraints(ca=own is signer, path_length=None), critical=True)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, hashes.SHA256())


def _named(name: str) -> Name:
    from cryptography import x509

    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
