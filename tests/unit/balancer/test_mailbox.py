from forgemesh.balancer.domain.mailbox import Mailbox
from forgemesh.routing.policy import DEFAULT
from forgemesh.routing.snapshot import Revision, Snapshot


def snapshot(plugin_id: str, revision: int) -> Snapshot:
    return Snapshot(plugin_id, Revision(1, revision), DEFAULT, ())


def test_a_mailbox_holds_the_newest_snapshot_of_each_plugin_however_many_come() -> None:
    mailbox = Mailbox()
    for revision in range(1, 1_001):
        mailbox.put(snapshot("weather.stats", revision))
        mailbox.put(snapshot("weather.report", revision))

    assert len(mailbox) == 2
    assert mailbox.take() == snapshot("weather.stats", 1_000)
    assert mailbox.take() == snapshot("weather.report", 1_000)


def test_a_plugin_that_changes_all_the_time_does_not_keep_the_others_waiting() -> None:
    mailbox = Mailbox()
    mailbox.put(snapshot("weather.report", 1))
    mailbox.put(snapshot("weather.stats", 1))
    mailbox.put(snapshot("weather.report", 2))

    assert mailbox.take().plugin_id == "weather.report"
    mailbox.put(snapshot("weather.report", 3))
    assert mailbox.take().plugin_id == "weather.stats"
