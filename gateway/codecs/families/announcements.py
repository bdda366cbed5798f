"""Home Assistant's discovery messages in plain words: abbreviations written out, `~` filled in, a
device with components taken apart."""

from collections.abc import Iterator
from typing import Any

from gateway.codecs.families.parts import texts

PREFIX = "homeassistant/"
_MOST_COMPONENTS = 200
_LONGEST_KEY = 128
_SHORT = {
    "~": "~", "act_t": "action_topic", "act_tpl": "action_template", "avty": "availability",
    "avty_mode": "availability_mode", "avty_t": "availability_topic",
    "avty_tpl": "availability_template",
    "dir_cmd_t": "direction_command_topic", "dir_stat_t": "direction_state_topic",
    "dir_val_tpl": "direction_value_template", "fan_mode_cmd_t": "fan_mode_command_topic",
    "fan_mode_stat_t": "fan_mode_state_topic", "fan_mode_stat_tpl": "fan_mode_state_template",
    "osc_cmd_t": "oscillation_command_topic", "osc_stat_t": "oscillation_state_topic",
    "osc_val_tpl": "oscillation_value_template", "pr_mode_cmd_t": "preset_mode_command_topic",
    "pr_mode_stat_t": "preset_mode_state_topic", "pr_mode_val_tpl": "preset_mode_value_template",
    "swing_mode_cmd_t": "swing_mode_command_topic", "swing_mode_stat_t": "swing_mode_state_topic",
    "swing_mode_stat_tpl": "swing_mode_state_template",
    "temp_hi_cmd_t": "temperature_high_command_topic",
    "temp_hi_stat_t": "temperature_high_state_topic",
    "temp_hi_stat_tpl": "temperature_high_state_template",
    "temp_lo_cmd_t": "temperature_low_command_topic",
    "temp_lo_stat_t": "temperature_low_state_topic",
    "temp_lo_stat_tpl": "temperature_low_state_template",
    "tilt_cmd_t": "tilt_command_topic", "tilt_status_t": "tilt_status_topic",
    "tilt_status_tpl": "tilt_status_template",
    "bri_cmd_t": "brightness_command_topic", "bri_stat_t": "brightness_state_topic",
    "bri_val_tpl": "brightness_value_template", "cmd_t": "command_topic", "cmps": "components",
    "curr_hum_t": "current_humidity_topic", "curr_hum_tpl": "current_humidity_template",
    "curr_temp_t": "current_temperature_topic", "curr_temp_tpl": "current_temperature_template",
    "dev": "device", "dev_cla": "device_class", "hum_cmd_t": "target_humidity_command_topic",
    "hum_stat_t": "target_humidity_state_topic", "hum_stat_tpl": "target_humidity_state_template",
    "hum_state_tpl": "target_humidity_state_template", "mode_cmd_t": "mode_command_topic",
    "mode_stat_t": "mode_state_topic", "mode_stat_tpl": "mode_state_template", "o": "origin",
    "obj_id": "object_id", "p": "platform", "pct_cmd_t": "percentage_command_topic",
    "pct_stat_t": "percentage_state_topic", "pct_val_tpl": "percentage_value_template",
    "pl_avail": "payload_available", "pl_not_avail": "payload_not_available",
    "pl_off": "payload_off", "pl_on": "payload_on", "pos_t": "position_topic",
    "pos_tpl": "position_template", "set_pos_t": "set_position_topic", "stat_cla": "state_class",
    "stat_off": "state_off", "stat_on": "state_on", "stat_t": "state_topic",
    "stat_tpl": "state_template", "stat_val_tpl": "state_value_template", "t": "topic",
    "temp_cmd_t": "temperature_command_topic", "temp_stat_t": "temperature_state_topic",
    "temp_stat_tpl": "temperature_state_template", "temp_unit": "temperature_unit",
    "bri_cmd_tpl": "brightness_command_template", "cmd_tpl": "command_template",
    "dir_cmd_tpl": "direction_command_template", "fan_mode_cmd_tpl": "fan_mode_command_template",
    "hum_cmd_tpl": "target_humidity_command_template", "mode_cmd_tpl": "mode_command_template",
    "osc_cmd_tpl": "oscillation_command_template", "pct_cmd_tpl": "percentage_command_template",
    "pr_mode_cmd_tpl": "preset_mode_command_template",
    "swing_mode_cmd_tpl": "swing_mode_command_template",
    "temp_cmd_tpl": "temperature_command_template",
    "temp_hi_cmd_tpl": "temperature_high_command_template",
    "temp_lo_cmd_tpl": "temperature_low_command_template",
    "tilt_cmd_tpl": "tilt_command_template",
    "uniq_id": "unique_id", "unit_of_meas": "unit_of_measurement", "val_tpl": "value_template",
}  # fmt: skip
_DEVICE_SHORT = {
    "ids": "identifiers", "cns": "connections", "mf": "manufacturer", "mdl": "model",
    "mdl_id": "model_id", "sw": "sw_version", "hw": "hw_version", "sn": "serial_number",
}  # fmt: skip


