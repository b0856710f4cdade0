"""How S3 is reached: credentials from the usual chain or none, retries, timeouts, one connection pool a process.

Two clients, each where it is the faster one: s3fs for files, obstore for Zarr (see tests/benchmarks/goal10_s3.py). What botocore
finds rules both: AWS_* variables, profiles and their files, roles of the machine, AWS_ENDPOINT_URL, AWS_CA_BUNDLE. A bucket that
refuses us, or for which we have no credentials, is read without a signature where it is public; ISOVOX_S3_ANONYMOUS=1 asks for
that at once.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from core.errors import AccessError, UsageError

if TYPE_CHECKING:
    from obstore.store import S3Credential, S3Store

T = TypeVar("T")
FileSystem = Any  # fsspec tells no types

ANONYMOUS = "ISOVOX_S3_ANONYMOUS"
CONNECT, SILENCE, WHOLE = 10, 60, 600  # seconds to connect, without a byte, for one object of a store
ATTEMPTS = 6
POOL = 32  # connections
PART = 16 << 20  # bytes of a part; what has two of them is uploaded in parts
CREDENTIALS_LAST = timedelta(minutes=10)  # before the chain is asked again
REGION = "us-east-1"
OFF = {"", "0", "false", "no"}
EXPIRED = ("ExpiredToken", "TokenRefreshRequired", "InvalidToken")  # codes of S3's answers
BARE = "400"  # of an answer without a body, as to HEAD
SIGN_IN = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"

_made: dict[Hashable, Any] = {}
_lock = threading.RLock()


@dataclass(frozen=True)
class Access:
    """How a bucket is reached.

    Attributes:
        signed: with credentials, or as anybody.
        region: where it is.
        endpoint: of the server; None for Amazon's own.
    """

    signed: bool
    region: str
    endpoint: str | None


def bucket_of(uri: str) -> str:
    """The bucket of an s3:// URI."""
    return uri.partition("://")[2].partition("/")[0]


def _once(what: Hashable, make: Callable[[], T]) -> T:
    """What ``make`` makes, once a process and for the environment as it is now."""
    about = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_") or name == ANONYMOUS))
    key = (os.getpid(), about, what)
    with _lock:
        if key not in _made:
            _made[key] = make()
        made: T = _made[key]
    return made


def _session() -> Any:
    from botocore.session import Session

    return Session()


def _credentials() -> Any:
    """What botocore's chain finds: environment, profiles, roles of the machine; None where there is nothing."""
    return _once("credentials", lambda: _session().get_credentials())


def _anonymous() -> bool:
    """Whether there is nothing to sign with, or we are told not to."""
    return os.environ.get(ANONYMOUS, "").lower() not in OFF or _credentials() is None


def _client(*, signed: bool) -> FileSystem:
    def make() -> FileSystem:
        import s3fs

        how = {"connect_timeout": CONNECT, "read_timeout": SILENCE, "max_pool_connections": POOL}
        retries = {"mode": "standard", "max_attempts": ATTEMPTS}
        # No listings cache: other workers write to the same prefix.
        return s3fs.S3FileSystem(
            anon=not signed, config_kwargs=how | {"retries": retries}, use_listings_cache=False, skip_instance_cache=True
        )

    return _once(("client", signed), make)


def _answer(error: BaseException) -> dict[str, Any]:
    """What S3 answered, behind an error of s3fs."""
    response: dict[str, Any] = getattr(error.__cause__, "response", None) or {}
    return response


def _code(error: BaseException) -> str:
    """What S3 calls a fault."""
    return str(_answer(error).get("Error", {}).get("Code", ""))


def _region(answer: dict[str, Any]) -> str:
    """The region that an answer tells, else the one of the settings."""
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return str(headers.get("x-amz-bucket-region") or _session().get_config_variable("region") or REGION)


