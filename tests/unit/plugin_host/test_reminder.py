from forgemesh.plugin_host.registration.reminder import Reminder


def test_what_goes_on_is_said_when_it_begins_and_again_after_each_period() -> None:
    reminder = Reminder(30.0)

    said = [at for at in range(0, 100, 10) if reminder.due("away", float(at))]

    assert said == [0, 30, 60, 90]


def test_what_is_new_is_said_at_once() -> None:
    reminder = Reminder(30.0)

    assert [reminder.due(what, 0.0) for what in ("away", "away", "refused", "refused")] == [True, False, True, False]


def test_what_was_over_and_begins_anew_is_said_at_once() -> None:
    reminder = Reminder(30.0)
    reminder.due("away", 0.0)
    reminder.over()

    assert reminder.due("away", 1.0)