class Announced:
    """One entity. key: who it is, the same whenever it is announced again. component: sensor,
    switch and so on. config: with keys as Home Assistant's documentation has them. device: as it
    is told, or {}."""

    def __init__(self, key: str, component: str, config: dict[str, Any], fallback: str) -> None:
        self.key = key
        self.component = component
        self.config = config
        found = config.get("device")
        self.device = _long(found, _DEVICE_SHORT) if isinstance(found, dict) else {}
        self._fallback = fallback

    @property
    def identity(self) -> str:
        """What tells its device from others."""
        found = self.device.get("identifiers")
        if isinstance(found, list):
            found = found[0] if found else None
        if isinstance(found, str) and found:
            return found
        connections = self.device.get("connections")
        if isinstance(connections, list) and connections and isinstance(connections[0], list):
            return ":".join(str(part) for part in connections[0])[:128]
        return self._fallback

    @property
    def name(self) -> str:
        """Its device's name."""
        return texts(self.device, "name") or self.identity

    def topic(self, key: str) -> str:
        """A topic of it; "" where there is none that could be one."""
        found = texts(self.config, key)
        return found if not set(found) & set("+#\0") and len(found) <= 512 else ""


def announced(topic: str, data: dict[str, Any]) -> Iterator[Announced]:
    """The entities in a discovery message; an empty one of a device takes a component away and is
    left out."""
    component, *ids = topic[len(PREFIX) : -len("/config")].split("/")
    config = _long(data, _SHORT)
    if component != "device":
        yield Announced(topic, component, _filled(config), ids[0])
        return
    components = config.pop("components", None)
    if not isinstance(components, dict):
        return
    for key, each in list(components.items())[:_MOST_COMPONENTS]:
        if isinstance(each, dict) and len(each) > 1 and len(key) <= _LONGEST_KEY:
            inner = {"object_id": key, **config, **_long(each, _SHORT)}
            yield Announced(f"{topic} {key}", texts(inner, "platform"), _filled(inner), ids[0])


def is_announcement(topic: str) -> bool:
    """Whether it is on a topic `homeassistant/<component>/[<node>/]<object>/config`."""
    levels = topic.count("/")
    return topic.startswith(PREFIX) and topic.endswith("/config") and levels in (3, 4)


def _long(data: dict[str, Any], short: dict[str, str]) -> dict[str, Any]:
    return {short.get(key, key): item for key, item in data.items()}


def _filled(config: dict[str, Any]) -> dict[str, Any]:
    """Topics with the base topic in the place of `~`."""
    base = texts(config, "~")
    found = config.get("availability")
    if isinstance(found, dict):
        found = [found]
    if isinstance(found, list):
        config["availability"] = [
            _filled({"~": base, **_long(each, _SHORT)}) for each in found[:10] if type(each) is dict
        ]
    if base:
        for key, item in config.items():
            if key.endswith("topic") and isinstance(item, str):
                config[key] = _with(base, item)
    return config


def _with(base: str, topic: str) -> str:
    if topic.startswith("~"):
        return base + topic[1:]
    return topic[:-1] + base if topic.endswith("~") else topic