def _endpoint() -> str | None:
    """Where the server is, if it is not Amazon's."""
    client = _client(signed=False)
    client.connect()
    url = str(client.s3.meta.endpoint_url)
    host = urlsplit(url).hostname or ""
    return None if host.endswith(("amazonaws.com", "amazonaws.com.cn")) else url


def _ask(bucket: str) -> Access:
    """Find out how a bucket is reached: with credentials where they open it, else as anybody.

    Raises:
        UsageError: there is no such bucket.
    """
    answer: dict[str, Any] = {}
    choices = [False] if _anonymous() else [True, False]
    for signed in choices:
        try:
            answer = _client(signed=signed).call_s3("head_bucket", Bucket=bucket)
        except FileNotFoundError as error:
            remedy = "check its name, AWS_ENDPOINT_URL and AWS_PROFILE; isovox makes no buckets"
            raise UsageError("bucket-missing", f"a bucket {bucket}", "none of that name", remedy) from error
        except OSError as error:
            if not is_forbidden(error):
                raise
            answer = _answer(error)
        else:
            return Access(signed, _region(answer), _endpoint())
    return Access(choices[0], _region(answer), _endpoint())  # it may still let us at some of its objects


def access(uri: str) -> Access:
    """How the bucket of a URI is reached; asked once a process.

    Raises:
        UsageError: there is no such bucket.
        OSError: the server cannot be reached.
    """
    bucket = bucket_of(uri)
    return _once(("bucket", bucket), lambda: _ask(bucket))


def refusal(uri: str, error: BaseException) -> AccessError:
    """The error that tells why a URI is refused and what to do.

    Args:
        uri: what was asked for.
        error: what the client raised, as ``is_forbidden`` takes it.
    """
    bucket = bucket_of(uri)
    if os.environ.get(ANONYMOUS, "").lower() not in OFF:
        remedy = f"unset {ANONYMOUS} to sign requests"
        return AccessError("storage-forbidden", f"access to {uri}", f"a refusal, asked without a signature ({ANONYMOUS})", remedy)
    if _credentials() is None:
        got = "none, and it does not let us without"
        return AccessError("no-credentials", f"credentials for the bucket {bucket}", got, f"{SIGN_IN}; {uri} needs them")
    if _is_expired(error):
        remedy = "sign in anew (aws sso login), or renew AWS_SESSION_TOKEN and its keys; else check AWS_DEFAULT_REGION"
        return AccessError("storage-forbidden", f"access to {uri}", "an answer as to credentials that have expired", remedy)
    got = f"a refusal by the bucket {bucket}"
    return AccessError("storage-forbidden", f"access to {uri}", got, "check AWS_PROFILE or the keys, and the bucket's policy")


@contextmanager
def reached(uri: str) -> Iterator[FileSystem]:
    """The fsspec file system of an s3:// URI; a refusal while the block runs says why and what to do.

    Raises:
        AccessError: no credentials, or they do not open it.
        UsageError: there is no such bucket.
    """
    try:
        yield _client(signed=access(uri).signed)
    except AccessError:
        raise
    except Exception as error:
        if is_forbidden(error):
            raise refusal(uri, error) from error
        raise


def _signing() -> S3Credential:
    """The credentials as they are now, for obstore; botocore renews those that end."""
    now = _credentials().get_frozen_credentials()
    until = datetime.now(UTC) + CREDENTIALS_LAST
    return {"access_key_id": now.access_key, "secret_access_key": now.secret_key, "token": now.token, "expires_at": until}


def object_store(uri: str) -> S3Store:
    """The obstore store of an s3:// prefix, for Zarr; one a process and prefix, with its connections.

    Raises:
        UsageError: there is no such bucket.
    """
    how = access(uri)
    return _once(("store", uri, how), lambda: _object_store(uri, how))


