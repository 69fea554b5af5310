"""The description of a metric: its label, unit, decimals and usual range.

Devices send bare names. The description is guessed from common names and from units at the end of a name; people
start from the guess. Pure functions of values.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from appliance.devices.device import DeviceFault
from appliance.plain_text import is_plain

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}", re.ASCII)
"""The names that devices may give a metric."""
MAX_LABEL = 64
MAX_UNIT = 16
MAX_DECIMALS = 9

MOST_VOLTS = 30.0
"""A battery value above this is a percentage."""


@dataclass(frozen=True, slots=True)
class Metric:
    """The description of one metric of a tenant; None leaves a field open."""

    name: str
    """As devices send it."""
    label: str | None = None
    unit: str | None = None
    decimals: int | None = None
    """None: as many as the device sends."""
    usual_low: float | None = None
    usual_high: float | None = None

    @property
    def title(self) -> str:
        """Return the label, else the name."""
        return self.label or self.name


class MetricGuess(NamedTuple):
    """The meaning of a common name."""

    label: str
    unit: str | None
    decimals: int | None


TEMPERATURE = MetricGuess("Temperature", "°C", 1)
HUMIDITY = MetricGuess("Humidity", "%", 0)
BATTERY = MetricGuess("Battery", "V", 2)
BATTERY_LEVEL = MetricGuess("Battery", "%", 0)

COMMON: Mapping[str, MetricGuess] = {
    "temperature": TEMPERATURE,
    "temp": TEMPERATURE,
    "humidity": HUMIDITY,
    "hum": HUMIDITY,
    "rh": MetricGuess("Relative humidity", "%", 0),
    "pressure": MetricGuess("Pressure", "hPa", 1),
    "battery": BATTERY,
    "batterylevel": BATTERY_LEVEL,
    "soc": MetricGuess("State of charge", "%", 0),
    "vbat": BATTERY,
    "batt": BATTERY,
    "voltage": MetricGuess("Voltage", "V", 2),
    "current": MetricGuess("Current", "A", 2),
    "power": MetricGuess("Power", "W", 0),
    "energy": MetricGuess("Energy", "kWh", 2),
    "frequency": MetricGuess("Frequency", "Hz", 1),
    "co2": MetricGuess("CO₂", "ppm", 0),
    "tvoc": MetricGuess("TVOC", "ppb", 0),
    "pm1": MetricGuess("PM1", "µg/m³", 0),
    "pm25": MetricGuess("PM2.5", "µg/m³", 0),
    "pm10": MetricGuess("PM10", "µg/m³", 0),
    "signal": MetricGuess("Signal", "dBm", 0),
    "rssi": MetricGuess("Signal", "dBm", 0),
    "snr": MetricGuess("Signal to noise", "dB", 1),
    "light": MetricGuess("Light", "lx", 0),
    "lux": MetricGuess("Light", "lx", 0),
    "illuminance": MetricGuess("Light", "lx", 0),
    "noise": MetricGuess("Noise", "dB", 0),
    "ph": MetricGuess("pH", None, 2),
    "uptime": MetricGuess("Uptime", "s", 0),
    "rpm": MetricGuess("Speed", "rpm", 0),
}
"""By the whole name, in lower case, or by its last word."""

UNITS: Mapping[str, tuple[str, int]] = {
    "c": ("°C", 1),
    "degc": ("°C", 1),
    "celsius": ("°C", 1),
    "f": ("°F", 1),
    "pct": ("%", 0),
    "percent": ("%", 0),
    "hpa": ("hPa", 1),
    "kpa": ("kPa", 1),
    "bar": ("bar", 2),
    "v": ("V", 2),
    "mv": ("mV", 0),
    "a": ("A", 2),
    "ma": ("mA", 0),
    "w": ("W", 0),
    "kw": ("kW", 2),
    "kwh": ("kWh", 2),
    "hz": ("Hz", 1),
    "ppm": ("ppm", 0),
    "ppb": ("ppb", 0),
    "db": ("dB", 1),
    "dbm": ("dBm", 0),
    "lux": ("lx", 0),
    "lx": ("lx", 0),
    "ms": ("ms", 0),
    "s": ("s", 0),
    "mm": ("mm", 1),
    "cm": ("cm", 1),
    "m": ("m", 2),
    "l": ("l", 1),
    "kg": ("kg", 1),
    "rpm": ("rpm", 0),
}
"""By the last word of a name of several."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+(?:[a-z]+)?", re.ASCII)


def guess(name: str, sample: Any = None) -> Metric:
    """Return the most likely description of a metric of this name; ``sample`` is one of its values."""
    words = [word.lower() for part in re.split(r"[_.\-]+", name) for word in _words(part)]
    if not words:
        return Metric(name)
    unit, decimals = None, None
    if len(words) > 1 and words[-1] in UNITS:
        unit, decimals = UNITS[words.pop()]
    known = COMMON.get("".join(words)) or COMMON.get(words[-1])
    if known is BATTERY and _is_percent(sample):
        known = BATTERY_LEVEL
    if known is None:
        return Metric(name, _sentence(words), unit, decimals)
    label = known.label if COMMON.get("".join(words)) or len(words) == 1 else _sentence([*words[:-1], known.label])
    return Metric(name, label, unit or known.unit, known.decimals if unit is None else decimals)


def described(name: str, known: Mapping[str, Metric], sample: Any = None) -> Metric:
    """Return the description by people, else the guess."""
    return known.get(name) or guess(name, sample)


def fault_of(metric: Metric) -> DeviceFault | None:
    """Return what is wrong with a description; None if it is valid."""
    texts = (("label", metric.label, MAX_LABEL), ("unit", metric.unit, MAX_UNIT))
    for field, text, longest in texts:
        if text is not None and (not 1 <= len(text) <= longest or not is_plain(text)):
            return DeviceFault(field, f"a {field} has 1 to {longest} characters on one line, all of which can be seen")
    if not NAME.fullmatch(metric.name):
        return DeviceFault("name", "a metric's name has 1 to 64 of A-Z a-z 0-9 _ . - and starts with a letter or _")
    if metric.decimals is not None and not 0 <= metric.decimals <= MAX_DECIMALS:
        return DeviceFault("decimals", f"decimals are a whole number from 0 to {MAX_DECIMALS}")
    for field, bound in (("usual_low", metric.usual_low), ("usual_high", metric.usual_high)):
        if bound is not None and not abs(bound) < float("inf"):
            return DeviceFault(field, "the usual range is made of finite numbers")
    if metric.usual_low is not None and metric.usual_high is not None and not metric.usual_low < metric.usual_high:
        return DeviceFault("usual_high", "the usual range ends above where it begins")
    return None


def _words(part: str) -> list[str]:
    """``supplyAirTemp`` as three words; ``pm25`` and ``co2`` stay one."""
    return [part] if part.lower() in COMMON else _WORD.findall(part)


def _is_percent(sample: Any) -> bool:
    number = isinstance(sample, int | float) and not isinstance(sample, bool)
    return number and float(sample) > MOST_VOLTS


def _sentence(words: list[str]) -> str:
    text = " ".join(words).lower()
    return (text[:1].upper() + text[1:])[:MAX_LABEL]
