"""What commands share: exit codes, how an error is told, and where words go."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from core import logs
from core.errors import AccessError, BusyError, InputError, IsovoxError, PlanError, UsageError, WeightsError

if TYPE_CHECKING:
    from rich.console import Console

    from core.engine.plan import CohortPlan
    from core.io.output import Output

_log = logging.getLogger(__name__)

OK, USAGE, FAILED, BUSY = 0, 2, 3, 75
LONGEST = 300  # characters of what MLflow says
WIDTH = 140  # of tables where there is no terminal


def guarded(command: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Run a command; errors raised on purpose become one line and an exit code."""
    try:
        return command(options)
    except BusyError as error:
        return _complain(error, BUSY)
    except (AccessError, InputError, PlanError, UsageError, WeightsError) as error:  # InputError: of what an option names
        return _complain(error, USAGE)
    except IsovoxError as error:
        return _complain(error, FAILED)
    except Exception as error:
        from core.io import s3

        if _is_mlflows(error):
            return _complain(_of_mlflow(error), FAILED)
        if not (isinstance(error, OSError) or s3.is_passing(error) or s3.is_unreachable(error)):
            raise
        return _complain(_of_system(error), FAILED)


def _is_mlflows(error: BaseException) -> bool:
    """Whether MLflow raised it, which is not imported to be asked."""
    return any(f"{each.__module__}.{each.__name__}" == "mlflow.exceptions.MlflowException" for each in type(error).__mro__)


def _of_mlflow(error: BaseException) -> IsovoxError:
    """What MLflow says of its server or database, in a sentence without a password."""
    from tasks.tracking.address import without_password

    got = without_password(" ".join(str(error).split()))[:LONGEST]
    remedy = "check --tracking-uri, and that the server runs; the same command goes on from what is finished"
    return AccessError("mlflow-fault", "an MLflow that answers", got, remedy)


def _of_system(error: BaseException) -> IsovoxError:
    """What the system or the storage says of a file, in a sentence."""
    reason = str(getattr(error, "strerror", None) or error or type(error).__name__)
    name = getattr(error, "filename", None)
    got = f"{reason} ({name})" if isinstance(name, str) else reason
    remedy = "check the path, its permissions, the disk and the network; the same command goes on from what is finished"
    return AccessError("storage-fault", "files that can be read and written", got, remedy)


def _complain(error: IsovoxError, code: int) -> int:
    if logs.shown():
        _log.info("where it came from:", exc_info=error)
    sys.stderr.write(f"isovox: {error}\n")
    return code


def say(text: str) -> None:
    """Write a line to the terminal."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def console() -> Console:
    """Where tables go; as wide as the terminal, or ``WIDTH`` where there is none."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=False, width=None if sys.stdout.isatty() else WIDTH)


def calm() -> None:
    """Keep libraries' chatter off the terminal, unless logs were asked for; what matters is in the table and the records.

    What ends a flow is told in one line (``guarded``), where Prefect would show its traceback before.
    """
    if logs.shown():
        for name in ("PREFECT_LOGGING_LEVEL", "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"):
            os.environ.setdefault(name, "INFO")
        return
    warnings.simplefilter("ignore")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")  # half a minute; its 7 hold a command up for four
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")
    logging.getLogger("distributed").setLevel(logging.CRITICAL)


def raise_fault(state: Any) -> None:
    """Raise what ended a flow's run.

    Args:
        state: of the run, as Prefect returned it.
    """
    error = state.result(raise_on_failure=False)
    raise error if isinstance(error, Exception) else RuntimeError(state.message)


def refuse_while_busy(out: Output, wanted: str) -> None:
    """Refuse to work on an output on which a run works.

    Args:
        out: the output.
        wanted: what is wanted instead, for the message.

    Raises:
        BusyError: naming who works on it.
    """
    from core.io.lock import owner

    if other := owner(out.lock):
        raise BusyError("already-running", wanted, f"a run by {other}", "wait for it to end, or stop it")


def planned_run(out: str) -> tuple[Output, CohortPlan]:
    """The output folder of a run and its plan.

    Raises:
        UsageError: no run has written there.
    """
    from core.engine.plan import CohortPlan
    from core.io import files
    from core.io.output import Output
    from core.settings.base import wrong

    place = Output(out)
    try:
        return place, CohortPlan.model_validate(files.read_json(place.plan))
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        got = "no such file" if isinstance(error, OSError) else f"a file that is no plan ({wrong(error)[:200]})"
        raise UsageError("no-run", f"an output folder of isovox with {place.plan}", got, "name the OUT of a run") from error