def _object_store(uri: str, how: Access) -> S3Store:
    from obstore.store import S3Store

    bucket = bucket_of(uri)
    client: dict[str, Any] = {
        "allow_http": (how.endpoint or "").startswith("http://"),
        "connect_timeout": timedelta(seconds=CONNECT),
        "read_timeout": timedelta(seconds=SILENCE),
        "timeout": timedelta(seconds=WHOLE),
    }
    if bundle := os.environ.get("AWS_CA_BUNDLE"):
        client["root_certificate"] = Path(bundle).read_bytes()
    config: dict[str, Any] = {"region": how.region, "skip_signature": not how.signed}
    config["virtual_hosted_style_request"] = how.endpoint is None and "." not in bucket
    if how.endpoint is not None:
        config["endpoint"] = how.endpoint
    provider = {"credential_provider": _signing} if how.signed else {}
    retries: Any = {"max_retries": ATTEMPTS, "retry_timeout": timedelta(minutes=3)}
    prefix = uri.partition("://")[2].partition("/")[2].strip("/")
    return S3Store(bucket, prefix=prefix or None, config=config, client_options=client, retry_config=retries, **provider)  # type: ignore[arg-type]


# -- faults -----------------------------------------------------------------------------------------------------------------


def _is_one_of(error: BaseException, *kinds: tuple[str, str]) -> bool:
    """Whether an error is of a class, named by module and name, of a library that may not have been imported at all."""
    return isinstance(error, tuple(getattr(sys.modules[module], name) for module, name in kinds if module in sys.modules))


def is_forbidden(error: BaseException) -> bool:
    """Whether an error says that the storage refuses us: no permission, no credentials, or none that are still good."""
    botocore, obstore = "botocore.exceptions", "obstore.exceptions"
    missing = ((botocore, "NoCredentialsError"), (botocore, "PartialCredentialsError"))
    refused = ((obstore, "PermissionDeniedError"), (obstore, "UnauthenticatedError"))
    return isinstance(error, PermissionError) or _is_one_of(error, *missing, *refused) or _is_expired(error)


def _is_expired(error: BaseException) -> bool:
    """Whether credentials may have expired: S3 says so, or answers HEAD, to which it says nothing, by a bare 400."""
    if _is_one_of(error, ("obstore.exceptions", "GenericError")):
        return any(code in str(error) for code in EXPIRED)
    return _code(error) in {*EXPIRED, BARE}


def is_passing(error: BaseException) -> bool:
    """Whether an error that is no OSError comes of a connection or a server that may be well again."""
    return not _is_expired(error) and _is_one_of(
        error,
        ("botocore.exceptions", "HTTPClientError"),
        ("aiohttp", "ClientError"),
        ("obstore.exceptions", "GenericError"),
        ("obstore.exceptions", "JoinError"),
    )


def is_unreachable(error: BaseException) -> bool:
    """Whether an error says that no server answers at the address that is asked."""
    return _is_one_of(error, ("botocore.exceptions", "ConnectionError"))


def is_conflict(error: OSError) -> bool:
    """Whether S3 says that the file is there already; s3fs makes that a plain OSError."""
    return _code(error) in {"PreconditionFailed", "ConditionalRequestConflict"}


def unfinished_uploads(uri: str) -> list[tuple[str, str]]:
    """Key and identifier of each upload in parts below a prefix that was begun and neither ended nor given up."""
    bucket, _, prefix = uri.partition("://")[2].partition("/")
    with reached(uri) as disk:
        answer = disk.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=prefix.rstrip("/") + "/")
    return [(upload["Key"], upload["UploadId"]) for upload in answer.get("Uploads", [])]


def give_up_uploads(uri: str) -> int:
    """Give up the unfinished uploads below a prefix, which would be charged for ever; how many there were.

    Call it only while nobody writes there.
    """
    uploads = unfinished_uploads(uri)
    for key, upload in uploads:
        with reached(uri) as disk:
            disk.call_s3("abort_multipart_upload", Bucket=bucket_of(uri), Key=key, UploadId=upload)
    return len(uploads)
