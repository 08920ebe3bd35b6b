"""What a job raises when it is stopped."""

from rag_vqa.errors import EXIT_INTERRUPTED, EXIT_PARTIAL
from rag_vqa.jobs.signals import JobStopped


def test_how_a_job_was_stopped_is_kept() -> None:
    by_hand = JobStopped.after(KeyboardInterrupt(), "3 rows are safe.")
    assert (by_hand.by_hand, by_hand.exit_code) == (True, EXIT_INTERRUPTED)
    again = JobStopped.after(by_hand, "4 rows are safe.")
    assert (again.message, again.exit_code) == ("4 rows are safe.", EXIT_INTERRUPTED)
    by_signal = JobStopped.after(JobStopped(), "")
    assert (by_signal.by_hand, by_signal.exit_code) == (False, EXIT_PARTIAL)


def test_no_handler_for_errors_catches_it() -> None:
    assert not isinstance(JobStopped(), Exception)
