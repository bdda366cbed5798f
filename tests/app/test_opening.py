"""What is opened goes by the configuration."""

from pathlib import Path

from gateway.app.opening import broker_saves_every, counts_every, health_kept, open_for
from gateway.broker.configuration import BrokerOptions, mosquitto_conf
from gateway.config import Config
from gateway.config.models import JournalSettings


def test_where_commits_spare_the_card_so_does_all_that_is_saved_now_and_then() -> None:
    usual, saver = JournalSettings(), JournalSettings.model_validate({"gather": "30s"})
    assert (counts_every(usual), counts_every(saver)) == (60, 1_800)
    assert (open_for(usual), open_for(saver)) == (3_600, 4 * 3_600)
    rarely = Config.model_validate({"journal": {"gather": "30s"}})
    assert (health_kept(Config())[2], health_kept(rarely)[2]) == (600, 1_800)
    assert (broker_saves_every(usual), broker_saves_every(saver)) == (60, 300)


def test_the_broker_is_told_how_often_to_save() -> None:
    told = mosquitto_conf(BrokerOptions(autosave=300), Path("/there"), "")
    assert "\nautosave_interval 300\n" in told
    assert "\nautosave_interval 60\n" in mosquitto_conf(BrokerOptions(), Path("/there"), "")
