"""What is opened goes by the configuration."""

from pathlib import Path

from gateway.app.opening import broker_saves_every, counts_every
from gateway.broker.configuration import BrokerOptions, mosquitto_conf
from gateway.config.models import JournalSettings


def test_where_commits_spare_the_card_so_does_all_that_is_saved_now_and_then() -> None:
    usual, saver = JournalSettings(), JournalSettings.model_validate({"gather": "30s"})
    assert (counts_every(usual), counts_every(saver)) == (60, 1800)
    assert (broker_saves_every(usual), broker_saves_every(saver)) == (60, 300)


def test_the_broker_is_told_how_often_to_save() -> None:
    told = mosquitto_conf(BrokerOptions(autosave=300), Path("/there"), "")
    assert "\nautosave_interval 300\n" in told
    assert "\nautosave_interval 60\n" in mosquitto_conf(BrokerOptions(), Path("/there"), "")
