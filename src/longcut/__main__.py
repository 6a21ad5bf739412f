"""``python -m longcut``, and the ``longcut`` command."""

from longcut.processes import interrupted, keep_freed_memory, stop_on_signals, wait_shortly

__all__ = ["main"]


def main() -> None:
    """The command: ready for an interruption before anything slow is imported."""
    stopped = stop_on_signals()
    try:
        wait_shortly()
        keep_freed_memory()
        from longcut.cli import main as command

        command()
    except KeyboardInterrupt:
        interrupted()
    except Exception:
        if stopped():
            interrupted()
        raise


if __name__ == "__main__":  # worker processes import this file as well
    main()
